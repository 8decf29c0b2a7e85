"""What happened, in a line: one function from a message to an event, or to nothing.

The same message told by several consoles, or said again until it was acknowledged, is the same
event: its id comes from what it says, and only where it says nothing unique from its envelope.
"""

from dataclasses import dataclass
from typing import assert_never

from services.console.core.words import (
    length,
    moment,
    number_text,
    short,
    takeover_text,
    vip_takeover_text,
    wall_of,
)
from shared.api import Event, Level
from shared.cluster import Cluster
from shared.messages.codec import Envelope
from shared.messages.facts import (
    Incident,
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    InstanceState,
    LeaderChanged,
    NodeChanged,
    NodeState,
    Readiness,
    ServiceChanged,
    VipChanged,
)
from shared.messages.health import Evidence, Grade, Verdict
from shared.messages.leases import ClaimSeen, Held, Holding
from shared.messages.operator import OperatorRequest
from shared.messages.table import BY_MESSAGE, PREFIX, Message
from shared.messages.traffic import (
    DRIFT_OF_GUARD,
    DRIFT_OF_VIPS,
    Applied,
    Drain,
    Drift,
    Failback,
    Failover,
    Refused,
    Restore,
    Stage,
)

Told = (
    Evidence
    | Failover
    | Failback
    | Drain
    | Restore
    | Applied
    | Drift
    | Refused
    | NodeChanged
    | ServiceChanged
    | Readiness
    | LeaderChanged
    | IncidentOpened
    | IncidentUpdated
    | IncidentClosed
    | OperatorRequest
    | Held
    | ClaimSeen
    | VipChanged
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a message says to people, before its envelope is added."""

    id: str  # "" means: the envelope's
    level: Level
    text: str
    incident: str | None = None
    about: tuple[str, str] | None = None  # the service and node that it is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event as it is remembered."""

    number: int  # in the order that this console learnt of it
    wall_us: int
    about: tuple[str, str] | None
    event: Event


def tell(message: Message, envelope: Envelope, cluster: Cluster, number: int) -> Entry | None:
    """Return what happened, or None if nobody needs to read it."""
    if not isinstance(message, Told):
        return None
    line = _line(message, cluster)
    if line is None:
        return None
    wall_us = wall_of(envelope.time) or 0
    _, _, member, program, *_ = (*envelope.source.split("/"), "", "", "", "")
    event = Event(
        id=line.id or envelope.id[:64],
        time=moment(wall_us),
        type=PREFIX + BY_MESSAGE[type(message)].type,
        member=short(member),
        program=short(program),
        level=line.level,
        text=short(line.text),
        incident=line.incident,
    )
    return Entry(number=number, wall_us=wall_us, about=line.about, event=event)


def _line(message: Told, cluster: Cluster) -> Line | None:
    match message:
        case Failover() | Failback() | Drain() | Restore():
            return _command(message)
        case Applied() | Drift() | Refused() | Evidence():
            return _seen(message)
        case IncidentOpened() | IncidentUpdated() | IncidentClosed():
            return _incident(message.incident)
        case OperatorRequest():
            return _request(message)
        case Held() | ClaimSeen() | VipChanged():
            return _of_vip(message, cluster)
        case NodeChanged() | ServiceChanged() | Readiness() | LeaderChanged():
            return _fact(message, cluster)
        case _:
            assert_never(message)


def _command(command: Failover | Failback | Drain | Restore) -> Line:
    """Tell a plan once, however many nodes it is sent to, and however often."""
    plan = command.plan
    where = number_text(plan.epoch, plan.sequence)
    kind = type(command).__name__.lower()
    return Line(
        id=f"plan/{where}",
        level="plain",
        text=f"plan {where} ({kind}): {plan.reason}",
        incident=plan.incident,
    )


def _seen(message: Applied | Drift | Refused | Evidence) -> Line:
    match message:
        case Applied():
            return _applied(message)
        case Drift():
            ending = "repaired" if message.repaired else "left as it is"
            return Line(
                id="",
                level="attention",
                text=f"{_drifted(message)} (by {message.by}); {ending}",
                about=(message.service, message.target),
            )
        case Refused():
            plan = number_text(message.epoch, message.sequence)
            fence = number_text(message.fence_epoch, message.fence_sequence)
            return Line(
                id=f"refused/{message.node}/{plan}/{fence}",
                level="attention",
                text=f"refused plan {plan}: {message.reason} (newest here is {fence})",
            )
        case Evidence():
            return _evidence(message)
        case _:
            assert_never(message)


def _drifted(drift: Drift) -> str:
    found, wanted = drift.installed, drift.wanted
    if drift.service != DRIFT_OF_VIPS:
        return f"{drift.service}/{drift.target} is {found} in the load balancer, wanted {wanted}"
    if drift.target == DRIFT_OF_GUARD:
        return f"the guard of virtual IPs: {found}"
    return f"VIP {drift.target}: {wanted} was found {found}"


def _applied(applied: Applied) -> Line:
    plan = number_text(applied.epoch, applied.sequence)
    level: Level = "good"
    match applied.stage:
        case Stage.INSTALLED:
            spent = length(applied.persist_us + applied.install_us)
            text = f"plan {plan} installed and read back in {spent}"
        case Stage.VERIFIED:
            text = f"plan {plan} verified by a request through the load balancer"
        case Stage.FAILED:
            level, text = "bad", f"plan {plan} could not be installed"
        case _:
            assert_never(applied.stage)
    return Line(
        id=f"applied/{applied.node}/{plan}/{applied.stage.value}",
        level=level,
        text=f"{text}: {applied.detail}" if applied.detail else text,
        incident=applied.incident,
    )


def _evidence(evidence: Evidence) -> Line:
    value = f" ({evidence.value})" if evidence.value else ""
    text = f"{evidence.service}/{evidence.node}: {evidence.detail}{value}"
    if evidence.abstains:
        text = f"{text}; the observer was late and does not vouch for it"
    level: Level = "attention"
    if evidence.verdict is Verdict.HEALTHY and evidence.grade is Grade.NONE:
        level = "good"
    elif evidence.grade is Grade.CONCLUSIVE:
        level = "bad"
    return Line(id="", level=level, text=text, about=(evidence.service, evidence.node))


def incident_length_us(incident: Incident) -> int:
    """Return how long it took from the first sign until traffic was switched and verified."""
    return sum(phase.duration_us for phase in incident.phases)


def _incident(incident: Incident) -> Line:
    """Tell an incident when it goes a step on, not at every count of its cost."""
    spent = length(incident_length_us(incident))
    level: Level = "plain"
    match incident.state:
        case IncidentState.OPEN:
            level, text = "attention", incident.sentence
        case IncidentState.HANDLED:
            text = f"handled after {spent}: {incident.sentence}"
        case IncidentState.RETURNING:
            waiting = incident.waiting_for
            target = "/".join(part for part in (incident.service, incident.node) if part)
            text = f"{target} is coming back"
            text = f"{text}; waits for: {waiting}" if waiting else text
        case IncidentState.CLOSED:
            level, text = "good", "closed: the original settings are in force"
        case _:
            assert_never(incident.state)
    steps = f"{len(incident.phases)}.{len(incident.recovery)}.{incident.relapses}"
    return Line(
        id=f"incident/{incident.id}/{incident.state.value}/{steps}",
        level=level,
        text=text,
        incident=incident.id,
        about=(incident.service, incident.node),
    )


def _of_vip(message: Held | ClaimSeen | VipChanged, cluster: Cluster) -> Line:
    vip = cluster.vips.get(message.vip)
    about = f"{message.vip} {vip.address}" if vip is not None else message.vip
    match message:
        case Held():
            level, text = _held(message, about)
            return Line(id="", level=level, text=text, incident=message.incident)
        case ClaimSeen():
            return Line(
                id="",
                level="bad",
                text=f"somebody else claims {about}: {message.hardware} on {message.interface} "
                f"({message.seen} times since the start); announced it again",
            )
        case VipChanged():
            before = f"{message.before} → " if message.before is not None else "to "
            return Line(
                id=f"vip/{message.vip}/{number_text(*message.term)}",
                level="attention" if message.incident is not None else "plain",
                text=f"{about}: {before}{message.holder}: {message.reason}",
                incident=message.incident,
            )
        case _:
            assert_never(message)


def _held(held: Held, about: str) -> tuple[Level, str]:
    match held.holding:
        case Holding.TAKEN:
            spent = length(held.guard_us + held.address_us)
            return "good", f"took {about} in {spent}: {held.reason}"
        case Holding.ANSWERED:
            return "good", f"{about} answers here"
        case Holding.RELEASED:
            goes_on = f"; {held.open} open connections are served on" if held.open else ""
            return "plain", f"released {about}: {held.reason}{goes_on}"
        case Holding.LAPSED:
            return (
                "attention",
                f"the lease of {about} ran out here, and the kernel closed its guard",
            )
        case Holding.DRAINED:
            closed = f"; {held.open} were closed" if held.open else ""
            return "plain", f"the old connections of {about} are gone{closed}"
        case _:
            assert_never(held.holding)


def _request(request: OperatorRequest) -> Line | None:
    """Tell what a person asked for; a rehearsal changes nothing and is not told."""
    if request.dry_run:
        return None
    target = request.vip or "/".join(part for part in (request.service, request.node) if part)
    if request.to is not None:
        target = f"{target} to {request.to}"
    wish = f"{request.verb.value} {target}".rstrip().replace("maintenance-", "maintenance ")
    return Line(id="", level="plain", text=f"{request.owner} asks: {wish}: {request.reason}")


_WELL_NODES = {NodeState.UP}
_WELL_INSTANCES = {InstanceState.HOME, InstanceState.RAMPING, InstanceState.MATCHED}


def _fact(message: NodeChanged | ServiceChanged | Readiness | LeaderChanged, of: Cluster) -> Line:
    match message:
        case NodeChanged():
            return Line(
                id="",
                level="good" if message.after in _WELL_NODES else "attention",
                text=f"{message.node}: {message.before.value} → {message.after.value}: "
                f"{message.reason}",
            )
        case ServiceChanged():
            return Line(
                id="",
                level="good" if message.after in _WELL_INSTANCES else "attention",
                text=f"{message.service}/{message.node}: {message.before.value} → "
                f"{message.after.value}: {message.reason}",
                incident=message.incident,
                about=(message.service, message.node),
            )
        case Readiness():
            return _readiness(message, of)
        case LeaderChanged():
            return Line(
                id=f"leader/{message.epoch}",
                level="plain",
                text=f"{message.arbiter} leads with epoch {message.epoch}: {message.reason}",
            )
        case _:
            assert_never(message)


def _readiness(readiness: Readiness, cluster: Cluster) -> Line:
    lacks = [takeover_text(item, cluster.nodes) for item in readiness.takeovers if not item.ready]
    lacks += [vip_takeover_text(item) for item in readiness.vips if not item.ready]
    if readiness.ready or not lacks:
        return Line(id="", level="good", text="the loss of any one node can be taken")
    more = f" (and {len(lacks) - 1} more)" if len(lacks) > 1 else ""
    return Line(id="", level="attention", text=lacks[0] + more)
