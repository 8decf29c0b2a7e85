"""What a console has heard, reduced to what its answers need.

Rule 1: everything that changes what this console knows is in this file.
Rule 2: only what the configuration names is remembered (members, services, instances), and of
events and incidents only the newest: whatever is said on the bus, memory is bounded.
Rule 3: knowledge has an age. Nothing here says that the cluster is well; the answers do, and
none of them does for longer than `STALE_US` after the leading arbiter's last word.
Rule 4: what is live replaces what is remembered; the past, read in the background, fills gaps.

    EMPTY --connected--> FILLING --Past--> FILLED --bus lost, found again--> FILLING
                            |  ^
                    Unread  v  |  after RETRY_US
                          WAITING
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, assert_never

from services.console.core.state import (
    STALE_US,
    Balancer,
    Filling,
    Known,
    ReadBack,
    Remembered,
    Sample,
    State,
    T,
)
from services.console.core.story import tell
from services.console.core.words import short, wall_of
from shared.cluster import Cluster
from shared.frozen import replace
from shared.instant import HOUR, MINUTE, SECOND, Duration, Instant
from shared.messages.codec import Envelope
from shared.messages.facts import (
    Incident,
    IncidentClosed,
    IncidentOpened,
    IncidentUpdated,
    Situation,
)
from shared.messages.health import Evidence, Picture, Presence
from shared.messages.leases import ClaimSeen, Held, Holding
from shared.messages.table import Message
from shared.messages.traffic import Applied, Drift, Measured, Stage
from shared.rules import digest

RETRY_US: Duration = 5 * SECOND  # between attempts to read the past: a stream elects in 4 to 9 s
SAMPLE_US: Duration = 3 * SECOND  # rates are taken over 3 to 7 s: quiet, and still of the present
EVENTS_MAX = 2_000  # a day of a troubled cluster; about 1 MB
INCIDENTS_MAX = 200  # a year of a healthy one
EVIDENCE_MAX = 100  # items of one incident: ten nodes that each saw it tenfold
PHASES_MAX = 50  # four to switch, four to return, and those again for each relapse
TARGETS_MAX = 200  # a whole node with a hundred services
DRIFTS_MAX = 100  # more at once is one cause, and the newest show it
FAILURES_US: Duration = HOUR  # how far back failed requests are counted

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message came in."""

    message: Message
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A part of the past was read, oldest first; `done` with the last one."""

    heard: tuple[Heard, ...]
    done: bool


@dataclass(frozen=True, slots=True)
class Unread:
    """The past could not be read."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went on; whether the bus is reachable now."""

    bus: bool


Happening: TypeAlias = Heard | Past | Unread | Tick


@dataclass(frozen=True, slots=True)
class ReadPast:
    """Read the past from the stream, in the background."""


@dataclass(frozen=True, slots=True)
class Wake:
    """There are new events for those who follow them."""


Action: TypeAlias = ReadPast | Wake


def start(
    cluster: Cluster, *, member: str, version: str, trace_ui: str | None, now: Instant
) -> State:
    """Begin knowing nothing."""
    return State(cluster=cluster, member=member, version=version, trace_ui=trace_ui, started_at=now)


def decide(state: State, event: Happening, now: Instant) -> tuple[State, tuple[Action, ...]]:
    """Return what is known after an event, and what is to be done about it."""
    match event:
        case Heard():
            after = _tell(_hear(state, event, now), event)
        case Past():
            after = _fill(state, event)
        case Unread():
            return replace(state, filling=Filling.WAITING, retry_at=now + RETRY_US), ()
        case Tick():
            return _tick(state, now, bus=event.bus)
        case _:
            assert_never(event)
    return after, (Wake(),) if after.newest > state.newest else ()


