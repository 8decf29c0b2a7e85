"""What an observer knows of one instance, and what follows from an event.

A probe's way:  Woke -> Ask -> Ended
A death:        LinkLost -> Ask -> Ended(refused)
A container:    ContainerSeen
A hang:         Woke -> Ask, half a time-out -> Woke -> Ask, Ended(time-out), Ended(time-out)
"""

from dataclasses import dataclass, field
from typing import assert_never

from services.health_probe.core import asking, container, identity, judgement, link
from services.health_probe.core.asking import Asked, Asking
from services.health_probe.core.container import Container
from services.health_probe.core.events import (
    Action,
    Actions,
    Ask,
    CloseLink,
    ContainerSeen,
    Ended,
    IdentityRead,
    InstanceEvent,
    LinkLost,
    LinkOpened,
    OpenLink,
    ReadIdentity,
    Target,
    Wake,
    Woke,
)
from services.health_probe.core.identity import Identity
from services.health_probe.core.judgement import Judgement, Sample
from services.health_probe.core.link import Link, Phase
from shared.cluster import Service
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.health import Grade, Sign, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What an observer knows of one instance, and does about it."""

    target: Target
    service: Service
    local: bool
    asking: Asking
    judgement: Judgement = field(default_factory=Judgement)
    link: Link = field(default_factory=Link)
    identity: Identity = field(default_factory=Identity)
    container: Container = field(default_factory=Container)
    said: int = 0  # sequence of its newest evidence


def take(instance: Instance, event: InstanceEvent, now: Instant) -> tuple[Instance, Actions]:
    """Return the instance after an event, and what is to be done at once and later."""
    instance, actions = _take(instance, event, now)
    instance, pursued = _pursue(instance, now)
    instance, wakes = _alarm(instance)
    return instance, (*actions, *pursued, *wakes)


def _take(instance: Instance, event: InstanceEvent, now: Instant) -> tuple[Instance, Actions]:
    match event:
        case Woke():
            return _take_slot(instance, now)
        case Ended():
            return _take_sample(instance, event, now)
        case LinkOpened():
            return _take_link(instance, now), ()
        case LinkLost(_, own):
            return _lose_link(instance, now, own=own)
        case IdentityRead(_, value):
            return _take_identity(instance, value, now), ()
        case ContainerSeen(_, seen):
            return _take_container(instance, seen, now), ()
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
    sample = _weighed(instance, _sample(asked, ended))
    if sample.late_us >= asking.PAUSE_US:
        return _ask(instance, now)  # what was under way while we slept says nothing of now
    own = sample.outcome.sign is Sign.NOTHING
    if own or judgement.doubtful(sample):
        abstaining = judgement.abstain(instance.judgement, sample)
        instance = replace(instance, judgement=abstaining)
        # Lateness passes; what we lack here would be lacking at once again.
        return (instance, ()) if own else _ask(instance, now)
    judged = judgement.judge(instance.judgement, sample, instance.service.probe)
    instance = replace(instance, judgement=judged)
    if sample.outcome.sign is Sign.OK:
        return _well(instance, asked, now)
    return _ill(instance, now), ()


def _sample(asked: Asked, ended: Ended) -> Sample:
    return Sample(
        outcome=ended.outcome,
        began_at=asked.began_at,
        ended_at=asked.began_at + ended.outcome.took_us,
        timeout_us=asked.timeout_us,
        late_us=ended.late_us,
    )


def _weighed(instance: Instance, sample: Sample) -> Sample:
    """Return a probe's sample, or the engine's word in its place where that weighs more."""
    word = _engine_grade(instance)
    good = sample.outcome.sign is Sign.OK
    if word is Grade.CONCLUSIVE or (word is Grade.SUSPICIOUS and good):
        return replace(sample, outcome=container.outcome(instance.container), graded=word)
    return sample


def _engine_grade(instance: Instance) -> Grade:
    contained = instance.service.docker
    return Grade.NONE if contained is None else container.grade(instance.container, contained)


def _take_container(instance: Instance, seen: Container, now: Instant) -> Instance:
    """Let the engine's word count at once where it is a new one."""
    before = (instance.container.phase, _engine_grade(instance))
    instance = replace(instance, container=container.merged(instance.container, seen))
    word = _engine_grade(instance)
    if word is Grade.NONE or before == (instance.container.phase, word):
        return instance
    sample = Sample(
        outcome=container.outcome(instance.container),
        began_at=now,
        ended_at=now,
        timeout_us=instance.judgement.timeout_us,
        late_us=0,
        graded=word,
    )
    judged = judgement.judge(instance.judgement, sample, instance.service.probe)
    return _ill(replace(instance, judgement=judged), now)


