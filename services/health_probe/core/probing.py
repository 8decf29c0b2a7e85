"""What an observer does: events in, actions out.

Rule 1: every change of what is known of an instance (verdict, grade, sign, abstention, identity)
is said at once, before anything else is done; the whole is said every second, so that nothing
that got lost stays lost.
Rule 2: an event touches one instance only, so that what a probe costs does not grow with the
cluster.
Rule 3: nothing is kept that grows: probes under way, evidence to be traced, all have a limit.

A probe's way:  Woke -> Ask -> Ended -> Say if anything changed
A death:        LinkLost -> Ask -> Ended(refused) -> Say(conclusive)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, assert_never

from services.health_probe.core import answers, asking, identity, judgement, link
from services.health_probe.core.asking import Asked, Asking
from services.health_probe.core.identity import Identity
from services.health_probe.core.judgement import Judgement, Sample
from services.health_probe.core.link import Link, Phase
from services.health_probe.core.signs import Outcome
from shared.cluster import Cluster, Service
from shared.instant import SECOND, Duration, Instant
from shared.messages.facts import Incident
from shared.messages.health import Evidence, Grade, Picture, Sign, Verdict

PICTURE_EVERY = 1 * SECOND
TRACED_MAX = 256  # bad evidence remembered for traces: the arbiter names it within milliseconds


class Target(NamedTuple):
    """An instance: what is probed."""

    service: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What an observer knows of one instance, and does about it."""

    target: Target
    service: Service
    local: bool
    asking: Asking
    judgement: Judgement = Judgement()
    link: Link = Link()
    identity: Identity = Identity()
    said: int = 0  # sequence of its newest evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """Evidence that was said, as a trace will show it."""

    evidence: Evidence
    first_at: Instant
    said_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that decisions depend on."""

    observer: str
    boot_id: str
    sequence: int
    instances: Mapping[Target, Instance]
    picture_at: Instant
    trails: tuple[Trail, ...] = ()
    traced: tuple[tuple[str, int], ...] = ()  # incident and sequence


@dataclass(frozen=True, slots=True)
class Woke:
    """The time that a `Wake` asked for has come; None is the picture's."""

    target: Target | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A probe came to an end."""

    target: Target
    number: int
    outcome: Outcome
    late_us: Duration  # how late our own loop was since the probe began


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """The kept connection is there."""

    target: Target


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The kept connection ended or could not be made; `own`: by trouble of ours."""

    target: Target
    own: bool


@dataclass(frozen=True, slots=True)
class IdentityRead:
    """What an instance says it is; None: it could not be read."""

    target: Target
    value: str | None


@dataclass(frozen=True, slots=True)
class IncidentHeard:
    """The arbiter said something of an incident."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class Say:
    """Publish what is known."""

    message: Evidence | Picture


@dataclass(frozen=True, slots=True)
class Ask:
    """Begin a probe over a new connection."""

    target: Target
    number: int
    timeout_us: Duration


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Open a connection to a local instance, and keep it."""

    target: Target


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close the kept connection, without a word of it."""

    target: Target


@dataclass(frozen=True, slots=True)
class ReadIdentity:
    """Ask an instance what it is."""

    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSpan:
    """Add what led to some evidence to an incident's trace."""

    incident: str
    evidence: Evidence
    begin_at: Instant
    end_at: Instant


@dataclass(frozen=True, slots=True)
class Wake:
    """Come back at this time; a newer one for the same target replaces an older one."""

    target: Target | None
    at: Instant


Event: TypeAlias = Woke | Ended | LinkOpened | LinkLost | IdentityRead | IncidentHeard
Action: TypeAlias = Say | Ask | OpenLink | CloseLink | ReadIdentity | RecordSpan | Wake
Actions: TypeAlias = tuple[Action, ...]


def start(cluster: Cluster, observer: str, boot_id: str, now: Instant) -> tuple[State, Actions]:
    """Begin knowing nothing; every instance gets its slots."""
    observers = tuple(cluster.nodes)
    instances: dict[Target, Instance] = {}
    wakes: list[Action] = [Wake(None, now + PICTURE_EVERY)]
    for name, service in sorted(cluster.services.items()):
        for node in sorted(cluster.nodes):
            target = Target(name, node)
            every_us = service.probe.every_us
            offset_us = asking.offset_us(observer, observers, target, every_us)
            slots = asking.begin(every_us, offset_us, now)
            wakes.append(Wake(target, slots.slot_at))
            instances[target] = Instance(
                target=target,
                service=service,
                local=node == observer,
                asking=replace(slots, wake_at=slots.slot_at),
            )
    state = State(
        observer=observer,
        boot_id=boot_id,
        sequence=0,
        instances=instances,
        picture_at=now + PICTURE_EVERY,
    )
    return state, tuple(wakes)


