"""`decide`: one event in, the new state and the actions out."""

from typing import assert_never

from services.arbiter.core.cases import put, said
from services.arbiter.core.detection import BEATS_OF_NOBODY, believed
from services.arbiter.core.evidence import heard, judge, settles
from services.arbiter.core.failing import failed
from services.arbiter.core.leases import is_news
from services.arbiter.core.losing import absent, released, turned
from services.arbiter.core.people import asked, expired, postponed
from services.arbiter.core.plans import receives
from services.arbiter.core.progress import based, closable, closed, progressed, sent
from services.arbiter.core.returning import attended, is_calm
from services.arbiter.core.situation import situation
from services.arbiter.core.state import (
    BOOTS_MAX,
    PRESENCE_US,
    RESEND_MAX_US,
    RESEND_RULE_US,
    RESEND_US,
    SAMPLES_MAX,
    SERVING_STATES,
    SITUATION_EVERY_US,
    SITUATION_PAUSE_US,
    SLEPT_US,
    STALLED_US,
    Actions,
    Adopt,
    Asked,
    CatchUp,
    CaughtUp,
    Event,
    Instance,
    Member,
    Order,
    Say,
    Sent,
    State,
    Target,
    Tick,
)
from services.arbiter.core.vips import beaten, claimed, granted_now, holding, watched
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.facts import InstanceState, Situation
from shared.messages.health import Evidence, Heartbeat, Picture, Verdict
from shared.messages.leases import ClaimSeen, Held, LeaseBeat
from shared.messages.traffic import DRIFT_OF_VIPS, Applied, Drift, Measured, Refused, Stage


def decide(state: State, event: Event, now: Instant) -> tuple[State, Actions]:
    """Return the state after an event, and what is to be done about it."""
    paused_us = now - state.touched_at
    if paused_us > STALLED_US:
        state = replace(state, touched_at=now, hearing_since=now)
    else:
        state = replace(state, touched_at=now)
    if paused_us > SLEPT_US:
        state = replace(state, awake=False, sleeps=state.sleeps + 1)
        state, actions = _decide(state, event, now)
        return state, (*actions, CatchUp(sleep=state.sleeps))
    return _decide(state, event, now)


def _decide(state: State, event: Event, now: Instant) -> tuple[State, Actions]:
    match event:
        case Evidence():
            return _evidence(state, event, now)
        case Tick():
            return _tick(state, event, now)
        case Asked():
            return asked(state, event, now) if state.awake else postponed(state, event)
        case Refused():
            return _refused(state, event, now)
        case Applied():
            return _applied(state, event, now)
        case LeaseBeat() | Held() | ClaimSeen():
            return _of_vips(state, event, now)
        case _:
            return _noted(state, event, now), ()


def _of_vips(
    state: State, event: LeaseBeat | Held | ClaimSeen, now: Instant
) -> tuple[State, Actions]:
    match event:
        case LeaseBeat():
            return _lease_beat(state, event, now)
        case Held():
            return holding(state, event, now)
        case ClaimSeen():
            return claimed(state, event, now), ()
        case _:
            assert_never(event)


def _evidence(state: State, evidence: Evidence, now: Instant) -> tuple[State, Actions]:
    """Learn from an observer; act at once if it is conclusive and the instance serves."""
    before = _known(state, evidence)
    if before is None:
        return state, ()
    instance = heard(before, evidence, now)
    if instance is before:
        return state, ()
    state = _with_view(state, instance)
    if not (settles(evidence) and receives(instance) and state.awake):
        return state, ()
    if instance.state is InstanceState.HELD:
        return state, ()
    judgement = judge(state, instance, now)
    if judgement.verdict is not Verdict.UNHEALTHY:
        return state, ()  # it reached us in the moment of waking: the next picture repeats it
    return failed(state, instance, judgement, now)


def _known(state: State, evidence: Evidence) -> Instance | None:
    """Return the instance that evidence is about, if it and the observer are of this cluster."""
    if evidence.observer not in state.cluster.nodes:
        return None
    return state.instances.get(evidence.service, {}).get(evidence.node)


def _with_view(state: State, instance: Instance) -> State:
    instances = dict(state.instances)
    instances[instance.service] = {**instances[instance.service], instance.node: instance}
    return replace(state, instances=instances, attention=state.attention | {instance.target})


def _noted(
    state: State, event: Heartbeat | Picture | Measured | Drift | Sent | CaughtUp, now: Instant
) -> State:
    """Learn what leads to no action before the next tick."""
    match event:
        case Heartbeat():
            return _beat(state, event, now)
        case Picture():
            return _picture(state, event, now)
        case Measured():
            return _measured(state, event, now)
        case Drift():
            return _drifted(state, event)
        case Sent():
            return sent(state, event.number, now)
        case CaughtUp() if event.sleep != state.sleeps:
            return state  # it slept again before the answer came
        case CaughtUp():
            return replace(state, awake=True, trusted_since=now)
        case _:
            assert_never(event)


