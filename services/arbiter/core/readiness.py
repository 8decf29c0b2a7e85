"""Which failures the cluster could take now, service by service and node by node."""

from dataclasses import dataclass
from itertools import islice

from services.arbiter.core.evidence import identity, judge
from services.arbiter.core.failing import overridden
from services.arbiter.core.state import Instance, State
from services.arbiter.core.vip_views import vip_takeover
from shared.cluster import Mode
from shared.instant import SECOND, Instant
from shared.messages.facts import InstanceState, Readiness, Takeover
from shared.messages.health import Verdict
from shared.rules import Admission

WHOLE_PERCENT = 100
REASONS_MAX = 3  # a sentence lists so many nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """An instance as a candidate to take over: why not, or what it is."""

    node: str
    unfit: str
    identity: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All that could take over from instances of one identity, one of these among them."""

    takers: tuple[Taker, ...]
    capacity: int  # of their nodes


def readiness(state: State, now: Instant) -> Readiness:
    """Say for every node that serves something whether the others can take it, and why."""
    takeovers: list[Takeover] = []
    for service, of_service in state.instances.items():
        candidates = [
            Taker(node=node, unfit=_unfit(state, each, now), identity=identity(each))
            for node, each in of_service.items()
        ]
        pools = _pools(state, candidates)
        rate = rate_per_s(state, service)
        for lost in candidates:
            if state.plan.services[service][lost.node].admission is Admission.SERVING:
                takeover = _takeover(state, service, lost, pools[lost.identity], rate)
                takeovers.append(takeover or _nobody(service, lost, candidates))
    vips = tuple(vip_takeover(state, vip, now) for vip in sorted(state.plan.vips))
    return Readiness(
        ready=all(each.ready for each in takeovers) and all(each.ready for each in vips),
        takeovers=tuple(takeovers),
        vips=vips,
    )


def _pools(state: State, candidates: list[Taker]) -> dict[str | None, Pool]:
    """Return who is fit and matches, by identity: most instances have the same."""
    fit = [each for each in candidates if not each.unfit]
    pools = {}
    for lost in candidates:
        if lost.identity not in pools:
            takers = tuple(each for each in fit if _matches(each, lost))
            capacity = sum(state.cluster.nodes[each.node].capacity for each in takers)
            pools[lost.identity] = Pool(takers=takers, capacity=capacity)
    return pools


def _matches(taker: Taker, lost: Taker) -> bool:
    return None in (taker.identity, lost.identity) or taker.identity == lost.identity


def _nobody(service: str, lost: Taker, candidates: list[Taker]) -> Takeover:
    """Say why nobody can take over, of a few."""
    reasons = [
        f"{each.node}: {each.unfit or _difference(each, lost)}"
        for each in candidates
        if each is not lost
    ]
    text = "; ".join(reasons[:REASONS_MAX]) or "there is no other node"
    return Takeover(service=service, node=lost.node, to=(), ready=False, reason=text)


def _difference(taker: Taker, lost: Taker) -> str:
    theirs = f"{taker.node} has {taker.identity}, {lost.node} has {lost.identity}"
    return f"it does not match: {theirs}"


def _takeover(
    state: State, service: str, lost: Taker, pool: Pool, rate: float | None
) -> Takeover | None:
    """Return what follows from one instance's loss; None where nobody is left."""
    is_mirror = state.cluster.services[service].mode is Mode.MIRROR
    others = (each.node for each in pool.takers if each is not lost)
    few = list(islice(others, 1 if is_mirror else REASONS_MAX + 1))
    if not few:
        return None
    own = 0 if lost.unfit else state.cluster.nodes[lost.node].capacity
    capacity = state.cluster.nodes[few[0]].capacity if is_mirror else pool.capacity - own
    load = _load_percent(state, service, capacity, rate)
    names = " and ".join(few[:REASONS_MAX]) + (" and others" if len(few) > REASONS_MAX else "")
    if load is None:
        reason = f"{names} matches and is healthy; no limit is configured, so its load is not known"
    else:
        reason = f"{names} would carry {load} % of its capacity"
    return Takeover(
        service=service,
        node=lost.node,
        to=tuple(few[:REASONS_MAX]),
        ready=load is None or load <= WHOLE_PERCENT,
        reason=reason,
        load_percent=load,
    )


def _unfit(state: State, instance: Instance, now: Instant) -> str:
    """Return why an instance could not take over, or ""."""
    if overridden(state, instance):
        return "taken out by a person"
    if instance.state is not InstanceState.HOME:
        return f"{instance.state}: {instance.reason}"
    if judge(state, instance, now).verdict is not Verdict.HEALTHY:
        return "not known to be healthy"
    needs = state.cluster.services[instance.service].identity is not None
    return "its identity is not known yet" if needs and identity(instance) is None else ""


def _load_percent(state: State, service: str, capacity: int, rate: float | None) -> int | None:
    """Return the takers' load after it, by measured requests and configured limits."""
    limit = state.cluster.services[service].limit_per_s
    if limit is None or rate is None:
        return None
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
