"""A machine's addresses, its wire and its load balancer, as values that a test may change."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from services.traffic_switcher.adapters.ports import Place
from shared.clock import Clock
from shared.errors import SwitchError
from shared.instant import Duration, Instant


class FakeAddresses:
    """One interface; addresses end by themselves, as the kernel lets them."""

    def __init__(self, addresses: tuple[str, ...], clock: Clock) -> None:
        self._clock = clock
        self._valid_until: dict[str, Instant] = {}
        self._changed: Callable[[], None] | None = None
        self.place = Place(interface="eth0", carrier=True)
        self.addresses = addresses
        self.refuses = ""  # why the kernel refuses every change
        self.forgotten: list[str] = []
        self.closed = False

    # -- what the switcher calls ---------------------------------------------------------

    async def open(self, changed: Callable[[], None]) -> None:
        """Begin."""
        self._changed = changed

    async def places(self) -> Mapping[str, Place]:
        """Return where every VIP would be."""
        return {
            address: replace(self.place, ours=self.is_there(address)) for address in self.addresses
        }

    def put(self, address: str, interface: str, valid_us: Duration) -> bool:
        """Put it there if it is not there."""
        if self.refuses or self.is_there(address) or interface != self.place.interface:
            return False
        self._valid_until[address] = self._clock.now() + valid_us
        return True

    async def take(self, address: str, valid_us: Duration) -> None:
        """Put it there."""
        if self.refuses:
            raise SwitchError(self.refuses)
        self._valid_until[address] = self._clock.now() + valid_us

    async def drop(self, address: str) -> None:
        """Remove it."""
        if self.refuses:
            raise SwitchError(self.refuses)
        self._valid_until.pop(address, None)

    async def forget_flows(self, address: str) -> None:
        """Remember that it was forgotten."""
        self.forgotten.append(address)

    async def close(self) -> None:
        """End."""
        self.closed = True

    # -- what others see and do ----------------------------------------------------------

    def is_there(self, address: str) -> bool:
        """Whether it is on the machine."""
        return self._valid_until.get(address, 0) > self._clock.now()

    def change(self, **changes: object) -> None:
        """Let the link change, and netlink tell of it."""
        self.place = replace(self.place, **changes)  # type: ignore[arg-type]
        self._tell()

    def leave_over(self, address: str) -> None:
        """Put an address of ours there that nobody holds."""
        self._valid_until[address] = self._clock.now() + 60_000_000

    def flush(self) -> None:
        """Remove all addresses, as somebody else does."""
        self._valid_until.clear()
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()


class FakeAnnouncer:
    """A wire that remembers what was said on it."""

    def __init__(self) -> None:
        self._claimed: Callable[[str, str, str], None] | None = None
        self.said: list[tuple[str, str]] = []

    def announce(self, address: str, interface: str) -> None:
        """Say it."""
        self.said.append((address, interface))

    def listen(self, claimed: Callable[[str, str, str], None]) -> None:
        """Hear claims."""
        self._claimed = claimed

    def close(self) -> None:
        """Hear no more."""
        self._claimed = None

    def claim(self, address: str, hardware: str) -> None:
        """Let a stranger claim an address."""
        if self._claimed is not None:
            self._claimed(address, hardware, "eth0")


class FakeNewcomers:
    """Clients that wait, by the address that they came to: nobody (""), or who gets them."""

    def __init__(self) -> None:
        self.passed: dict[str, str] = {}

    def hold_back(self, address: str, interface: str) -> None:
        """Keep them."""
        assert interface
        self.passed[address] = ""

    def pass_on(self, address: str, hardware: str) -> None:
        """Send them on."""
        if address in self.passed:
            self.passed[address] = hardware

    def let_go(self, address: str) -> None:
        """Forget them."""
        self.passed.pop(address, None)

    def close(self) -> None:
        """Forget all."""
        self.passed.clear()


class FakeFarewells:
    """A load balancer that knows whose clients are to leave."""

    def __init__(self) -> None:
        self.leaving: frozenset[str] = frozenset()

    def bid(self, addresses: Iterable[str]) -> None:
        """Say whose."""
        self.leaving = frozenset(addresses)

    async def run(self, changed: Callable[[str], None]) -> None:
        """See to it."""
        changed("")
        await asyncio.Event().wait()


class FakeBalancerWatch:
    """A load balancer that is as a test says."""

    def __init__(self) -> None:
        self._changed: Callable[[str], None] | None = None

    async def run(self, changed: Callable[[str], None]) -> None:
        """Say that it serves, and then whatever `say` is told."""
        self._changed = changed
        changed("")
        await asyncio.Event().wait()

    def turn(self) -> None:
        """Do nothing."""

    def say(self, why: str) -> None:
        """Let it serve nobody for this reason; "" lets it serve."""
        assert self._changed is not None
        self._changed(why)
