"""The way back: observed, matched, ramped, home; and the draining that a person asked for.

Everything here depends on time and happens at ticks, for instances that need attention.
"""

from services.arbiter.core.evidence import identity, judge
from services.arbiter.core.failing import (
    failed,
    moves_left,
    overridden,
    standing_as,
    summonable,
    summoned,
    taken_back,
)
from services.arbiter.core.losing import followed, node_wait_us
from services.arbiter.core.plans import (
    Why,
    commanded,
    mirror_server,
    planned,
    ramp_weight,
    with_instances,
)
from services.arbiter.core.progress import marked
from services.arbiter.core.state import (
    HOLD_MAX_US,
    LOST_STATES,
    RAMP_STEPS,
    SERVING_STATES,
    Actions,
    Instance,
    Order,
    Say,
    State,
)
from shared.cluster import FailbackMode, Mode
from shared.frozen import replace
from shared.instant import SECOND, Duration, Instant
from shared.messages.facts import InstanceState, ServiceChanged
from shared.messages.health import Verdict
from shared.messages.traffic import Command, Drain, Failback, Restore

ERRORS_MIN = 3  # fewer prove nothing about a ramp
ERRORS_PERCENT = 1  # above what the others show in the same time
MOVES_OF_A_RETURN = 2  # itself, and the removal that must stay possible after it


