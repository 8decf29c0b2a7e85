"""What holding a VIP needs of the machine: the interfaces of the guard, the addresses, the wire.

Each has one real adapter beside it, and a fake in tests/fakes that passes the same tests.
All addresses are text as `ipaddress` writes it; all of them are VIPs of the configuration.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from services.traffic_switcher.core.leases.pace import PERMIT_US
from services.traffic_switcher.core.places import Place
from shared.instant import Duration

__all__ = [
    "PERMIT_US",
    "Addresses",
    "Announcer",
    "BalancerWatch",
    "Farewells",
    "Guard",
    "Machine",
    "Newcomers",
    "Place",
]


class Guard(Protocol):
    """The kernel's gate for VIPs: what is not leased is dropped, whoever of ours is alive.

    Every call returns when the kernel has committed, and raises `SwitchError` if it refused or
    does not answer. Calls take about 0.1 ms, so they do not wait on the loop.
    """

    @property
    def lacks(self) -> str:
        """What this kernel cannot guard, in words; VIPs are held all the same. "" nothing."""

    def stand(self) -> None:
        """Make our tables anew, all at once, with every managed VIP closed: quarantine."""

    def permit(self, token: int) -> None:
        """Commit an element that the kernel forgets after `PERMIT_US`."""

    def renew(self, token: int, rests: Mapping[str, Duration]) -> bool:
        """Open the guard of these VIPs for so long, if the permit still stands; it is used up.

        One transaction. False: the permit had run out, and the kernel changed nothing; or it
        took so long that the lease could have outlived its time, and these VIPs are closed.
        """

    def close(self, address: str, *, drain_us: Duration = 0) -> None:
        """Close it at once. For `drain_us`, connections that are open already are served on."""

    def hand_over(self, address: str, *, to: str, for_us: Duration) -> None:
        """Pass on to `to` what belongs to no connection begun here; to be set before `renew`."""

    def keep(self, address: str) -> None:
        """End handing over: what belongs to no connection is answered by a reset again."""

    def shows(self) -> Mapping[str, Duration]:
        """Return what is left of every running lease, as the kernel has it.

        Raises `SwitchError` if our tables are not as we made them; `stand` makes them so.
        """


class Addresses(Protocol):
    """The machine's addresses and links, by netlink. Raises `SwitchError`."""

    async def open(self, changed: Callable[[], None]) -> None:
        """Begin; `changed` is called whenever an address or a link has changed."""

    async def places(self) -> Mapping[str, Place]:
        """Return every VIP's place, by its address."""

    def put(self, address: str, interface: str, valid_us: Duration) -> bool:
        """Put it there at once if it is not there; False: that takes a look, and `take`.

        It takes less than 0.1 ms, so it does not wait on the loop.
        """

    async def take(self, address: str, valid_us: Duration) -> None:
        """Put it there, or keep it: the kernel removes it after `valid_us` (whole seconds)."""

    async def drop(self, address: str) -> None:
        """Remove it if we put it there; else do nothing."""

    async def forget_flows(self, address: str) -> None:
        """Delete the connection tracker's translated entries of it, so that no old path is kept."""

    async def close(self) -> None:
        """End; addresses stay as they are."""


class Announcer(Protocol):
    """Tells the neighbours where an address is: gratuitous ARP, unsolicited advertisements."""

    def announce(self, address: str, interface: str) -> None:
        """Say it once, on the wire; raises `SwitchError`."""

    def listen(self, claimed: Callable[[str, str, str], None]) -> None:
        """Call back with (address, hardware address, interface) for every foreign claim."""

    def close(self) -> None:
        """End."""


class Newcomers(Protocol):
    """Who begins a connection with a VIP that has left, before the next holder is known.

    They are frames on the wire. They are kept as they came, by the kernel, and sent on as a switch
    would: nothing is ever answered here. Raises `SwitchError`.
    """

    def hold_back(self, address: str, interface: str) -> None:
        """Keep them from now on."""

    def pass_on(self, address: str, hardware: str) -> None:
        """Send those that are kept, and all that come, to a neighbour."""

    def let_go(self, address: str) -> None:
        """Do neither any more; what is kept is lost, and comes again by itself."""

    def close(self) -> None:
        """Let go of all."""


class Farewells(Protocol):
    """Has the load balancer tell clients of these VIPs to leave, each with its next answer."""

    def bid(self, addresses: Iterable[str]) -> None:
        """Say of which VIPs, from now on; of no others."""

    async def run(self, changed: Callable[[str], None]) -> None:
        """See to it for ever; call back with why it cannot be done while it matters, or ""."""


class BalancerWatch(Protocol):
    """Notices that the load balancer died or hangs, faster than anything else."""

    async def run(self, changed: Callable[[str], None]) -> None:
        """Call back with why it serves nobody ("dead: ...", "hung: ..."), or "" when it does."""

    def turn(self) -> None:
        """Do what can be done without waiting, as this process is awake: best with every beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The kernel's gate, the addresses, the wire, and the load balancer as far as VIPs go."""

    # Made when it is to stand: what it needs may be missing, and be installed while we run.
    guard: Callable[[], Guard]
    addresses: Addresses
    announcer: Announcer
    newcomers: Newcomers
    farewells: Farewells
    balancer: BalancerWatch
