"""Draws an incident as spans: the whole, the phases of its handling, and those of its recovery."""

from collections.abc import Sequence

from shared.messages.facts import Incident, IncidentClosed, IncidentState, IncidentUpdated, Phase
from shared.messages.table import Message
from shared.telemetry import ROOT_KEY, Telemetry

RECOVERY_KEY = "failback"
OPEN_MAX = 1_000  # incidents whose handling was drawn and whose end has not been seen


class IncidentSpans:
    """Records each span once, as soon as its end is known."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._drawn: dict[str, None] = {}

    def hear(self, message: Message) -> None:
        """Take note of what the arbiter says."""
        if not self._telemetry.enabled or not isinstance(message, IncidentUpdated | IncidentClosed):
            return
        incident = message.incident
        handled = incident.state is not IncidentState.OPEN and len(incident.phases) > 0
        if handled and incident.id not in self._drawn:
            self._drawn[incident.id] = None
            if len(self._drawn) > OPEN_MAX:
                del self._drawn[next(iter(self._drawn))]
            self._chain(incident, incident.phases, incident.began_wall_us, ROOT_KEY)
        if isinstance(message, IncidentClosed):
            self._drawn.pop(incident.id, None)
            self._end(incident)

    def _end(self, incident: Incident) -> None:
        handled_at = incident.began_wall_us + _length(incident.phases)
        back_at = handled_at + _length(incident.recovery)
        self._span(incident, RECOVERY_KEY, (handled_at, back_at), ROOT_KEY)
        self._chain(incident, incident.recovery, handled_at, RECOVERY_KEY)
        end = max(back_at, incident.closed_wall_us or back_at)
        self._span(incident, ROOT_KEY, (incident.began_wall_us, end), None)

    def _chain(self, incident: Incident, phases: Sequence[Phase], begin: int, parent: str) -> None:
        for number, phase in enumerate(phases):
            end = begin + phase.duration_us
            key = phase.name if parent == ROOT_KEY else f"{parent}/{number}/{phase.name}"
            self._span(incident, key, (begin, end), parent)
            begin = end

    def _span(
        self, incident: Incident, key: str, time: tuple[int, int], parent: str | None
    ) -> None:
        name = f"incident {incident.id}" if parent is None else key.rsplit("/", 1)[-1]
        self._telemetry.record(
            name=name,
            incident=incident.id,
            begin_wall_us=time[0],
            end_wall_us=time[1],
            parent=parent,
            key=key,
            attributes={
                "equipoise.incident": incident.id,
                "equipoise.service": incident.service,
                "equipoise.node": incident.node,
                "equipoise.cause": incident.cause,
                "equipoise.sentence": incident.sentence,
                "equipoise.planned": incident.planned,
                "equipoise.requests.failed": incident.cost.failed,
            },
        )


def _length(phases: Sequence[Phase]) -> int:
    return sum(phase.duration_us for phase in phases)
