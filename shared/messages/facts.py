"""What the leading arbiter says has happened: states, readiness, incidents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.instant import Duration
from shared.messages.health import Grade, Sign
from shared.messages.leases import Term
from shared.messages.traffic import Plan
from shared.rules import Rule


class NodeState(StrEnum):
    """What the arbiter believes of a node."""

    UP = "up"
    SUSPECT = "suspect"
    DEAD = "dead"
    UNKNOWN = "unknown"


class InstanceState(StrEnum):
    """Where an instance stands between its original settings, a failure and its return."""

    HOME = "home"  # as originally set
    SUSPECT = "suspect"  # bad evidence, not enough to move
    HELD = "held"  # bad, yet left serving: nothing else would serve, or automation is bounded
    DRAINING = "draining"
    OUT = "out"
    OBSERVED = "observed"  # healthy again, not yet for long enough
    MATCHED = "matched"  # healthy for long enough; waits for equal identity or a person
    RAMPING = "ramping"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChanged:
    """A node's state changed."""

    node: str
    before: NodeState
    after: NodeState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceChanged:
    """An instance's state changed; also what was suspected and did not lead to a move."""

    service: str
    node: str
    before: InstanceState
    after: InstanceState
    reason: str
    incident: str | None = None


class VipState(StrEnum):
    """Where a virtual IP stands."""

    HELD = "held"  # its holder's guard is open, and a request through it was answered
    TAKING = "taking"  # granted to its holder, not yet answered there
    WAITING = "waiting"  # nobody may have it before the old holder's lease has certainly ended
    DARK = "dark"  # nobody holds it and nobody could


@dataclass(frozen=True, slots=True, kw_only=True)
class VipChanged:
    """A VIP was given to another node."""

    vip: str
    before: str | None
    holder: str
    term: Term
    reason: str
    incident: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VipMove:
    """A VIP that an incident moved."""

    vip: str
    address: str
    before: str
    after: str
    waited_us: Duration = 0  # for the old holder's lease to end, after the decision was possible


@dataclass(frozen=True, slots=True, kw_only=True)
class VipBelief:
    """What the arbiter believes of one VIP."""

    address: str
    home: str
    holder: str
    term: Term
    state: VipState
    reason: str  # why it is there; of a dark one, why its holder cannot hold it
    waiting_for: str  # "" nothing; "node-a healthy for 12 of 30 s"; "the lease of node-b"
    since_us: Duration  # there; of a dark one, since nobody could have it
    incident: str | None = None
    lease_us: Duration = 0  # the length that its holder is granted
    answered_age_us: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VipTakeover:
    """Whether another node could take one VIP over if its holder failed now."""

    vip: str
    holder: str
    to: tuple[str, ...]  # those that could, the best first
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """Whether the others could take one service over if one node failed now."""

    service: str
    node: str  # the node that fails
    to: tuple[str, ...]  # those that would serve
    ready: bool
    reason: str  # "because …"
    load_percent: int | None = None  # of the takers' limit after it; None unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Which failures the cluster could take now, and which it could not."""

    ready: bool
    takeovers: tuple[Takeover, ...]
    vips: tuple[VipTakeover, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderChanged:
    """An arbiter speaks from now on."""

    arbiter: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBelief:
    """What the arbiter believes of one member."""

    state: NodeState
    silent_us: Duration | None  # since its last beat on the bus; None never heard
    configuration: str
    boot_id: str
    applied: tuple[int, int] | None  # the newest plan its switcher has installed
    reason: str
    since_us: Duration
    signals: tuple[
        str, ...
    ] = ()  # what speaks for its death, in words: "silent on the bus for ..."
    waiting_for: str = ""  # what its return needs
    incident: str | None = None
    lease_us: Duration = 0  # the length that it is granted
    gap_us: Duration = 0  # the longest gap between its beats that the length follows


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceBelief:
    """What the arbiter believes of one instance, and what it waits for."""

    state: InstanceState
    reason: str
    waiting_for: str  # "" nothing; "healthy for 7 of 10 s"; "identity: node-a has 1.0, node-b 1.1"
    since_us: Duration
    incident: str | None
    answer_us: Duration
    identity: str | None
    relapses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The leading arbiter's full picture, every second and at every change."""

    arbiter: str
    plan: Plan
    settled: bool  # every reachable switcher has installed the plan
    paused: bool
    nodes: Mapping[str, NodeBelief]
    instances: Mapping[str, Mapping[str, InstanceBelief]]
    readiness: Readiness
    incidents: tuple[str, ...]  # open ones
    alarms: tuple[
        str, ...
    ]  # sentences: fail open, bounded, refused, drift, differing configuration
    vips: Mapping[str, VipBelief] = field(default_factory=dict)


class IncidentState(StrEnum):
    """How far an incident has come."""

    OPEN = "open"  # decided, not yet switched everywhere
    HANDLED = "handled"  # switched and verified
    RETURNING = "returning"
    CLOSED = "closed"  # the original settings are in force, digest compared


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceItem:
    """One reason for a decision."""

    observer: str
    boot_id: str
    sequence: int
    what: str
    value: str
    threshold: str
    grade: Grade
    sign: Sign
    age_us: Duration  # of its first bad sign, at the decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of an incident's time; phases follow one another without gaps, so they add up."""

    name: str
    duration_us: Duration
    detail: str = ""  # what the time went to: "refused twice, 0.3 ms apart", "node-b was last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an incident cost clients, by the load balancers' own counters."""

    requests: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One failure from its first evidence to the restoration of the original settings."""

    id: str
    trace_id: str
    planned: bool
    state: IncidentState
    service: str
    node: str
    cause: str  # "connection refused"
    sentence: str  # what happened, in a sentence
    began_wall_us: int  # the first sign
    closed_wall_us: int | None
    evidence: tuple[EvidenceItem, ...]
    phases: tuple[Phase, ...]  # detect, decide, switch, verify: as far as they are over
    recovery: tuple[Phase, ...]  # observe, match, ramp, compare
    cost: Cost
    before: Mapping[str, Rule] = field(default_factory=dict)  # the service's rules
    after: Mapping[str, Rule] = field(default_factory=dict)
    not_done: str = ""  # what was deliberately not done, and why
    faster: str = ""  # what would have made it faster
    waiting_for: str = ""  # what the next step needs
    original_digest: str = ""
    installed: Mapping[str, str] = field(
        default_factory=dict
    )  # node -> digest read back at the end
    owner: str = ""  # of a planned one
    relapses: int = 0
    vips: tuple[VipMove, ...] = ()  # a node's incident: service is "" where it is about several
    merged_into: str = ""  # closed because it was a sign of this incident's cause


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentOpened:
    """A new incident, said with the command it led to."""

    incident: Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentUpdated:
    """An incident went on."""

    incident: Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentClosed:
    """The original settings are restored exactly."""

    incident: Incident