def decide(state: State, event: Event, now: Instant) -> tuple[State, Actions]:
    """Return the state after an event, and what is to be done about it."""
    match event:
        case Woke(None):
            return _picture(state, now)
        case IncidentHeard(incident):
            return _trace(state, incident)
        case Woke(Target() as target) | LinkOpened(target) | LinkLost(target, _):
            return _settle(state, state.instances[target], event, now)
        case Ended(target=target) | IdentityRead(target, _):
            return _settle(state, state.instances[target], event, now)
        case _:
            assert_never(event)


def _settle(state: State, before: Instance, event: Event, now: Instant) -> tuple[State, Actions]:
    """Let one instance take an event in, and say what that changed."""
    after, actions = _take(before, event, now)
    after, pursued = _pursue(after, now)
    after, wakes = _alarm(after)
    if _shown(before) == _shown(after):
        return _with(state, after), (*actions, *pursued, *wakes)
    after = replace(after, said=state.sequence + 1)
    state = replace(_with(state, after), sequence=after.said)
    evidence = _evidence(state, after, now)
    state = _remember(state, after, evidence, now)
    return state, (Say(evidence), *actions, *pursued, *wakes)


def _take(instance: Instance, event: Event, now: Instant) -> tuple[Instance, Actions]:
    match event:
        case Woke():
            return _take_slot(instance, now)
        case Ended():
            return _take_sample(instance, event, now)
        case LinkOpened():
            return _take_link(instance, now)
        case LinkLost(_, own):
            return _lose_link(instance, now, own=own)
        case IdentityRead(_, value):
            return _take_identity(instance, value, now), ()
        case IncidentHeard():
            raise AssertionError
        case _:
            assert_never(event)


def _take_slot(instance: Instance, now: Instant) -> tuple[Instance, Actions]:
    slots, due = asking.take_slot(replace(instance.asking, wake_at=None), now)
    instance = replace(instance, asking=slots)
    return _ask(instance, now) if due else (instance, ())


def _ask(instance: Instance, now: Instant) -> tuple[Instance, Actions]:
    timeout_us = judgement.timeout_of(instance.judgement, instance.service.probe)
    after = asking.ask(instance.asking, timeout_us, now)
    if after is instance.asking:
        return instance, ()
    return replace(instance, asking=after), (Ask(instance.target, after.number, timeout_us),)


def _take_sample(instance: Instance, ended: Ended, now: Instant) -> tuple[Instance, Actions]:
    remaining, asked = asking.end(instance.asking, ended.number)
    if asked is None:
        return instance, ()
    instance = replace(instance, asking=remaining)
    sample = _sample(asked, ended)
    if sample.late_us >= asking.PAUSE_US:
        return _ask(instance, now)  # what was under way while we slept says nothing of now
    if sample.outcome.sign is Sign.NOTHING:
        return replace(instance, judgement=judgement.abstain(instance.judgement, sample)), ()
    if judgement.doubtful(sample):
        return _ask(replace(instance, judgement=judgement.abstain(instance.judgement, sample)), now)
    judged = judgement.judge(instance.judgement, sample, instance.service.probe)
    if sample.outcome.sign is Sign.OK:
        return _well(replace(instance, judgement=judged), asked, now)
    if judged.verdict is Verdict.UNHEALTHY:
        instance = replace(instance, identity=identity.gone(instance.identity, now))
    return replace(instance, judgement=judged), ()


def _sample(asked: Asked, ended: Ended) -> Sample:
    return Sample(
        outcome=ended.outcome,
        began_at=asked.began_at,
        ended_at=asked.began_at + ended.outcome.took_us,
        timeout_us=asked.timeout_us,
        late_us=ended.late_us,
    )


def _well(instance: Instance, asked: Asked, now: Instant) -> tuple[Instance, Actions]:
    """Do what a good answer allows: open a link, read the identity."""
    actions: list[Action] = []
    kept = link.answered(instance.link, asked.began_at)
    known = instance.identity
    wanted = instance.service.identity is not None
    if instance.local and _settled(instance) and link.may_open(kept, now):
        kept = link.opening(kept)
        actions.append(OpenLink(instance.target))
    healthy = instance.judgement.verdict is Verdict.HEALTHY
    if wanted and healthy and identity.due(known, now):
        known = identity.reading(known, now)
        actions.append(ReadIdentity(instance.target))
    slots = asking.outdate(instance.asking, asked.number)
    return replace(instance, asking=slots, link=kept, identity=known), tuple(actions)


def _settled(instance: Instance) -> bool:
    return judgement.settled(instance.judgement, instance.service.probe)


def _take_link(instance: Instance, now: Instant) -> tuple[Instance, Actions]:
    if instance.link.phase is Phase.OPENING:
        return replace(instance, link=link.opened(instance.link, now)), ()
    return instance, ()


def _lose_link(instance: Instance, now: Instant, *, own: bool) -> tuple[Instance, Actions]:
    if instance.link.phase is Phase.CLOSED:
        return instance, ()
    instance = replace(instance, link=link.lost(instance.link, now))
    if own:
        return instance, ()
    alarmed = judgement.alarm(instance.judgement, now)
    doubted = identity.changed(instance.identity, now)
    return _ask(replace(instance, judgement=alarmed, identity=doubted), now)