def identity_of(instance: Instance) -> str | None:
    """Return what the instance is, as far as its comparison needs it; None: not known.

    With its image in it, the whole is known on its own node only; others say nothing, lest a
    part is compared with a whole.
    """
    wanted, value = instance.service.identity, instance.identity.value
    if wanted is None or not wanted.image:
        return value
    image = instance.container.image
    if image is None or instance.judgement.verdict is not Verdict.HEALTHY:
        return None
    if wanted.path is None:
        return image
    return None if value is None else f"{value}, {image}"


def _reads_identity(instance: Instance) -> bool:
    wanted = instance.service.identity
    if wanted is None or wanted.path is None:
        return False
    return instance.local or not wanted.image


def _well(instance: Instance, asked: Asked, now: Instant) -> tuple[Instance, Actions]:
    """Do what a good answer allows: open a link, read the identity."""
    actions: list[Action] = []
    kept = link.answered(instance.link, asked.began_at)
    known = instance.identity
    if instance.local and _settled(instance) and link.may_open(kept, now):
        kept = link.opening(kept)
        actions.append(OpenLink(instance.target))
    healthy = instance.judgement.verdict is Verdict.HEALTHY
    if _reads_identity(instance) and healthy and identity.due(known, now):
        known = identity.reading(known, now)
        actions.append(ReadIdentity(instance.target))
    slots = asking.outdate(instance.asking, asked.number)
    return replace(instance, asking=slots, link=kept, identity=known), tuple(actions)


def _ill(instance: Instance, now: Instant) -> Instance:
    """Hurry where that helps, and forget what a bad answer puts in doubt."""
    judged = instance.judgement
    reset = judged.sign is Sign.RESET
    hurried = asking.hurry(instance.asking, judged.bad, now, reset=reset)
    instance = replace(instance, asking=hurried)
    if judged.verdict is not Verdict.UNHEALTHY:
        return instance
    return replace(
        instance,
        link=link.excused(instance.link),
        identity=identity.gone(instance.identity, now),
        container=container.doubted(instance.container),
    )


def _settled(instance: Instance) -> bool:
    return judgement.settled(instance.judgement, instance.service.probe)


def _take_link(instance: Instance, now: Instant) -> Instance:
    if instance.link.phase is Phase.OPENING:
        return replace(instance, link=link.opened(instance.link, now))
    return instance


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
    judged = instance.judgement
    if judged.verdict is not Verdict.UNHEALTHY:
        return asking.confirmation_at(instance.asking, judged.bad, instance.service.probe.fall)
    return asking.follow_up_at(instance.asking, judged.bad) if judged.sign is Sign.RESET else None


def _alarm(instance: Instance) -> tuple[Instance, Actions]:
    """Set the alarm for the next thing that time brings, if that is not when it is set to."""
    due = (instance.asking.slot_at, _trial_at(instance), _confirm_at(instance))
    wake_at = min(at for at in due if at is not None)
    if wake_at == instance.asking.wake_at:
        return instance, ()
    slots = replace(instance.asking, wake_at=wake_at)
    return replace(instance, asking=slots), (Wake(instance.target, wake_at),)
