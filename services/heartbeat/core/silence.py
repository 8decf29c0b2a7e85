"""What a heartbeat adds to the trace of a lost node: how long it had heard nothing of it.

The arbiter's decision rests on this silence among others; beats themselves are never traced.
"""

from dataclasses import dataclass

from services.heartbeat.core.beats import State
from shared.instant import Instant
from shared.messages.facts import IncidentOpened
from shared.messages.table import Message

SILENT_BEATS = 2  # one may be late, or lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A part of an incident's trace."""

    incident: str
    node: str
    begin_at: Instant  # the last that was heard of it
    end_at: Instant


def silence(state: State, message: Message, now: Instant) -> Silence | None:
    """Return how long the node of a new incident has been silent; None if it is not, or we are."""
    if not isinstance(message, IncidentOpened) or message.incident.planned:
        return None
    incident = message.incident
    peer = state.peers.get(incident.node)
    if peer is None or peer.heard_at is None:
        return None
    if now - peer.heard_at < SILENT_BEATS * state.every_us:
        return None
    return Silence(incident=incident.id, node=incident.node, begin_at=peer.heard_at, end_at=now)
