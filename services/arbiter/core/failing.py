"""Taking an instance out: at once on conclusive evidence, at ticks on suspicion."""

from dataclasses import dataclass
from itertools import islice

from services.arbiter.core.cases import Opening, amended, incident_id, opened, said
from services.arbiter.core.evidence import Judgement, cause, judge
from services.arbiter.core.plans import (
    Why,
    commanded,
    planned,
    receives,
    serves_without,
    with_instances,
)
from services.arbiter.core.state import (
    RETURNING_STATES,
    Actions,
    Instance,
    Order,
    Say,
    State,
)
from shared.cluster import Mode
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.facts import InstanceState, ServiceChanged
from shared.messages.health import Verdict
from shared.messages.traffic import Failover

TAKERS_NAMED = 4  # one more than a sentence lists


@dataclass(frozen=True, slots=True)
class Held:
    """Why a bad instance is left as it is."""

    reason: str


def failed(
    state: State, instance: Instance, judgement: Judgement, now: Instant
) -> tuple[State, Actions]:
    """Act on an instance that is judged bad: take it out, or say why not."""
    assert judgement.verdict is Verdict.UNHEALTHY
    assert receives(instance)
    why = cause(judgement)
    found = leaving(state, instance, why, now)
    if isinstance(found, Held):
        return leave(state, instance, f"{why}, yet left serving: {found.reason}", now)
    return taken_out(state, found, judgement, now)


def leaving(
    state: State, instance: Instance, why: str, now: Instant
) -> tuple[Instance, ...] | Held:
    """Return the instance as it leaves, with who must serve before its time; or why it stays."""
    gone = _gone(state, instance, why, now)
    held = _held_back(state, instance, now)
    if held is not None:
        return held
    if _without(state, gone):
        return (gone,)
    others = _standby(state, instance, now)
    return (gone, *others) if others else Held(f"nothing else would serve {instance.service}")


def _gone(state: State, instance: Instance, why: str, now: Instant) -> Instance:
    """Return the instance taken out, its relapse counted if it failed before."""
    policy = state.cluster.policy
    lately = instance.failed_at is not None and now - instance.failed_at < policy.forget_us
    relapsed = lately or instance.state is InstanceState.RAMPING
    return replace(
        instance,
        state=InstanceState.OUT,
        since=now,
        reason=why,
        healthy_since=None,
        asked=False,
        forced=False,
        relapses=instance.relapses + 1 if relapsed else 0,
        failed_at=now,
        moves_at=(*(at for at in instance.moves_at if now - at < policy.moves_window_us), now),
    )


def _held_back(state: State, instance: Instance, now: Instant) -> Held | None:
    if state.paused:
        return Held("automation is paused")
    policy = state.cluster.policy
    if moves_left(instance, policy.moves_max, policy.moves_window_us, now) < 1:
        return Held(f"{policy.moves_max} automatic moves in the window: now it only advises")
    return None


def moves_left(instance: Instance, moves_max: int, window_us: Duration, now: Instant) -> int:
    """Return how many automatic moves of this instance the policy still allows."""
    return moves_max - sum(now - at < window_us for at in instance.moves_at)


def _without(state: State, gone: Instance) -> bool:
    instances = {**state.instances[gone.service], gone.node: gone}
    return serves_without(state, gone.service, instances)


def _standby(state: State, failing: Instance, now: Instant) -> tuple[Instance, ...]:
    """Return a healthy instance on its way back that serves at once because nothing else does."""
    for _, other in sorted(state.instances[failing.service].items()):
        if other.node != failing.node and summonable(state, other, now):
            return (summoned(other, f"nothing else serves {other.service}", now),)
    return ()


def summonable(state: State, instance: Instance, now: Instant) -> bool:
    """Whether a recovering instance may serve early: healthy, and no person keeps it out."""
    leaving = instance.state is InstanceState.DRAINING and instance.then is InstanceState.HOME
    return (
        (leaving or instance.state in RETURNING_STATES)
        and not overridden(state, instance)
        and judge(state, instance, now).verdict is Verdict.HEALTHY
    )


