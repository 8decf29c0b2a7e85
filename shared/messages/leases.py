"""What switchers and the arbiter say to each other about virtual IPs: beats, grants, holdings.

The protocol and its safety argument are in docs/vip-safety.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from shared.instant import Duration

# (epoch, sequence) of the plan that gave a VIP to its holder; ordered as plans are.
Term: TypeAlias = tuple[int, int]
NO_TERM: Term = (0, 0)  # below every term


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One VIP as one switcher's guard has it, at the moment of the beat."""

    term: Term = NO_TERM  # of the newest lease here, running or over
    rest_us: Duration = 0  # of that lease, on this node's clock; 0: the guard is closed
    floor: Term = NO_TERM  # released: grants of this term and below are refused here, for ever
    unfit: str = ""  # why this node cannot hold it now, in words; "" it can
    answered_age_us: Duration | None = None  # since a request through it was answered, in this term
    open: int = 0  # established connections of clients to it here; 0: none, or nobody has counted
    beside: str = ""  # an address of this node's own in its network; "" there is none
    address: str = ""  # what this node's file says that the VIP is; "" an older version


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseBeat:
    """A switcher asks for the leases of its node, and reports what its guard shows.

    Every beat is answered by a `Grant` that names it; a lease runs from the moment that the
    beat it answers was sent.
    """

    node: str
    incarnation: str  # 64 random bits in hexadecimal, new with every start of the process
    number: int  # rises by one with every beat of an incarnation, from 1
    epoch: int  # the highest heard in a grant or persisted with a plan; lower grants are refused
    vips: Mapping[str, Hold]
    guard_age_us: Duration = 0  # since the kernel last confirmed what `vips` says
    guard_detail: str = ""  # why it did not since then; "" it does
    balancer: str = ""  # why the load balancer serves nobody: "dead: ...", "hung: ..."; "" it does
    leaving: str = ""  # why this node wants to hold nothing any more: it is being stopped
    late_us: Duration = 0  # how late the switcher's own loop was with this beat
    unkept: str = ""  # why what is given up here cannot be written down; "" it can
    # The highest number of this incarnation's beats to which a grant was heard, be it of nothing;
    # 0: to none yet. A switcher of an older version does not say.
    heard: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The arbiter's answer to a beat: what that node may hold, for how long since it sent it."""

    node: str
    incarnation: str
    number: int
    epoch: int  # of the arbiter that answers
    length_us: Duration
    vips: Mapping[str, Term] = field(default_factory=dict)
    # Of those that it gives for the first time: why they moved. The plan that says so may come
    # later than the grant.
    incidents: Mapping[str, str] = field(default_factory=dict)


class Holding(StrEnum):
    """What became of a VIP on one node."""

    TAKEN = "taken"  # guard open, address there, announced
    ANSWERED = "answered"  # and a request through it was answered
    RELEASED = "released"  # given up on purpose: guard closed first, floor persisted, then said
    LAPSED = "lapsed"  # the lease ran out: the kernel closed the guard
    DRAINED = "drained"  # the old connections that were served on after a release are gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A VIP came to a node or left it; said by the node's switcher when it is done."""

    node: str
    vip: str
    term: Term
    holding: Holding
    reason: str  # "granted", "the plan gives it to node-b", "load balancer dead: ..."
    incident: str | None = None
    guard_us: Duration = 0  # what the guard took
    address_us: Duration = 0  # what the address and its first announcement took
    # Connections that are served on (released), or were closed at the end (drained); 0: none, or
    # nobody has counted.
    open: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSeen:
    """Somebody else announced a VIP that this node holds; it has announced it again."""

    node: str
    vip: str
    hardware: str  # of the claimant, as on the wire
    interface: str
    seen: int  # such claims since the switcher started
