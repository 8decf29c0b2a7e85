"""The values that decisions about leases are made of: state and events.

VIPs go by their names here; the shell knows their addresses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from services.traffic_switcher.core.following import RECOVERY
from services.traffic_switcher.core.places import Place
from shared.cluster import Cluster
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.leases import NO_TERM, Grant, Term
from shared.messages.traffic import Placement, Plan

UNSEEN = Place(unfit="the interfaces of this machine were not read yet")
UNGUARDED = "the guard was not made yet"
UNASKED = "unknown: it was not asked yet"
NOT_YET = frozenset({UNSEEN.unfit, UNGUARDED, UNASKED})  # what every start begins with


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What must outlive the process, or the node rejoins as new: rule 7."""

    epoch: int = 0  # the highest heard
    floors: Mapping[str, Term] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A VIP is being given up; said when the guard is closed and the floor is persisted."""

    term: Term
    reason: str
    incident: str | None
    parent: str  # of its span
    begun_at: Instant
    closed_at: Instant | None = None  # confirmed by the kernel
    said_at: Instant | None = None  # the floor is on the disk
    ends_at: Instant = 0  # of the lease: by then the kernel has closed it, whoever lives
    planned: bool = False

    @property
    def guard_us(self) -> Duration:
        """How long the guard took to close."""
        return self.closed_at - self.begun_at if self.closed_at is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """One VIP as this node has it."""

    floor: Term = NO_TERM  # grants of this term and below are refused
    term: Term = NO_TERM  # of the newest lease here, running or over
    ends_at: Instant = 0  # the latest end of that term's grants; 0: none runs
    committed_ends_at: Instant = 0  # what the kernel was last told of it
    granted_at: Instant = 0  # when the first of that term was heard, or the first after a lapse
    opened_at: Instant | None = None  # since when the guard is open in this term; None: it is not
    address_at: Instant | None = None  # since when the address is there
    refresh_at: Instant = 0
    announced: int = 0  # so often since it was taken
    announce_at: Instant = 0
    asking: Term = NO_TERM  # a request for this term is on its way
    ask_at: Instant = 0
    answered_at: Instant | None = None  # when a request through it was last answered
    release: Release | None = None
    unexplained: Release | None = None  # the newest, said before a plan named its incident
    drained_at: Instant | None = None  # until then old connections are served on
    held_back_until: Instant | None = None  # who begins one meanwhile waits for the next holder
    handing_over: Term = NO_TERM  # whose previous holder gets what belongs to it
    hand_over_ends_at: Instant = 0
    placement: Placement | None = None  # as persisted
    incident: str | None = None  # that the placement was made for
    returns: bool = False  # the placement is part of that incident's end
    place: Place = UNSEEN
    trouble: str = ""  # why it is left alone for a while
    trouble_until: Instant = 0
    repairs: tuple[Instant, ...] = ()
    claims: int = 0
    claim_answered_at: Instant | None = None
    claim_said_at: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that the switcher knows of leases."""

    cluster: Cluster
    node: str
    incarnation: str
    started_at: Instant
    vips: Mapping[str, Vip]
    is_new: bool  # nothing is remembered: no grant is taken before a plan is persisted
    epoch: int  # the highest heard
    persisted: Memory
    persisting: Memory | None = None
    persist_again_at: Instant = 0
    unkept: str = ""  # why it could not be persisted the last time ("" it was)
    number: int = 0  # of the newest beat
    heard: int = 0  # the highest number of a beat to which a grant was heard
    sent: tuple[Instant, ...] = ()  # when the newest beats were said, up to that number
    beat_at: Instant  # the next on the grid
    looking: bool = False  # at the guard
    looked: bool = False  # a beat follows
    beat_now: bool = False  # something changed that the arbiter waits for
    said_fit: frozenset[str] = frozenset()  # the VIPs that the newest beat called fit
    has_stood: bool = False  # this process has closed what the one before it had opened
    guard: str = UNGUARDED  # why it does not stand ("" it does)
    guard_at: Instant  # when the kernel last confirmed what the beats say
    stand_at: Instant = 0
    standing: bool = False  # being made
    renew_at: Instant | None = None  # what the permit refused
    stand_failures: int = 0
    repairs: tuple[Instant, ...] = ()  # of the guard
    around_at: Instant = 0  # when to read links and addresses
    looking_around: bool = False
    balancer: str = UNASKED  # why it serves nobody ("" it does)
    leaving: str = ""


