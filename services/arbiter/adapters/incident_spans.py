"""Draws an incident as spans: the whole, the phases of its handling, and those of its recovery.

Others hang their spans below the phases, whose ids they know before there is a phase. So each of
these is drawn in the end, also where an incident ended before it came to it.
"""

from collections.abc import Sequence

from services.arbiter.core.state import Order
from shared.messages.facts import Incident, IncidentClosed, IncidentUpdated, Phase
from shared.messages.table import Message
from shared.messages.traffic import Failover
from shared.telemetry import ROOT_KEY, Attribute, Link, Telemetry, messaging
from shared.trace import SpanKind, sent_key

RECOVERY_KEY = "failback"
ABOVE_OTHERS = ("detect", "switch", "verify")  # the phases below which others draw
LAST = "verify"
KEPT_MAX = 1_000  # incidents, and commands, that were drawn and may come again


class IncidentSpans:
    """Records each span once, as soon as its end is known."""

    def __init__(self, telemetry: Telemetry, cluster: str, since_wall_us: int) -> None:
        self._telemetry = telemetry
        self._cluster = cluster
        self._since_wall_us = since_wall_us  # what was handled before has been drawn before
        self._drawn: dict[str, None] = {}
        self._sent: dict[str, None] = {}
        self._merged: dict[str, tuple[str, ...]] = {}  # by the incident that goes on

    def sent(self, order: Order, began_wall_us: int, ended_wall_us: int) -> None:
        """Record that a command was sent: the first time, since it is repeated until heard."""
        plan = order.command.plan
        if not self._telemetry.enabled or plan.incident is None:
            return
        for node in order.to:
            key = sent_key(f"command.{node}", plan.number)
            if key in self._sent:
                continue
            _remember(self._sent, key)
            self._telemetry.record(
                name=f"send command.{node}",
                incident=plan.incident,
                begin_wall_us=began_wall_us,
                end_wall_us=ended_wall_us,
                parent="switch" if isinstance(order.command, Failover) else RECOVERY_KEY,
                key=key,
                attributes={
                    "equipoise.epoch": plan.epoch,
                    "equipoise.sequence": plan.sequence,
                    "equipoise.reason": plan.reason,
                    **messaging("send", self._cluster, "command", node),
                },
                kind=SpanKind.PRODUCER,
            )

    def hear(self, message: Message) -> None:
        """Take note of what the arbiter says."""
        if not self._telemetry.enabled or not isinstance(message, IncidentUpdated | IncidentClosed):
            return
        incident = message.incident
        is_over = isinstance(message, IncidentClosed)
        if incident.id not in self._drawn and (is_over or _is_handled(incident)):
            _remember(self._drawn, incident.id)
            if self._since_wall_us <= _handled_wall_us(incident):
                self._chain(incident, incident.phases, incident.began_wall_us, ROOT_KEY)
        if is_over:
            self._drawn.pop(incident.id, None)
            self._end(incident)

    def _end(self, incident: Incident) -> None:
        handled_at = _handled_wall_us(incident)
        back_at = handled_at + _length(incident.recovery)
        end = max(back_at, incident.closed_wall_us or back_at)
        names = {phase.name for phase in incident.phases}
        for name in ABOVE_OTHERS:
            if name not in names:
                self._span(incident, name, (handled_at, end), ROOT_KEY)
        self._span(incident, RECOVERY_KEY, (handled_at, back_at), ROOT_KEY)
        self._chain(incident, incident.recovery, handled_at, RECOVERY_KEY)
        others = self._merged.pop(incident.id, ())
        if into := incident.merged_into:
            self._merged[into] = (*self._merged.get(into, ()), incident.id)
            others = (*others, into)
            if len(self._merged) > KEPT_MAX:
                del self._merged[next(iter(self._merged))]
        links = tuple(Link(other) for other in others)
        self._span(incident, ROOT_KEY, (incident.began_wall_us, end), None, links)

    def _chain(self, incident: Incident, phases: Sequence[Phase], begin: int, parent: str) -> None:
        for number, phase in enumerate(phases):
            end = begin + phase.duration_us
            key = phase.name if parent == ROOT_KEY else f"{parent}/{number}/{phase.name}"
            self._span(incident, key, (begin, end), parent)
            begin = end

    def _span(
        self,
        incident: Incident,
        key: str,
        time: tuple[int, int],
        parent: str | None,
        links: Sequence[Link] = (),
    ) -> None:
        self._telemetry.record(
            name=f"incident {incident.id}" if parent is None else key.rsplit("/", 1)[-1],
            incident=incident.id,
            begin_wall_us=time[0],
            end_wall_us=time[1],
            parent=parent,
            key=key,
            attributes=_attributes(incident),
            links=links,
        )


def _attributes(incident: Incident) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {
        "equipoise.service": incident.service,
        "equipoise.node": incident.node,
        "equipoise.cause": incident.cause,
        "equipoise.sentence": incident.sentence,
        "equipoise.planned": incident.planned,
        "equipoise.owner": incident.owner,
        "equipoise.merged_into": incident.merged_into,
        "equipoise.requests.failed": incident.cost.failed,
    }
    return {name: value for name, value in attributes.items() if value != ""}


def _is_handled(incident: Incident) -> bool:
    return any(phase.name == LAST for phase in incident.phases)


def _handled_wall_us(incident: Incident) -> int:
    return incident.began_wall_us + _length(incident.phases)


def _length(phases: Sequence[Phase]) -> int:
    return sum(phase.duration_us for phase in phases)


def _remember(kept: dict[str, None], name: str) -> None:
    kept[name] = None
    if len(kept) > KEPT_MAX:
        del kept[next(iter(kept))]