def _picture(state: State, picture: Picture, now: Instant) -> State:
    """Learn all that an observer knows; ticks look only at what is not plainly well."""
    changed: dict[str, dict[str, Instance]] = {}
    unwell: set[Target] = set()
    for evidence in picture.evidence:
        before = _known(state, evidence)
        if before is not None and evidence.observer == picture.observer:
            if evidence.service not in changed:
                changed[evidence.service] = dict(state.instances[evidence.service])
            of_service = changed[evidence.service]
            of_service[evidence.node] = heard(of_service[evidence.node], evidence, now)
            if evidence.verdict is not Verdict.HEALTHY:
                unwell.add(before.target)
    attention = state.attention | unwell if unwell else state.attention
    return replace(state, instances={**state.instances, **changed}, attention=attention)


def _beat(state: State, beat: Heartbeat, now: Instant) -> State:
    """Learn that a member lives, and whom it hears; what it said before that is old."""
    member = state.members.get(beat.node)
    if member is None or beat.boot_id in member.boots:
        return state
    if beat.boot_id != member.boot_id:
        boots = (member.boot_id, *member.boots)[:BOOTS_MAX]
        member = replace(member, boot_id=beat.boot_id, boot_at=now, boots=boots)
    elif beat.sequence <= member.sequence:
        return state
    changed = replace(
        member,
        heard_at=now,
        sequence=beat.sequence,
        hears_us=beat.hears_us,
        late_us=beat.late_us,
        configuration=beat.configuration,
    )
    return _alive(state, changed, now)


def _lease_beat(state: State, beat: LeaseBeat, now: Instant) -> tuple[State, Actions]:
    """Learn that a node's switcher lives, and answer it; what is not new shows no life."""
    if not is_news(state.ledger, beat):
        return state, ()
    member = replace(state.members[beat.node], beat_at=now)
    return beaten(_alive(state, member, now), beat, now)


def _alive(state: State, member: Member, now: Instant) -> State:
    """Note a member's beat; where nobody was heard before it, the bus was away or we were deaf."""
    members = {**state.members, member.name: member}
    if now - state.heard_at > BEATS_OF_NOBODY * state.cluster.heartbeat.every_us:
        return replace(state, members=members, heard_at=now, hearing_since=now)
    return replace(state, members=members, heard_at=now)


def _with_member(state: State, member: Member) -> State:
    return replace(state, members={**state.members, member.name: member})


def _measured(state: State, measured: Measured, now: Instant) -> State:
    member = state.members.get(measured.node)
    if member is None:
        return state
    samples = (*member.samples, (now, measured))[-SAMPLES_MAX:]
    failed = measured.balancer_detail if not measured.balancer_ok else ""
    member = replace(member, samples=samples, present_at=now, failed=failed)
    number = (measured.epoch, measured.sequence)
    if measured.verified_age_us is not None and number >= member.installed:
        # The full picture makes good a lost `Applied`.
        member = replace(member, installed=number, verified=number, digest=measured.digest)
    return _with_member(state, member)


def _drifted(state: State, drift: Drift) -> State:
    """Remember what somebody else changed, until it is repaired."""
    key = f"{drift.node}:{drift.service}/{drift.target}"
    drifts = {name: text for name, text in state.drifts.items() if name != key}
    # What was removed of a VIP is in the words of the node that cannot hold it any more.
    if not drift.repaired and drift.service != DRIFT_OF_VIPS:
        drifts[key] = (
            f"{drift.node} has {drift.service}/{drift.target} at {drift.installed}, wanted is "
            f"{drift.wanted}, changed by {drift.by}: left alone"
        )
    return replace(state, drifts=drifts, news=True)


def _applied(state: State, applied: Applied, now: Instant) -> tuple[State, Actions]:
    member = state.members.get(applied.node)
    if member is None:
        return state, ()
    number = (applied.epoch, applied.sequence)
    if applied.stage is Stage.FAILED:
        failed = replace(member, present_at=now, failed=applied.detail)
        return replace(_with_member(state, failed), news=True), ()
    verified = number if applied.stage is Stage.VERIFIED else member.verified
    changed = replace(
        member,
        present_at=now,
        installed=max(member.installed, number),
        verified=max(member.verified, verified),
        digest=applied.digest if number >= member.installed else member.digest,
        failed="",
        refused="",
    )
    state = replace(_with_member(state, changed), news=True)
    actions: list[Say] = []
    for name in sorted(state.cases):
        state, said_of_it = progressed(state, name, now)
        actions.extend(said_of_it)
    return state, tuple(actions)