def parent_of(vip: Vip, phase: str) -> str:
    """Return the key of the span that what is done for a VIP belongs to."""
    return RECOVERY if vip.returns else phase


def with_vip(state: State, name: str, vip: Vip) -> State:
    """Return the state with one VIP changed."""
    return replace(state, vips={**state.vips, name: vip})


# -- events ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A grant was heard."""

    grant: Grant


@dataclass(frozen=True, slots=True)
class PlanInForce:
    """A plan was persisted."""

    plan: Plan
    is_failover: bool = True  # it takes load away; else it brings load back


@dataclass(frozen=True, slots=True)
class Stood:
    """The guard was made anew; everything is closed."""


@dataclass(frozen=True, slots=True)
class NotStood:
    """It could not be made."""

    detail: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """The kernel has committed these leases, which end by then."""

    ends: Mapping[str, Instant]


@dataclass(frozen=True, slots=True)
class NotRenewed:
    """The permit had run out, or nothing was left of the leases; the kernel changed nothing."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The kernel has closed the guard of a VIP."""

    vip: str


@dataclass(frozen=True, slots=True)
class GuardShown:
    """What the kernel says is left of every running lease, and when it said so."""

    rests: Mapping[str, Duration]
    at: Instant


@dataclass(frozen=True, slots=True)
class GuardBroken:
    """The kernel refused, or our tables are not as we made them."""

    detail: str


@dataclass(frozen=True, slots=True)
class PlacesChanged:
    """A link or an address of this machine has changed."""


@dataclass(frozen=True, slots=True)
class PlacesSeen:
    """Where every VIP would be, read from `began_at` on."""

    places: Mapping[str, Place]
    began_at: Instant


@dataclass(frozen=True, slots=True)
class PlacesUnknown:
    """The machine's links and addresses could not be read."""

    detail: str


@dataclass(frozen=True, slots=True)
class BalancerChanged:
    """Why the load balancer serves nobody; "" it does."""

    detail: str


@dataclass(frozen=True, slots=True)
class AddressTaken:
    """The address of a VIP is there, as the lease of this term wants."""

    vip: str
    term: Term


@dataclass(frozen=True, slots=True)
class AddressNotTaken:
    """The kernel refused it."""

    vip: str
    term: Term
    detail: str


@dataclass(frozen=True, slots=True)
class NotAnnounced:
    """What `Announce` wanted could not be said."""

    vip: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A request through a VIP was answered."""

    vip: str
    term: Term
    detail: str


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """It was not."""

    vip: str
    term: Term
    detail: str


@dataclass(frozen=True, slots=True)
class FloorsPersisted:
    """What `PersistFloors` wanted is on the disk."""


@dataclass(frozen=True, slots=True)
class FloorsNotPersisted:
    """It is not: disk full, read-only, gone."""

    detail: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """Somebody else announced a VIP on the wire."""

    vip: str
    hardware: str
    interface: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """This process is to end."""

    reason: str


Event: TypeAlias = (
    Tick
    | Heard
    | PlanInForce
    | Stood
    | NotStood
    | Renewed
    | NotRenewed
    | Closed
    | GuardShown
    | GuardBroken
    | PlacesChanged
    | PlacesSeen
    | PlacesUnknown
    | BalancerChanged
    | AddressTaken
    | AddressNotTaken
    | NotAnnounced
    | Answered
    | NotAnswered
    | FloorsPersisted
    | FloorsNotPersisted
    | Claimed
    | Leaving
)
