"""The table of messages: type on the wire, subject, whether the stream keeps it, who says it.

The list is append only: a type that was ever sent keeps its name and its row. A field may be
added with a default; any other change is a new type ending in `.v2`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from string import Formatter
from typing import TypeAlias

from shared.messages.facts import (
    IncidentClosed,
    IncidentOpened,
    IncidentUpdated,
    LeaderChanged,
    NodeChanged,
    Readiness,
    ServiceChanged,
    Situation,
    VipChanged,
)
from shared.messages.health import Evidence, Heartbeat, Picture, Presence
from shared.messages.leases import ClaimSeen, Grant, Held, LeaseBeat
from shared.messages.operator import OperatorAnswer, OperatorRequest
from shared.messages.traffic import (
    Applied,
    Drain,
    Drift,
    Failback,
    Failover,
    Measured,
    Recall,
    Recalled,
    Refused,
    Restore,
)

Message: TypeAlias = (
    Heartbeat
    | Evidence
    | Picture
    | Failover
    | Failback
    | Drain
    | Restore
    | Applied
    | Drift
    | Refused
    | Measured
    | Recall
    | Recalled
    | NodeChanged
    | ServiceChanged
    | Readiness
    | LeaderChanged
    | Situation
    | IncidentOpened
    | IncidentUpdated
    | IncidentClosed
    | OperatorRequest
    | OperatorAnswer
    | LeaseBeat
    | Grant
    | Held
    | ClaimSeen
    | VipChanged
    | Presence
)


@dataclass(frozen=True, slots=True)
class Row:
    """One type of message."""

    message: type[Message]
    type: str
    subject: str  # below `equipoise.<cluster>.`; fields in braces; "" is only ever a reply
    kept: bool  # captured by the cluster's stream
    said_by: str

    @property
    def pattern(self) -> str:
        """The subject with every field open, for subscriptions."""
        return "".join(
            text + ("" if name is None else "*")
            for text, name, _, _ in Formatter().parse(self.subject)
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the subject's fields."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.subject) if name)


PREFIX = "io.equipoise."

TABLE: tuple[Row, ...] = (
    Row(Heartbeat, "heartbeat.v1", "heartbeat.{node}", kept=False, said_by="heartbeat"),
    Row(
        Evidence,
        "probe.evidence.v1",
        "probe.{observer}.{node}.{service}",
        kept=True,
        said_by="health_probe",
    ),
    Row(Picture, "probe.picture.v1", "picture.{observer}", kept=False, said_by="health_probe"),
    Row(Failover, "command.failover.v1", "command.{to}", kept=True, said_by="arbiter"),
    Row(Failback, "command.failback.v1", "command.{to}", kept=True, said_by="arbiter"),
    Row(Drain, "command.drain.v1", "command.{to}", kept=True, said_by="arbiter"),
    Row(Restore, "command.restore.v1", "command.{to}", kept=True, said_by="arbiter"),
    Row(Applied, "traffic.applied.v1", "applied.{node}", kept=True, said_by="traffic_switcher"),
    Row(Drift, "traffic.drift.v1", "drift.{node}", kept=True, said_by="traffic_switcher"),
    Row(Refused, "traffic.refused.v1", "refused.{node}", kept=True, said_by="traffic_switcher"),
    Row(Measured, "traffic.measured.v1", "measured.{node}", kept=False, said_by="traffic_switcher"),
    Row(Recall, "plan.recall.v1", "recall.{to}", kept=False, said_by="arbiter"),
    Row(Recalled, "plan.recalled.v1", "", kept=False, said_by="traffic_switcher"),
    Row(NodeChanged, "node.changed.v1", "node.{node}", kept=True, said_by="arbiter"),
    Row(ServiceChanged, "service.changed.v1", "service.{service}", kept=True, said_by="arbiter"),
    Row(Readiness, "readiness.v1", "readiness", kept=True, said_by="arbiter"),
    Row(LeaderChanged, "leader.changed.v1", "leader", kept=True, said_by="arbiter"),
    Row(Situation, "situation.v1", "situation", kept=False, said_by="arbiter"),
    Row(
        IncidentOpened, "incident.opened.v1", "incident.{incident.id}", kept=True, said_by="arbiter"
    ),
    Row(
        IncidentUpdated,
        "incident.updated.v1",
        "incident.{incident.id}",
        kept=True,
        said_by="arbiter",
    ),
    Row(
        IncidentClosed, "incident.closed.v1", "incident.{incident.id}", kept=True, said_by="arbiter"
    ),
    Row(OperatorRequest, "operator.request.v1", "operator.{verb}", kept=True, said_by="console"),
    Row(OperatorAnswer, "operator.answer.v1", "", kept=False, said_by="arbiter"),
    Row(LeaseBeat, "lease.beat.v1", "beat.{node}", kept=False, said_by="traffic_switcher"),
    Row(Grant, "lease.grant.v1", "grant.{node}", kept=False, said_by="arbiter"),
    Row(Held, "vip.held.v1", "held.{node}", kept=True, said_by="traffic_switcher"),
    Row(ClaimSeen, "vip.claim.v1", "claim.{node}", kept=True, said_by="traffic_switcher"),
    Row(VipChanged, "vip.changed.v1", "vip.{vip}", kept=True, said_by="arbiter"),
    Row(Presence, "presence.v1", "presence.{beat.node}", kept=False, said_by="heartbeat"),
)

BY_MESSAGE: dict[type[Message], Row] = {row.message: row for row in TABLE}
BY_TYPE: dict[str, Row] = {PREFIX + row.type: row for row in TABLE}


def subject_of(message: Message, *, to: str = "") -> str:
    """Return where a message goes, below the cluster's prefix; `to` is a command's node."""
    return _SUBJECTS[type(message)](message, to)


def _subject(row: Row) -> Callable[[Message, str], str]:
    """Return what fills in a row's subject; made once, for every message pays for it."""
    parts = [
        (text, None if name in (None, "to") else attrgetter(name), name == "to")
        for text, name, _, _ in Formatter().parse(row.subject)
    ]

    def fill(message: Message, to: str) -> str:
        subject = ""
        for text, field, addressed in parts:
            subject += text
            if field is not None:
                subject += field(message)
            elif addressed:
                subject += to
        return subject

    return fill


_SUBJECTS = {row.message: _subject(row) for row in TABLE}
