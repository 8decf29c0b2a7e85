"""What a person could do now: the last lines of `equipoise status`."""

from collections.abc import Iterator

from services.console.core.state import STALE_US, State
from services.console.core.words import because, short
from shared.instant import Instant
from shared.messages.facts import InstanceBelief, InstanceState, NodeState, Situation, VipState
from shared.messages.traffic import OverrideKind

NEXT_MAX = 5  # advice beyond five lines is not read


def advice(state: State, situation: Situation | None, now: Instant) -> list[str]:
    """Return what a person could do now, the most pressing first."""
    if situation is None:
        return _search(state, now)
    steps = [*_repairs(state, situation), *_people(situation)]
    explain = [f"why: equipoise explain {short(name)}" for name in situation.incidents[:1]]
    return [*steps[: NEXT_MAX - 1], *explain]


def _search(state: State, now: Instant) -> list[str]:
    if not state.bus:
        servers = ", ".join(state.cluster.bus_servers)
        return [f"look whether nats-server runs and is reachable: {servers}"]
    heard = [name for name, beat in state.heartbeats.items() if now - beat.at <= STALE_US]
    members = ", ".join(sorted(heard)) or "nobody"
    return [
        f"heard directly within 3 s: {members}; load balancers go on with the plan they have",
        "look at the arbiter's log on each member: none of them leads",
    ]


def _repairs(state: State, situation: Situation) -> Iterator[str]:
    for name, node in sorted(situation.nodes.items()):
        if node.state is NodeState.DEAD:
            why = f", {because(short(node.reason))}" if node.reason else ""
            yield f"repair {name}{why}; it comes back by itself"
    for service, beliefs in sorted(situation.instances.items()):
        for name, belief in sorted(beliefs.items()):
            host = situation.nodes.get(name)
            if host is not None and host.state is NodeState.DEAD:
                continue  # the node is to be repaired
            asked = _asked_for(situation, service, name)
            yield from _repair(f"{service}/{name}", belief, asked=asked)
    yield from _vips(state, situation)
    for name, beat in sorted(state.heartbeats.items()):
        if beat.value.configuration != state.cluster.configuration:
            yield f"give {name} the same equipoise.yaml as {state.member}, and restart it"


def _vips(state: State, situation: Situation) -> Iterator[str]:
    """Yield what brings VIPs back: a dark one first, then what those away from home wait for."""
    known = [name for name in state.cluster.vips if name in situation.vips]
    beliefs = [(name, situation.vips[name]) for name in known]
    for name, belief in beliefs:
        if belief.state is VipState.DARK:
            yield f"{name} is dark, {because(short(belief.reason))}: equipoise why {name}"
    for name, belief in beliefs:
        if belief.state is VipState.HELD and belief.waiting_for:
            yield f"{name} comes home by itself; it waits for: {short(belief.waiting_for)}"


def _repair(target: str, belief: InstanceBelief, *, asked: bool) -> Iterator[str]:
    match belief.state:
        case InstanceState.OUT if not asked:
            yield f"repair {target}, {because(short(belief.reason))}"
        case InstanceState.HELD:
            yield f"repair {target}, which is left serving, {because(short(belief.reason))}"
        case InstanceState.OBSERVED | InstanceState.MATCHED | InstanceState.RAMPING:
            waiting = short(belief.waiting_for) or belief.state.value
            yield f"{target} is coming back: {waiting}"
        case _:
            pass


def _asked_for(situation: Situation, service: str, node: str) -> bool:
    """Return whether a person took an instance out: then there is nothing to repair."""
    return any(
        item.kind is not OverrideKind.PAUSE
        and item.vip is None
        and item.node in (node, None)
        and item.service in (service, None)
        for item in situation.plan.overrides
    )


def _people(situation: Situation) -> Iterator[str]:
    for item in situation.plan.overrides:
        target = item.vip or "/".join(part for part in (item.service, item.node) if part)
        match item.kind:
            case OverrideKind.MAINTENANCE:
                yield f"end early: equipoise maintenance end {target} --reason …"
            case OverrideKind.FAILOVER:
                yield f"move home: equipoise failback {target} --reason …"
            case OverrideKind.PAUSE:
                yield "let automation work again: equipoise resume --reason …"
