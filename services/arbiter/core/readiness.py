"""Which failures the cluster could take now, service by service and node by node."""

from services.arbiter.core.evidence import identity, judge
from services.arbiter.core.failing import overridden
from services.arbiter.core.state import Instance, State
from shared.cluster import Mode
from shared.instant import SECOND, Instant
from shared.messages.facts import InstanceState, Readiness, Takeover
from shared.messages.health import Verdict
from shared.rules import Admission

WHOLE_PERCENT = 100


def readiness(state: State, now: Instant) -> Readiness:
    """Say for every node that serves something whether the others can take it, and why."""
    takeovers = tuple(
        _takeover(state, service, node, now)
        for service in state.cluster.services
        for node in state.cluster.nodes
        if state.plan.services[service][node].admission is Admission.SERVING
    )
    return Readiness(ready=all(each.ready for each in takeovers), takeovers=takeovers)


def _takeover(state: State, service: str, node: str, now: Instant) -> Takeover:
    lost = state.instances[service][node]
    others = [each for name, each in state.instances[service].items() if name != node]
    unfit = {each.node: _unfit(state, each, lost, now) for each in others}
    takers = tuple(each.node for each in others if not unfit[each.node])
    if not takers:
        reasons = "; ".join(f"{name}: {why}" for name, why in unfit.items())
        return Takeover(
            service=service, node=node, to=(), ready=False, reason=reasons or "no other node"
        )
    if state.cluster.services[service].mode is Mode.MIRROR:
        takers = takers[:1]
    load = _load_percent(state, service, takers)
    names = " and ".join(takers)
    if load is None:
        reason = f"{names} matches and is healthy; its load is not known: no limit is configured"
    else:
        reason = f"{names} would carry {load} % of its capacity"
    ready = load is None or load <= WHOLE_PERCENT
    return Takeover(
        service=service, node=node, to=takers, ready=ready, reason=reason, load_percent=load
    )


def _unfit(state: State, instance: Instance, lost: Instance, now: Instant) -> str:
    """Return why an instance could not take over, or ""."""
    if overridden(state, instance):
        return "taken out by a person"
    if instance.state is not InstanceState.HOME:
        return f"{instance.state}: {instance.reason}"
    if judge(state, instance, now).verdict is not Verdict.HEALTHY:
        return "not known to be healthy"
    if state.cluster.services[instance.service].identity is None:
        return ""
    theirs, own = identity(instance), identity(lost)
    if theirs is None:
        return "its identity is not known yet"
    if own is not None and theirs != own:
        return f"it does not match: {instance.node} has {theirs}, {lost.node} has {own}"
    return ""


def _load_percent(state: State, service: str, takers: tuple[str, ...]) -> int | None:
    """Return the takers' load after it, by measured requests and configured limits."""
    limit = state.cluster.services[service].limit_per_s
    rate = rate_per_s(state, service)
    if limit is None or rate is None:
        return None
    capacity = sum(state.cluster.nodes[name].capacity for name in takers)
    return round(WHOLE_PERCENT * rate / (limit * capacity / WHOLE_PERCENT))


def rate_per_s(state: State, service: str) -> float | None:
    """Return the requests per second of a service over all load balancers, as last measured."""
    total = 0.0
    known = False
    for member in state.members.values():
        if len(member.samples) < 2:  # noqa: PLR2004 - a rate needs two points
            continue
        (begin, first), (end, last) = member.samples[0], member.samples[-1]
        if service in first.services and service in last.services and end > begin:
            count = last.services[service].requests - first.services[service].requests
            total += max(count, 0) * SECOND / (end - begin)
            known = True
    return total if known else None
