"""Plans, the commands that carry them, and what the switchers say of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.instant import Duration
from shared.messages.leases import Term
from shared.rules import Rule


class OverrideKind(StrEnum):
    """What a person asked for."""

    MAINTENANCE = "maintenance"  # a node is out until its end
    FAILOVER = "failover"  # a node or a service on a node is out until failback
    PAUSE = "pause"  # automation hands off; traffic stays as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Something a person asked for: it has an owner, a reason and an end."""

    kind: OverrideKind
    service: str | None  # None means every service
    node: str | None  # None means every node
    owner: str
    reason: str
    since_wall_us: int
    until_wall_us: int
    incident: str | None = None
    vip: str | None = None  # a failover of one VIP: it stays off `node`


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a VIP is to be. It gives nobody anything: only a grant of this term does."""

    holder: str
    term: Term  # of the plan that gave it to the holder
    previous: str | None = None  # whose open connections the holder hands over to it, and
    drain_us: Duration = 0  # for how long; 0 of a move that was not planned
    incidents: tuple[str, ...] = ()  # open ones that moved it: the next arbiter goes on with them
    previous_beside: str = ""  # where `previous` is in the VIP's network, by its own word


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What the next arbiter must know about a node that was lost or that is on its way back."""

    node: str
    incident: str | None  # the open incident
    cause: str
    opened_wall_us: int
    relapses: int
    moves_us: tuple[Duration, ...]  # ages of the automatic moves of VIPs to or from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the next arbiter must know about an instance; the plan carries it."""

    service: str
    node: str
    incident: str | None  # the open incident
    cause: str  # why it is out, in words
    opened_wall_us: int
    relapses: int
    moves_us: tuple[Duration, ...]  # ages of the automatic moves within the window, when issued


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole wanted state of the cluster's traffic: never a difference."""

    epoch: int  # the leading arbiter's term
    sequence: int  # the plan's number within it
    services: Mapping[str, Mapping[str, Rule]]
    reason: str
    incident: str | None = None  # the incident it was made for
    overrides: tuple[Override, ...] = ()
    records: tuple[Record, ...] = ()
    vips: Mapping[str, Placement] = field(default_factory=dict)
    nodes: tuple[NodeRecord, ...] = ()

    @property
    def number(self) -> tuple[int, int]:
        """What orders plans: a switcher applies only what is higher than all it has persisted."""
        return (self.epoch, self.sequence)

    @property
    def incidents(self) -> frozenset[str]:
        """The open incidents that it was made in."""
        records = (each.incident for each in self.records)
        nodes = (each.incident for each in self.nodes)
        vips = (name for each in self.vips.values() for name in each.incidents)
        return frozenset(name for name in (*records, *nodes, *vips) if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """Take load away from what failed."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Failback:
    """Bring a recovered instance back, a step of the ramp at a time."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Give an instance nothing new, because a person asked."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The original settings, or the plan in force said again by a new epoch."""

    plan: Plan


Command = Failover | Failback | Drain | Restore


class Stage(StrEnum):
    """How far a plan has come on one node."""

    INSTALLED = "installed"  # set and read back equal
    VERIFIED = "verified"  # and a real request went through the load balancer as planned
    FAILED = "failed"  # the load balancer refused, did not answer, or shows something else


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How far the newest plan has come on this node; also the acknowledgement of its command."""

    node: str
    boot_id: str
    epoch: int
    sequence: int
    stage: Stage
    digest: str  # of the rules as read back from the load balancer
    incident: str | None
    detail: str  # why it failed, or what the verification saw
    persist_us: Duration = 0
    install_us: Duration = 0
    verify_us: Duration = 0


DRIFT_OF_VIPS = "vip"  # stands where a service's name stands otherwise; the target is the VIP, or
DRIFT_OF_GUARD = "guard"  # the guard of all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What is installed is not what was installed by us."""

    node: str
    service: str
    target: str  # the instance's node
    wanted: str
    installed: str
    repaired: bool  # False: not ours to change (a person's maintenance), or it keeps coming back
    by: str  # who, as far as can be known: "someone else", "restart of haproxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A plan that this switcher does not apply, and why."""

    node: str
    epoch: int
    sequence: int
    fence_epoch: int  # the newest persisted plan here
    fence_sequence: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLoad:
    """One instance as one load balancer counts it since it started."""

    requests: int
    errors: int  # connection and response errors, and answers of 5xx
    sessions: int  # open now
    up: bool  # the load balancer's own opinion


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLoad:
    """One service as one load balancer counts it since it started."""

    requests: int
    failed: int  # answers of 5xx and aborted requests that clients saw
    instances: Mapping[str, InstanceLoad]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The switcher's full picture, every second: what is installed, and what was counted."""

    node: str
    boot_id: str
    epoch: int  # of the persisted plan (0 none)
    sequence: int
    digest: str  # of the rules as read back ("" unknown)
    balancer_ok: bool
    balancer_detail: str
    # In a large cluster services take turns with their instances, and the rules are written out
    # only where they are not those that this node follows.
    services: Mapping[str, ServiceLoad] = field(default_factory=dict)
    installed: Mapping[str, Mapping[str, Rule]] = field(default_factory=dict)
    # Since a real request went through this load balancer as (epoch, sequence) says; None: not yet.
    verified_age_us: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A starting arbiter asks each switcher for the plan it persisted."""

    asker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """The plan in force on a node, as persisted."""

    node: str
    plan: Plan | None