def _tick(state: State, now: Instant, *, bus: bool) -> tuple[State, tuple[Action, ...]]:
    """Read the past whenever the bus was found, and again when that failed."""
    found = bus and (not state.bus or state.filling is Filling.EMPTY)
    again = bus and state.filling is Filling.WAITING and now >= state.retry_at
    after = replace(state, bus=bus)
    if (found or again) and state.filling is not Filling.FILLING:
        return replace(after, filling=Filling.FILLING), (ReadPast(),)
    return after, ()


def _hear(state: State, heard: Heard, now: Instant) -> State:
    """Take in what arbiters and observers say; the rest comes from switchers."""
    match heard.message:
        case Situation() as situation:
            return _situation(state, situation, now)
        case Presence(beat=beat) if beat.node in state.cluster.members:
            known = {**state.heartbeats, beat.node: Known(value=beat, at=now)}
            return replace(state, heartbeats=known)
        case Picture(evidence=evidence):
            return _evidence(state, evidence, now)
        case Evidence() as evidence:
            return _evidence(state, (evidence,), now)
        case message:
            return _recall(_hear_switcher(state, message, now), heard)


def _hear_switcher(state: State, message: Message, now: Instant) -> State:
    match message:
        case Measured() as measured if measured.node in state.cluster.nodes:
            return _measured(state, measured, now)
        case Applied() as applied if applied.node in state.cluster.nodes:
            return _installs(_applied(state, applied, now), applied)
        case Drift() as drift if drift.node in state.cluster.nodes:
            return _drift(state, drift, now)
        case Held() | ClaimSeen() as said if said.node in state.cluster.nodes:
            return _of_vip(state, said, now)
        case _:
            return state


def _recall(state: State, heard: Heard) -> State:
    match heard.message:
        case IncidentOpened() | IncidentUpdated() | IncidentClosed() as said:
            return _remember(state, said.incident, wall_of(heard.envelope.time) or 0)
        case _:
            return state


def _situation(state: State, situation: Situation, now: Instant) -> State:
    """Take the newest term's word; an older one's only after the newer has fallen silent."""
    known = state.situation
    if known is not None and now - known.at <= STALE_US:
        deposed = situation.plan.epoch < known.value.plan.epoch
        if deposed:
            return state
    same = known is not None and known.value.plan == situation.plan
    return replace(
        state,
        situation=Known(value=situation, at=now),
        plan_digest=state.plan_digest if same else digest(situation.plan.services),
    )


def _measured(state: State, measured: Measured, now: Instant) -> State:
    before = state.balancers.get(measured.node, Balancer())
    number = (measured.epoch, measured.sequence)
    back = before.back
    if back is None or number >= back.number or now - back.at > STALE_US:
        back = _back_of(measured, before.back, now)
    services = {
        service: load
        for service, load in measured.services.items()
        if service in state.cluster.services
    }
    told = {
        service: {node: counted.requests for node, counted in load.instances.items()}
        for service, load in services.items()
        if load.instances
    }
    sample = Sample(
        at=now,
        totals={service: load.requests for service, load in services.items()},
        requests={**(before.samples[-1].requests if before.samples else {}), **told},
    )
    balancer = Balancer(
        measured=Known(value=measured, at=now),
        samples=_samples(before.samples, sample),
        back=back,
    )
    return replace(
        state,
        balancers={**state.balancers, measured.node: balancer},
        failures=_failures(state, before.measured, measured, now),
    )


def _back_of(measured: Measured, before: ReadBack | None, now: Instant) -> ReadBack:
    """Return what a report says is installed; it does not take back what was verified."""
    number = (measured.epoch, measured.sequence)
    same = before is not None and before.number == number and before.digest == measured.digest
    verified_at = before.verified_at if before is not None and same else None
    if measured.verified_age_us is not None:
        verified_at = now - measured.verified_age_us
    return ReadBack(
        at=now,
        number=number,
        digest=measured.digest,
        rules=measured.installed or None,
        verified_at=verified_at,
        failed=before.failed if before is not None and same else "",
    )