def summoned(instance: Instance, reason: str, now: Instant) -> Instance:
    """Return the instance at home before its time."""
    return replace(instance, state=InstanceState.HOME, since=now, reason=reason)


def overridden(state: State, instance: Instance) -> bool:
    """Whether a person keeps this instance out."""
    return any(
        item.override.kind in ("maintenance", "failover")
        and item.override.vip is None
        and item.override.node in (None, instance.node)
        and item.override.service in (None, instance.service)
        for item in state.standing
    )


def taken_back(
    state: State, instance: Instance, reason: str, now: Instant
) -> tuple[State, Actions]:
    """End a ramp whose errors rise: out again, with the doubled hold-down of a relapse."""
    gone = _gone(state, instance, reason, now)
    if _held_back(state, instance, now) is not None or not _without(state, gone):
        return state, ()
    return taken_out(state, (gone,), None, now)


def taken_out(
    state: State, changed: tuple[Instance, ...], judgement: Judgement | None, now: Instant
) -> tuple[State, Actions]:
    """Order a plan without the first of these, whose incident goes on or begins."""
    gone = changed[0]
    instance = state.instance(gone.target)
    name = instance.incident or incident_id(state, (instance.target,))
    changed = (replace(gone, incident=name), *changed[1:])
    why = Why(reason=f"{instance.service} on {instance.node}: {gone.reason}", incident=name)
    after = planned(state, changed, why)
    told: Say
    if name in state.cases:
        again = f"{state.cases[name].incident.sentence}; it failed again: {gone.reason}"
        after = amended(after, name, relapses=gone.relapses, sentence=again[:1_000])
        told = said(after, name)
    else:
        opening = Opening(
            targets=(instance.target,),
            cause=gone.reason,
            sentence=_sentence(after, gone),
            judgement=judgement,
            not_done=_not_done(state, instance),
            # A balanced service's other rules stay; a mirror's stand-in changes too.
            moved=tuple(each.target for each in changed) if _balanced(state, gone) else (),
        )
        after, told = opened(state, after, name, opening, now)
    after = commanded(after, Failover, now)
    fact = Say(
        ServiceChanged(
            service=instance.service,
            node=instance.node,
            before=instance.state,
            after=InstanceState.OUT,
            reason=gone.reason,
            incident=name,
        )
    )
    return replace(after, sent_at=now), (
        Order(command=after.command, to=tuple(after.cluster.nodes)),
        told,
        fact,
    )


def _balanced(state: State, instance: Instance) -> bool:
    return state.cluster.services[instance.service].mode is Mode.BALANCE


def _sentence(after: State, gone: Instance) -> str:
    rules = after.plan.services[gone.service]
    takers = list(islice((node for node, rule in rules.items() if rule.weight), TAKERS_NAMED))
    if len(takers) == TAKERS_NAMED:
        takers[-1] = "others"
    names = " and ".join(takers)
    return f"{gone.service} on {gone.node} failed ({gone.reason}): its requests go to {names}"


def _not_done(state: State, instance: Instance) -> str:
    others = [name for name in sorted(state.instances) if name != instance.service]
    if not others:
        return ""
    return (
        f"{instance.node} goes on serving {', '.join(others[:3])}: only {instance.service} failed"
    )


def leave(state: State, instance: Instance, reason: str, now: Instant) -> tuple[State, Actions]:
    """Change nothing, and say so once."""
    if instance.state is InstanceState.HELD and instance.reason == reason:
        return state, ()
    if instance.state is InstanceState.RAMPING:
        return state, ()
    return standing_as(state, instance, InstanceState.HELD, reason, now)


def standing_as(
    state: State, instance: Instance, where: InstanceState, reason: str, now: Instant
) -> tuple[State, Actions]:
    """Return the state with an instance that stands elsewhere without any rule changing."""
    changed = replace(instance, state=where, since=now, reason=reason)
    fact = ServiceChanged(
        service=instance.service,
        node=instance.node,
        before=instance.state,
        after=where,
        reason=reason,
        incident=instance.incident,
    )
    return replace(with_instances(state, changed), news=True), (Say(fact),)
