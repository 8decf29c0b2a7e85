"""What an observer does: events in, actions out.

Rule 1: every change of what is known of an instance (verdict, grade, sign, abstention, identity)
is said at once, before anything else is done; the whole is said every second, so that nothing
that got lost stays lost.
Rule 2: an event touches one instance only, so that what a probe costs does not grow with the
cluster.
Rule 3: nothing is kept that grows: probes under way, evidence to be traced, all have a limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services.health_probe.core import answers, asking, judgement
from services.health_probe.core.events import (
    Action,
    Actions,
    EngineSeen,
    Event,
    IncidentHeard,
    InstanceEvent,
    PictureDue,
    RecordSpan,
    Say,
    Target,
    Wake,
    WakeForPicture,
)
from services.health_probe.core.instance import Instance, identity_of, take
from shared import company
from shared.cluster import Cluster
from shared.frozen import replace
from shared.instant import SECOND, Instant
from shared.messages.facts import Incident
from shared.messages.health import Evidence, Grade, Picture, Sign, Verdict

PICTURE_EVERY = 1 * SECOND
TRACED_MAX = 256  # bad evidence remembered for traces: the arbiter names it within milliseconds

Shown: TypeAlias = tuple[Verdict, Grade, Sign, bool, str | None]


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
    engine_trouble: str = ""  # why Docker's engine cannot be asked


def start(cluster: Cluster, observer: str, boot_id: str, now: Instant) -> tuple[State, Actions]:
    """Begin knowing nothing; every instance that is ours to ask gets its slots."""
    instances: dict[Target, Instance] = {}
    wakes: list[Action] = [WakeForPicture(now + PICTURE_EVERY)]
    for name, service in sorted(cluster.services.items()):
        for node in sorted(cluster.nodes):
            observers = company.observers(cluster, name, node)
            if observer not in observers:
                continue
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
        case PictureDue():
            return _picture(state, now)
        case IncidentHeard(incident):
            return _trace(state, incident)
        case EngineSeen(trouble):
            return replace(state, engine_trouble=trouble), ()
        case _:
            return _settle(state, event, now)


def _settle(state: State, event: InstanceEvent, now: Instant) -> tuple[State, Actions]:
    """Let one instance take an event in, and say what that changed."""
    before = state.instances[event.target]
    after, actions = take(before, event, now)
    if _shown(before) == _shown(after):
        return _with(state, after), actions
    after = replace(after, said=state.sequence + 1)
    state = replace(_with(state, after), sequence=after.said)
    evidence = _evidence(state, after, now)
    return _remember(state, after, evidence, now), (Say(evidence), *actions)


def _with(state: State, instance: Instance) -> State:
    return replace(state, instances={**state.instances, instance.target: instance})


def _shown(instance: Instance) -> Shown:
    """Return what others must know at once when it changes."""
    judged = instance.judgement
    return judged.verdict, judged.grade, judged.sign, judged.abstains, identity_of(instance)


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
        identity=identity_of(instance),
    )


def _picture(state: State, now: Instant) -> tuple[State, Actions]:
    if now < state.picture_at:
        return state, (WakeForPicture(state.picture_at),)
    missed = (now - state.picture_at) // PICTURE_EVERY
    state = replace(state, picture_at=state.picture_at + (missed + 1) * PICTURE_EVERY)
    evidence = tuple(_evidence(state, item, now) for _, item in sorted(state.instances.items()))
    picture = Picture(
        observer=state.observer,
        boot_id=state.boot_id,
        sequence=state.sequence,
        evidence=evidence,
    )
    return state, (Say(picture), WakeForPicture(state.picture_at))


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
