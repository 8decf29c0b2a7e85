"""What decisions about leases want done: actions, carried out in this order, nothing between them.

VIPs go by their names here, as in `state`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services.traffic_switcher.core.leases.state import Memory, State
from services.traffic_switcher.core.state import Say, Trace
from shared.instant import Duration, Instant
from shared.messages.leases import LeaseBeat, Term


@dataclass(frozen=True, slots=True)
class Stand:
    """Make the guard anew, everything closed; then say `Stood` or `NotStood`."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the kernel what it has; then say `GuardShown` or `GuardBroken`."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Publish it. It counts as sent when it was decided, which is before."""

    beat: LeaseBeat


@dataclass(frozen=True, slots=True)
class Renew:
    """Permit, then read the clock, then renew for what is left until these ends: rule 4.

    Then say `Renewed` of those that were committed, `NotRenewed` or `GuardBroken`.
    """

    ends: Mapping[str, Instant]


@dataclass(frozen=True, slots=True)
class CloseGuard:
    """Close it now, but for `drain_us` to what is open; then say `Closed` or `GuardBroken`."""

    vip: str
    drain_us: Duration = 0


@dataclass(frozen=True, slots=True)
class HandOver:
    """Pass on to an address what belongs to no connection begun here; it may fail in peace."""

    vip: str
    to: str
    for_us: Duration


@dataclass(frozen=True, slots=True)
class Keep:
    """End handing over."""

    vip: str


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Keep who begins a connection from now on, for the next holder; it may fail in peace."""

    vip: str
    interface: str


@dataclass(frozen=True, slots=True)
class PassOn:
    """Send who was kept, and who comes from now on, to a neighbour; it may fail in peace."""

    vip: str
    hardware: str


@dataclass(frozen=True, slots=True)
class LetGo:
    """Keep and pass on nobody any more."""

    vip: str


@dataclass(frozen=True, slots=True)
class LookAround:
    """Read links and addresses; then say `PlacesSeen` or `PlacesUnknown`."""


@dataclass(frozen=True, slots=True)
class TakeAddress:
    """Put it there or keep it; then say `AddressTaken` or `AddressNotTaken`."""

    vip: str
    term: Term
    valid_us: Duration


@dataclass(frozen=True, slots=True)
class DropAddress:
    """Remove it, if it is ours."""

    vip: str


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Let the connection tracker forget it; after the address was taken."""

    vip: str


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the neighbours; say `NotAnnounced` if it could not be said."""

    vip: str
    interface: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a real request through it; then say `Answered` or `NotAnswered`."""

    vip: str
    term: Term


@dataclass(frozen=True, slots=True)
class PersistFloors:
    """Write this durably; then say `FloorsPersisted` or `FloorsNotPersisted`."""

    memory: Memory


Action: TypeAlias = (
    Stand
    | Look
    | Beat
    | Renew
    | CloseGuard
    | HandOver
    | Keep
    | HoldBack
    | PassOn
    | LetGo
    | LookAround
    | TakeAddress
    | DropAddress
    | ForgetFlows
    | Announce
    | Ask
    | PersistFloors
    | Say
    | Trace
)
Decided: TypeAlias = tuple[State, tuple[Action, ...]]