def attended(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    """Look at one instance that needs it, and take the next step of its way."""
    match instance.state:
        case InstanceState.HOME | InstanceState.SUSPECT | InstanceState.HELD:
            if state.members[instance.node].state in LOST_STATES:
                return followed(state, instance, now)
            return _watched(state, instance, now)
        case InstanceState.DRAINING:
            return _drained(state, instance, now)
        case InstanceState.OUT:
            return _missed(state, instance, now)
        case InstanceState.OBSERVED:
            return _observed(state, instance, now)
        case InstanceState.MATCHED:
            return _matched(state, instance, now)
        case InstanceState.RAMPING:
            return _ramping(state, instance, now)


def is_calm(state: State, instance: Instance, now: Instant) -> bool:
    """Whether no tick need look at an instance again before something new is heard of it."""
    if instance.state is not InstanceState.HOME or instance.incident is not None:
        return False
    is_lost = state.members[instance.node].state in LOST_STATES
    return not (is_lost or judge(state, instance, now).bad or _displaced(state, instance))


def _watched(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    judgement = judge(state, instance, now)
    if judgement.verdict is Verdict.UNHEALTHY:
        relieved = _relieved(state, instance, now)
        if relieved is not None:
            return relieved
        return failed(state, instance, judgement, now)
    if judgement.bad:
        shares = f"{len(judgement.bad)} of {judgement.needed} observers needed"
        reason = f"{judgement.bad[0].evidence.detail}: {shares}, not moved"
        if (instance.state, instance.reason) == (InstanceState.SUSPECT, reason):
            return state, ()
        return standing_as(state, instance, InstanceState.SUSPECT, reason, now)
    if judgement.verdict is Verdict.HEALTHY and _displaced(state, instance):
        reason = "healthy again; another serves in its place"
        return standing_as(state, instance, InstanceState.OUT, reason, now)
    if instance.state is not InstanceState.HOME and judgement.verdict is Verdict.HEALTHY:
        return standing_as(state, instance, InstanceState.HOME, "healthy again", now)
    return state, ()


def _displaced(state: State, instance: Instance) -> bool:
    """Whether a mirror's other instance serves although it is this one's place.

    A bad instance that was held is relieved without being taken out; well again, it goes the way
    of all who return. Seen by the plan, so that a new arbiter sees it too.
    """
    if state.cluster.services[instance.service].mode is not Mode.MIRROR:
        return False
    home = replace(instance, state=InstanceState.HOME)
    instances = {**state.instances[instance.service], instance.node: home}
    is_chosen = mirror_server(state, instance.service, instances) == instance.node
    return is_chosen and not state.plan.services[instance.service][instance.node].weight


def _relieved(state: State, instance: Instance, now: Instant) -> tuple[State, Actions] | None:
    """Let a healthy recovering instance serve at once where only a bad one was left."""
    if instance.state is not InstanceState.HELD or state.paused:
        return None
    for _, other in sorted(state.instances[instance.service].items()):
        if summonable(state, other, now):
            back = summoned(other, f"{instance.node} is bad and nothing else serves", now)
            why = Why(
                reason=f"{other.service} on {other.node} serves: {back.reason}",
                incident=other.incident,
            )
            return ordered(planned(state, (back,), why), Failback, now)
    return None


def ordered(state: State, kind: type[Command], now: Instant) -> tuple[State, Actions]:
    """Send the plan just made to every node."""
    original = state.plan.services == state.original
    state = commanded(state, Restore if original and kind is Failback else kind, now)
    to = tuple(state.cluster.nodes)
    return replace(state, sent_at=now), (Order(command=state.command, to=to),)


def _missed(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    if overridden(state, instance) or judge(state, instance, now).verdict is not Verdict.HEALTHY:
        return state, ()
    changed = replace(instance, healthy_since=now)
    state = with_instances(state, changed)
    state, facts = standing_as(state, changed, InstanceState.OBSERVED, "healthy again", now)
    return _mark(state, state.instance(changed.target), "out", facts, now)


def hold_us(state: State, instance: Instance) -> Duration:
    """Return how long an instance must be healthy before it returns: doubled for each relapse."""
    if instance.asked:
        return 0
    return int(min(state.cluster.policy.after_us * 2 ** min(instance.relapses, 20), HOLD_MAX_US))


def _observed(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    judgement = judge(state, instance, now)
    if judgement.bad or overridden(state, instance):
        reason = judgement.bad[0].evidence.detail if judgement.bad else "taken out by a person"
        return standing_as(state, instance, InstanceState.OUT, reason, now)
    assert instance.healthy_since is not None
    # What happened while we slept was not observed.
    since = max(instance.healthy_since, state.trusted_since)
    if judgement.verdict is not Verdict.HEALTHY or now - since < hold_us(state, instance):
        return state, ()
    if node_wait_us(state, instance.node, now) and not instance.asked:
        return state, ()
    healthy = f"healthy for {(now - since) // SECOND} s"
    state, facts = standing_as(state, instance, InstanceState.MATCHED, healthy, now)
    return _mark(state, state.instance(instance.target), "observe", facts, now)


def _matched(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    judgement = judge(state, instance, now)
    if judgement.bad or overridden(state, instance):
        reason = judgement.bad[0].evidence.detail if judgement.bad else "taken out by a person"
        return standing_as(state, instance, InstanceState.OUT, reason, now)
    if judgement.verdict is not Verdict.HEALTHY or obstacle(state, instance, now):
        return state, ()
    after, orders = _come_back(state, instance, now)
    return _mark(after, after.instance(instance.target), "match", orders, now)


def obstacle(state: State, instance: Instance, now: Instant) -> str:
    """Return what keeps a healthy instance from returning, in words; "" if nothing does."""
    policy = state.cluster.policy
    if state.paused:
        return "automation is paused"
    if policy.failback is FailbackMode.MANUAL and not instance.asked:
        return f"a person: equipoise failback {instance.service}/{instance.node}"
    left = moves_left(instance, policy.moves_max, policy.moves_window_us, now)
    if left < MOVES_OF_A_RETURN and not instance.asked:
        return f"the window of {policy.moves_max} automatic moves"
    return "" if instance.forced else mismatch(state, instance)


def mismatch(state: State, instance: Instance) -> str:
    """Return how an instance differs from those that serve; "" when it is the same service."""
    if state.cluster.services[instance.service].identity is None:
        return ""
    own = identity(instance)
    if own is None:
        return f"the identity of {instance.node} is not known yet"
    for name, other in sorted(state.instances[instance.service].items()):
        if name == instance.node or other.state not in SERVING_STATES:
            continue
        theirs = identity(other)
        if theirs != own:
            return f"identity: {instance.node} has {own}, {name} has {theirs or 'none known yet'}"
    return ""


def _come_back(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    """Begin the ramp; a mirror's instance takes its place at once and the other drains."""
    moved = replace(instance, moves_at=(*instance.moves_at, now))
    if instance.asked:
        moved = replace(instance, asked=False)
    mirror = state.cluster.services[instance.service].mode is Mode.MIRROR
    if mirror or state.cluster.policy.ramp_us == 0:
        return _arrived(state, moved, now)
    ramping = replace(
        moved,
        state=InstanceState.RAMPING,
        since=now,
        step=0,
        step_at=now,
        ramp_base=errors_of(state, instance),  # what was counted before it is forgiven
        reason="ramping",
    )
    weight = ramp_weight(state.original[instance.service][instance.node].weight, 0)
    reason = f"{instance.service} on {instance.node} returns at weight {weight}"
    state = planned(state, (ramping,), Why(reason, instance.incident))
    state, orders = ordered(state, Failback, now)
    return state, (*orders, _changed(instance, ramping))


def _changed(before: Instance, after: Instance) -> Say:
    return Say(
        ServiceChanged(
            service=after.service,
            node=after.node,
            before=before.state,
            after=after.state,
            reason=after.reason,
            incident=after.incident,
        )
    )


def _arrived(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    """Give an instance its original place; a mirror's stand-in drains before it stands by."""
    home = replace(
        instance,
        state=InstanceState.HOME,
        since=now,
        healthy_since=None,
        forced=False,
        reason="as originally set",
    )
    changed = [home]
    of_service = state.instances[instance.service]
    if state.cluster.services[instance.service].mode is Mode.MIRROR:
        server = mirror_server(state, instance.service, of_service)
        chosen = mirror_server(state, instance.service, {**of_service, instance.node: home})
        if server is not None and server != chosen:
            changed.append(_yielding(state, of_service[server], now))
    reason = f"{instance.service} on {instance.node} is as originally set"
    after = planned(state, tuple(changed), Why(reason, instance.incident))
    after, orders = ordered(after, Failback, now)
    facts = (_changed(state.instance(home.target), home),)
    return after, (*orders, *facts)


def _yielding(state: State, instance: Instance, now: Instant) -> Instance:
    return replace(
        instance,
        state=InstanceState.DRAINING,
        then=InstanceState.HOME,
        since=now,
        drain_ends_at=now + state.cluster.policy.drain_us,
        reason="gives way to its service's home",
    )


def _ramping(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    judgement = judge(state, instance, now)
    if judgement.verdict is Verdict.UNHEALTHY:
        return failed(state, instance, judgement, now)
    state, instance = _with_ramp_base(state, instance)
    if (risen := _errors_risen(state, instance)) != "":
        return taken_back(state, instance, risen, now)
    every = state.cluster.policy.ramp_us // RAMP_STEPS
    if state.paused or now - instance.step_at < every or not _installed(state, now):
        return state, ()
    stepped = replace(instance, step=instance.step + 1, step_at=now)
    if stepped.step == RAMP_STEPS:
        after, actions = _arrived(state, stepped, now)
        return _mark(after, after.instance(instance.target), "ramp", actions, now)
    reason = f"{instance.service} on {instance.node} ramps: step {stepped.step} of {RAMP_STEPS}"
    return ordered(planned(state, (stepped,), Why(reason, instance.incident)), Failback, now)


def _installed(state: State, now: Instant) -> bool:
    """Whether every present switcher has the newest plan."""
    return all(state.members[name].installed >= state.plan.number for name in state.present(now))


def errors_of(state: State, instance: Instance) -> dict[str, tuple[int, int]]:
    """Return the errors and requests of an instance, as each load balancer counts them."""
    counted = {}
    for name, member in state.members.items():
        service = member.samples[-1][1].services.get(instance.service) if member.samples else None
        if service is not None and instance.node in service.instances:
            load = service.instances[instance.node]
            counted[name] = (load.errors, load.requests)
    return counted


def _errors_risen(state: State, instance: Instance) -> str:
    """Return how the errors of a ramping instance rose, or ""."""
    more = of = 0
    for name, (errors, requests) in errors_of(state, instance).items():
        base = instance.ramp_base[name]
        if requests < base[1]:  # the load balancer was restarted and counts from nought
            base = (0, 0)
        more, of = more + max(errors - base[0], 0), of + requests - base[1]
    if more < ERRORS_MIN or more * 100 <= ERRORS_PERCENT * of:
        return ""
    return f"{more} errors in {max(of, more)} requests while ramping"


def _with_ramp_base(state: State, instance: Instance) -> tuple[State, Instance]:
    """Note the counters of load balancers that are heard for the first time in this ramp.

    A new arbiter goes on with a ramp, and knows no counters yet: all that it is then told of was
    counted before.
    """
    counted = errors_of(state, instance)
    if counted.keys() <= instance.ramp_base.keys():
        return state, instance
    based = replace(instance, ramp_base={**counted, **instance.ramp_base})
    return with_instances(state, based), based


def _drained(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    if now < instance.drain_ends_at and not _empty(state, instance, now):
        return state, ()
    settled = replace(
        instance,
        # A person may have taken it out since it began to drain.
        state=InstanceState.OUT if overridden(state, instance) else instance.then,
        since=now,
        reason="drained" if now < instance.drain_ends_at else "its time to drain is over",
    )
    why = Why(f"{instance.service} on {instance.node}: {settled.reason}", instance.incident)
    after, orders = ordered(planned(state, (settled,), why), Drain, now)
    after, facts = _mark(after, settled, "drain", orders, now)
    return after, (*facts, _changed(instance, settled))


def _empty(state: State, instance: Instance, now: Instant) -> bool:
    """Whether every present load balancer, asked since the draining began, has no session open."""
    present = state.present(now)
    for name in present:
        member = state.members[name]
        if member.installed < state.plan.number or not member.samples:
            return False
        at, sample = member.samples[-1]
        service = sample.services.get(instance.service)
        load = service.instances.get(instance.node) if service is not None else None
        if at < instance.since or load is None or load.sessions > 0:
            return False
    return bool(present)


def _mark(
    state: State, instance: Instance, phase: str, actions: Actions, now: Instant
) -> tuple[State, Actions]:
    """End a phase of the instance's incident, once its last target has come so far."""
    case = state.cases.get(instance.incident or "")
    if case is None:
        return state, actions
    here = [state.instance(target).state for target in case.targets if target != instance.target]
    if any(_RANK[each] < _RANK[instance.state] for each in here):
        return state, actions
    state, facts = marked(state, case.incident.id, phase, now)
    return state, (*actions, *facts)


_RANK = {
    InstanceState.DRAINING: 0,
    InstanceState.OUT: 1,
    InstanceState.HELD: 1,
    InstanceState.OBSERVED: 2,
    InstanceState.MATCHED: 3,
    InstanceState.RAMPING: 4,
    InstanceState.SUSPECT: 5,
    InstanceState.HOME: 5,
}