def _take_identity(instance: Instance, value: str | None, now: Instant) -> Instance:
    assert instance.service.identity is not None
    every_us = instance.service.identity.every_us
    return replace(instance, identity=identity.read(instance.identity, value, every_us, now))


def _pursue(instance: Instance, now: Instant) -> tuple[Instance, Actions]:
    """Do what the time has come for: free a server that our link may block, confirm a sign."""
    actions: Actions = ()
    trial_at, confirm_at = _trial_at(instance), _confirm_at(instance)
    if trial_at is not None and now >= trial_at:
        instance = replace(instance, link=link.lost(instance.link, now))
        actions = (CloseLink(instance.target),)
    if confirm_at is not None and now >= confirm_at:
        instance, asks = _ask(instance, now)
        actions = (*actions, *asks)
    return instance, actions


def _trial_at(instance: Instance) -> Instant | None:
    on_trial = instance.link.phase in (Phase.OPENING, Phase.TRIAL)
    return instance.asking.confirm_at if on_trial and instance.asking.asked else None


def _confirm_at(instance: Instance) -> Instant | None:
    if instance.judgement.verdict is Verdict.UNHEALTHY:
        return None
    return asking.confirmation_at(
        instance.asking, instance.judgement.bad, instance.service.probe.fall
    )


def _alarm(instance: Instance) -> tuple[Instance, Actions]:
    """Set the alarm for the next thing that time brings, if that is not when it is set to."""
    due = (instance.asking.slot_at, _trial_at(instance), _confirm_at(instance))
    wake_at = min(at for at in due if at is not None)
    if wake_at == instance.asking.wake_at:
        return instance, ()
    slots = replace(instance.asking, wake_at=wake_at)
    return replace(instance, asking=slots), (Wake(instance.target, wake_at),)


def _with(state: State, instance: Instance) -> State:
    return replace(state, instances={**state.instances, instance.target: instance})


def _shown(instance: Instance) -> tuple[Verdict, Grade, Sign, bool, str | None]:
    """Return what others must know at once when it changes."""
    judged = instance.judgement
    return judged.verdict, judged.grade, judged.sign, judged.abstains, instance.identity.value


def _evidence(state: State, instance: Instance, now: Instant) -> Evidence:
    judged, probe = instance.judgement, instance.service.probe
    return Evidence(
        observer=state.observer,
        boot_id=state.boot_id,
        sequence=instance.said,
        node=instance.target.node,
        service=instance.target.service,
        verdict=judged.verdict,
        grade=judged.grade,
        sign=judged.sign,
        detail=judged.detail,
        value=judged.value,
        threshold=judgement.threshold(judged, probe),
        streak=judged.bad or judged.good,
        first_age_us=0 if judged.first_bad_at is None else now - judged.first_bad_at,
        age_us=0 if judged.ended_at is None else now - judged.ended_at,
        answer_us=answers.normal_us(judged.answers),
        timeout_us=judged.timeout_us,
        late_us=judged.late_us,
        abstains=judged.abstains,
        identity=instance.identity.value,
    )


def _picture(state: State, now: Instant) -> tuple[State, Actions]:
    if now < state.picture_at:
        return state, (Wake(None, state.picture_at),)
    missed = (now - state.picture_at) // PICTURE_EVERY
    state = replace(state, picture_at=state.picture_at + (missed + 1) * PICTURE_EVERY)
    evidence = tuple(_evidence(state, item, now) for _, item in sorted(state.instances.items()))
    picture = Picture(
        observer=state.observer,
        boot_id=state.boot_id,
        sequence=state.sequence,
        evidence=evidence,
    )
    return state, (Say(picture), Wake(None, state.picture_at))


def _remember(state: State, instance: Instance, evidence: Evidence, now: Instant) -> State:
    first_at = instance.judgement.first_bad_at
    if first_at is None:
        return state
    trail = Trail(evidence=evidence, first_at=first_at, said_at=now)
    return replace(state, trails=(*state.trails[-(TRACED_MAX - 1) :], trail))


def _trace(state: State, incident: Incident) -> tuple[State, Actions]:
    """Add our part to a trace, once for each evidence of ours that the incident names."""
    named = {
        item.sequence
        for item in incident.evidence
        if (item.observer, item.boot_id) == (state.observer, state.boot_id)
    }
    trails = tuple(
        trail
        for trail in state.trails
        if trail.evidence.sequence in named
        and (incident.id, trail.evidence.sequence) not in state.traced
    )
    if not trails:
        return state, ()
    traced = (*state.traced, *((incident.id, trail.evidence.sequence) for trail in trails))
    spans = tuple(
        RecordSpan(
            incident=incident.id,
            evidence=trail.evidence,
            begin_at=trail.first_at,
            end_at=trail.said_at,
        )
        for trail in trails
    )
    return replace(state, traced=traced[-TRACED_MAX:]), spans