def _samples(before: tuple[Sample, ...], newest: Sample) -> tuple[Sample, ...]:
    """Keep the newest and two older ones; a window of rates begins at the oldest."""
    if len(before) < 2:  # noqa: PLR2004 - an anchor and its successor
        return (*before, newest)
    older, middle = before[0], before[1]
    if newest.at - middle.at >= SAMPLE_US:
        return (middle, before[-1], newest)
    return (older, middle, newest)


def _failures(
    state: State, before: Known[Measured] | None, measured: Measured, now: Instant
) -> Mapping[str, Mapping[int, int]]:
    """Count failed requests by the minute, over restarts of the load balancer too."""
    if before is None:
        return state.failures
    minute, oldest = now // MINUTE, (now - FAILURES_US) // MINUTE
    after = dict(state.failures)
    for service, load in measured.services.items():
        old = before.value.services.get(service)
        if service not in state.cluster.services or old is None:
            continue
        failed = load.failed - old.failed if load.failed >= old.failed else load.failed
        if failed:
            minutes = {m: n for m, n in after.get(service, {}).items() if m > oldest}
            after[service] = {**minutes, minute: minutes.get(minute, 0) + failed}
    return after


def _applied(state: State, applied: Applied, now: Instant) -> State:
    """Take what a switcher says of a plan, unless a newer one is known to be installed."""
    before = state.balancers.get(applied.node, Balancer())
    number = (applied.epoch, applied.sequence)
    back = before.back
    if back is not None and number < back.number and now - back.at <= STALE_US:
        return state
    same = back is not None and back.number == number and back.digest == applied.digest
    verified_at = back.verified_at if back is not None and same else None
    known = ReadBack(
        at=now,
        number=number,
        digest=applied.digest,
        rules=back.rules if back is not None and same else None,
        verified_at=now if applied.stage is Stage.VERIFIED else verified_at,
        failed=(applied.detail or "failed") if applied.stage is Stage.FAILED else "",
    )
    balancers = {**state.balancers, applied.node: replace(before, back=known)}
    return replace(state, balancers=balancers)


def _installs(state: State, applied: Applied) -> State:
    """Remember how an incident's first plan was followed; later ones are steps of its return."""
    remembered = state.incidents.get(applied.incident or "")
    if remembered is None:
        return _early(state, applied)
    number = (applied.epoch, applied.sequence)
    if remembered.first is not None and number != remembered.first:
        return state
    known = replace(remembered, first=number, installs=_further(remembered.installs, applied))
    return replace(state, incidents={**state.incidents, known.incident.id: known})


def _early(state: State, applied: Applied) -> State:
    """Keep what overtook the opening of its incident, for the newest incident only."""
    if applied.incident is None:
        return state
    installs = state.installs.get(applied.incident, {})
    first = next(iter(installs.values()), applied)
    if (first.epoch, first.sequence) != (applied.epoch, applied.sequence):
        return state
    return replace(state, installs={applied.incident: _further(installs, applied)})


_ORDER = {Stage.FAILED: 0, Stage.INSTALLED: 1, Stage.VERIFIED: 2}


def _further(installs: Mapping[str, Applied], applied: Applied) -> Mapping[str, Applied]:
    known = installs.get(applied.node)
    if known is not None and _ORDER[known.stage] > _ORDER[applied.stage]:
        return installs
    return {**installs, applied.node: applied}


def _drift(state: State, drift: Drift, now: Instant) -> State:
    key = (drift.node, drift.service, drift.target)
    others = {k: known for k, known in state.drifts.items() if k != key}
    drifts = {**others, key: Known(value=drift, at=now)}
    return replace(state, drifts=_newest(drifts, DRIFTS_MAX))


