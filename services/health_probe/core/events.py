"""What happens to an observer, and what it wants done about it."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from services.health_probe.core.container import Container
from services.health_probe.core.signs import Outcome
from shared.instant import Duration, Instant
from shared.messages.facts import Incident
from shared.messages.health import Evidence, Picture


class Target(NamedTuple):
    """An instance: what is probed."""

    service: str
    node: str


@dataclass(frozen=True, slots=True)
class Woke:
    """The time that an instance's `Wake` asked for has come."""

    target: Target


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
class ContainerSeen:
    """What the engine says of an instance's container."""

    target: Target
    container: Container


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """Whether the engine can be asked: what is in the way, or nothing."""

    trouble: str


@dataclass(frozen=True, slots=True)
class PictureDue:
    """The time that `WakeForPicture` asked for has come."""


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
    """Come back to an instance at this time; a newer one for it replaces an older one."""

    target: Target
    at: Instant


@dataclass(frozen=True, slots=True)
class WakeForPicture:
    """Come back for the next picture at this time."""

    at: Instant


InstanceEvent: TypeAlias = Woke | Ended | LinkOpened | LinkLost | IdentityRead | ContainerSeen
Event: TypeAlias = InstanceEvent | EngineSeen | PictureDue | IncidentHeard
Action: TypeAlias = (
    Say | Ask | OpenLink | CloseLink | ReadIdentity | RecordSpan | Wake | WakeForPicture
)
Actions: TypeAlias = tuple[Action, ...]
