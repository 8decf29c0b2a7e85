"""What a console knows, as frozen values; `view` is the only module that makes new ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from services.console.core.story import Entry
from shared.cluster import Cluster
from shared.instant import SECOND, Duration, Instant
from shared.messages.facts import (
    Incident,
    Situation,
)
from shared.messages.health import Evidence, Heartbeat
from shared.messages.leases import ClaimSeen, Held
from shared.messages.traffic import Applied, Drift, Measured
from shared.rules import Rules

STALE_US: Duration = 3 * SECOND  # the design's promise; three of the arbiter's full pictures

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known(Generic[T]):
    """Something heard, and when."""

    value: T
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Requests counted by one load balancer at one time."""

    at: Instant
    totals: Mapping[str, int]  # by service
    requests: Mapping[str, Mapping[str, int]]  # service -> instance's node -> as last told


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """What one load balancer was last known to have installed."""

    at: Instant
    number: tuple[int, int]
    digest: str  # "" unknown
    rules: Rules | None  # None: only the digest is known
    verified_at: Instant | None = None
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancer:
    """One node's load balancer, as its switcher reports it."""

    measured: Known[Measured] | None = None
    samples: tuple[Sample, ...] = ()
    back: ReadBack | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """An incident, with what the switchers said of its first plan."""

    incident: Incident
    wall_us: int  # when it was said
    first: tuple[int, int] | None = None
    installs: Mapping[str, Applied] = field(default_factory=dict)
    takings: Mapping[str, Held] = field(default_factory=dict)  # by VIP: how it was taken first


class Filling(StrEnum):
    """How far the reading of the past has come."""

    EMPTY = "empty"
    FILLING = "filling"
    WAITING = "waiting"
    FILLED = "filled"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that a console knows."""

    cluster: Cluster
    member: str
    version: str
    trace_ui: str | None
    started_at: Instant
    bus: bool = False
    filling: Filling = Filling.EMPTY
    retry_at: Instant = 0
    situation: Known[Situation] | None = None
    plan_digest: str = ""  # of the rules of the situation's plan
    balancers: Mapping[str, Balancer] = field(default_factory=dict)
    heartbeats: Mapping[str, Known[Heartbeat]] = field(default_factory=dict)
    evidence: Mapping[tuple[str, str, str], Known[Evidence]] = field(default_factory=dict)
    drifts: Mapping[tuple[str, str, str], Known[Drift]] = field(default_factory=dict)
    held: Mapping[tuple[str, str], Known[Held]] = field(default_factory=dict)  # by node and VIP
    claims: Mapping[tuple[str, str], Known[ClaimSeen]] = field(default_factory=dict)
    incidents: Mapping[str, Remembered] = field(default_factory=dict)
    installs: Mapping[str, Mapping[str, Applied]] = field(default_factory=dict)
    failures: Mapping[str, Mapping[int, int]] = field(default_factory=dict)  # by minute
    events: Mapping[str, Entry] = field(default_factory=dict)  # in the order learnt
    newest: int = 0  # the number of the newest event


def fresh(state: State, now: Instant) -> bool:
    """Return whether the leading arbiter's last word may be taken for the present."""
    return state.situation is not None and now - state.situation.at <= STALE_US


def newest_incident(state: State) -> Incident | None:
    """Return the incident that began last."""
    incidents = [remembered.incident for remembered in state.incidents.values()]
    return max(incidents, key=lambda incident: (incident.began_wall_us, incident.id), default=None)