def _of_vip(state: State, said: Held | ClaimSeen, now: Instant) -> State:
    """Remember a node's last word on each VIP, and how an incident's VIPs were taken."""
    if said.vip not in state.cluster.vips:
        return state
    key = (said.node, said.vip)
    match said:
        case ClaimSeen():
            return replace(state, claims={**state.claims, key: Known(value=said, at=now)})
        case Held():
            known = {**state.held, key: Known(value=said, at=now)}
            return _takings(replace(state, held=known), said)
        case _:
            assert_never(said)


def _takings(state: State, held: Held) -> State:
    remembered = state.incidents.get(held.incident or "")
    if held.holding is not Holding.TAKEN or remembered is None or held.vip in remembered.takings:
        return state
    takings = {**remembered.takings, held.vip: held}
    known = replace(remembered, takings=takings)
    return replace(state, incidents={**state.incidents, known.incident.id: known})


def _evidence(state: State, evidence: Iterable[Evidence], now: Instant) -> State:
    cluster = state.cluster
    known = {
        (item.observer, item.service, item.node): Known(value=item, at=now)
        for item in evidence
        if item.observer in cluster.members
        and item.node in cluster.nodes
        and item.service in cluster.services
    }
    return replace(state, evidence={**state.evidence, **known}) if known else state


def _remember(state: State, incident: Incident, wall_us: int) -> State:
    incident = _clipped(incident)
    before = state.incidents.get(incident.id)
    early = state.installs.get(incident.id, {})
    first = next(iter(early.values()), None)
    known = Remembered(
        incident=incident,
        wall_us=wall_us,
        first=before.first if before else (first.epoch, first.sequence) if first else None,
        installs=before.installs if before else early,
        takings=before.takings if before else {},
    )
    incidents = {**state.incidents, incident.id: known}
    if len(incidents) > INCIDENTS_MAX:
        oldest = min(incidents.values(), key=lambda item: item.incident.began_wall_us)
        del incidents[oldest.incident.id]
    return replace(state, incidents=incidents)


def _clipped(incident: Incident) -> Incident:
    """Bound what one incident may take of our memory, whoever wrote it."""
    return replace(
        incident,
        id=short(incident.id),
        cause=short(incident.cause),
        sentence=short(incident.sentence),
        evidence=incident.evidence[:EVIDENCE_MAX],
        phases=incident.phases[:PHASES_MAX],
        recovery=incident.recovery[:PHASES_MAX],
        before=_few(incident.before),
        after=_few(incident.after),
        installed=_few(incident.installed),
        vips=incident.vips[:TARGETS_MAX],
    )


def _few(entries: Mapping[str, V]) -> dict[str, V]:
    return {short(key): entries[key] for key in list(entries)[:TARGETS_MAX]}


def _tell(state: State, heard: Heard) -> State:
    entry = tell(heard.message, heard.envelope, state.cluster, state.newest + 1)
    if entry is None or entry.event["id"] in state.events:
        return state
    events = _newest({**state.events, entry.event["id"]: entry}, EVENTS_MAX)
    return replace(state, events=events, newest=entry.number)


def _fill(state: State, past: Past) -> State:
    """Add what was not known; what was heard live since is newer and stays."""
    after = replace(state, filling=Filling.FILLED) if past.done else state
    for heard in past.heard:
        match heard.message:
            case IncidentOpened() | IncidentUpdated() | IncidentClosed() as said:
                wall_us = wall_of(heard.envelope.time) or 0
                known = after.incidents.get(said.incident.id)
                if known is None or known.wall_us < wall_us:
                    after = _remember(after, said.incident, wall_us)
            case Applied() as applied:
                after = _installs(after, applied)
            case Held() as held if held.vip in state.cluster.vips:
                after = _takings(after, held)
            case _:
                pass
        after = _tell(after, heard)
    return after


def _newest(known: dict[T, V], limit: int) -> dict[T, V]:
    """Keep the newest entries of what is in the order of arrival."""
    while len(known) > limit:
        del known[next(iter(known))]
    return known