def _refused(state: State, refused: Refused, now: Instant) -> tuple[State, Actions]:
    member = state.members.get(refused.node)
    if member is None:
        return state, ()
    fence = (refused.fence_epoch, refused.fence_sequence)
    if fence > state.plan.number:
        return state, (Adopt(epoch_min=refused.fence_epoch),)
    if (refused.epoch, refused.sequence) != state.plan.number:
        return state, ()
    changed = replace(member, present_at=now, refused=refused.reason)
    return replace(_with_member(state, changed), news=True), ()


def _tick(state: State, tick: Tick, now: Instant) -> tuple[State, Actions]:
    """Judge everything that depends on time."""
    state = replace(state, wall_ahead_us=tick.wall_us - now)
    actions: list[object] = []
    if state.awake:
        state, more = _nodes(state, now)
        actions.extend(more)
        state, more = watched(state, now)
        actions.extend(more)
        state, more = _settled(state, now)
        actions.extend(more)
    state, granted = granted_now(state, now)
    actions[:0] = granted  # said before the plans: who takes over waits for nothing else
    state, more = _repeated(state, now)
    actions.extend(more)
    if not any(isinstance(action, Order) for action in actions):  # nothing delays a command
        state, more = _told(state, now)
        actions.extend(more)
    return state, tuple(actions)  # type: ignore[arg-type]


def _settled(state: State, now: Instant) -> tuple[State, Actions]:
    state, actions = expired(state, now)
    # All at once: each by itself would cost the square of the instances when an arbiter begins.
    calm = {each for each in state.attention if is_calm(state, state.instance(each), now)}
    if calm:
        state = replace(state, attention=state.attention - calm)
    for target in sorted(state.attention):
        state, more = attended(state, state.instance(target), now)
        actions = (*actions, *more)
    for name in sorted(state.cases):
        state, more = _case(state, name, now)
        actions = (*actions, *more)
    return state, actions


def _case(state: State, name: str, now: Instant) -> tuple[State, Actions]:
    """Go on with an open incident: its timing, and whether all is as it was."""
    if state.cases[name].base is None:
        state = based(state, name)
    state, actions = progressed(state, name, now)
    case = state.cases[name]
    waiting = absent(state, case, now)
    if not waiting:
        where = [state.instance(target) for target in case.targets]
        if any(each.state not in SERVING_STATES for each in where):
            return state, actions
        waiting = closable(state, case, now)
    if waiting:
        if case.verified_at is not None and waiting != case.incident.waiting_for:
            incident = replace(case.incident, waiting_for=waiting)
            state = put(state, replace(case, incident=incident))
            return state, (*actions, said(state, name))
        return state, actions
    state, more = closed(state, name, now)
    return released(state, case), (*actions, *more)


def _nodes(state: State, now: Instant) -> tuple[State, Actions]:
    """Judge every member by its silence; a lost node's instances go, once for all of them."""
    actions: Actions = ()
    for _, member in sorted(state.members.items()):
        after = believed(state, member, now)
        if after is not member.state:
            state, more = turned(state, member, after, now)
            actions = (*actions, *more)
    return state, actions


def _repeated(state: State, now: Instant) -> tuple[State, Actions]:
    """Say the plan again to whoever has not installed it: any one message may be lost."""
    if state.sent_at is not None and now - state.sent_at < RESEND_US:
        return state, ()
    behind = tuple(
        name
        for name in sorted(state.cluster.nodes)
        if state.members[name].installed < state.plan.number
        and _reachable(state.members[name], now)
        and not state.members[name].is_lost
    )
    rules = len(behind) * len(state.cluster.nodes) * len(state.cluster.services)
    pause_us = min(max(RESEND_US, rules * RESEND_RULE_US), RESEND_MAX_US)
    if not behind or (state.sent_at is not None and now - state.sent_at < pause_us):
        return state, ()
    return replace(state, sent_at=now), (Order(command=state.command, to=behind),)


def _reachable(member: Member, now: Instant) -> bool:
    """Whether anything of a node was heard lately: the silent are not talked to."""
    last = max(member.heard_at or 0, member.present_at or 0)
    return last > 0 and now - last <= PRESENCE_US


def _told(state: State, now: Instant) -> tuple[State, Actions]:
    """Say the situation every second and after every change, and readiness when it turns."""
    instances = len(state.cluster.services) * len(state.cluster.nodes)
    pause_us = min(instances * SITUATION_PAUSE_US, SITUATION_EVERY_US)
    due_us = pause_us if state.news else SITUATION_EVERY_US
    if state.said_at is not None and now - state.said_at < due_us:
        return state, ()
    picture: Situation = situation(state, now)
    ready = {(each.service, each.node): each.ready for each in picture.readiness.takeovers}
    ready |= {("", each.vip): each.ready for each in picture.readiness.vips}
    facts: tuple[Say, ...] = (Say(picture),)
    if ready != state.ready:
        facts = (*facts, Say(picture.readiness))
    return replace(state, said_at=now, news=False, ready=ready), facts
