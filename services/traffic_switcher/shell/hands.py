"""What is asked of netlink: one thing after the other, in the order of the decisions.

Connections are forgotten when nothing else is wished for.

A wish replaces the one that still waits for the same address, so that what waits is bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, assert_never

from services.traffic_switcher.adapters.ports import Addresses
from services.traffic_switcher.core.leases.actions import (
    DropAddress,
    ForgetFlows,
    LookAround,
    TakeAddress,
)
from services.traffic_switcher.core.leases.state import (
    AddressNotTaken,
    AddressTaken,
    Event,
    PlacesSeen,
    PlacesUnknown,
)
from shared.clock import Clock
from shared.errors import SwitchError
from shared.log import Log

_Act: TypeAlias = Callable[[str], Awaitable[None]]
Wish: TypeAlias = TakeAddress | DropAddress | ForgetFlows | LookAround


class Hands:
    """Does what is wished and tells what came of it."""

    def __init__(
        self, addresses: Addresses, of_vips: Mapping[str, str], clock: Clock, log: Log
    ) -> None:
        self._addresses = addresses
        self._of_vips = of_vips  # their addresses
        self._names = {address: name for name, address in of_vips.items()}
        self._clock = clock
        self._log = log
        self._wishes: dict[str, Wish] = {}
        self._woken = asyncio.Event()
        self._is_open = False
        self.is_idle = True

    def wish(self, wish: Wish) -> None:
        """Let it be done after all that was wished before."""
        key = _key(wish)
        self._wishes.pop(key, None)
        self._wishes[key] = wish
        self.is_idle = False
        self._woken.set()

    async def work(self, changed: Callable[[], None], tell: Callable[[Event], None]) -> None:
        """Do what is wished, for ever."""
        while True:
            while self._wishes:
                wish = self._wishes.pop(self._next())
                event = await self._do(wish, changed)
                if event is not None:
                    tell(event)
            self.is_idle = True
            self._woken.clear()
            await self._woken.wait()

    async def close(self) -> None:
        """End; addresses stay as they are."""
        await self._addresses.close()

    def _next(self) -> str:
        # An address that clients wait for does not wait for old paths of another one.
        urgent = (k for k, wish in self._wishes.items() if not isinstance(wish, ForgetFlows))
        return next(urgent, next(iter(self._wishes)))

    async def _do(self, wish: Wish, changed: Callable[[], None]) -> Event | None:
        match wish:
            case LookAround():
                return await self._look_around(changed)
            case TakeAddress():
                return await self._take(wish)
            case DropAddress():
                await self._try("address_not_dropped", wish, self._addresses.drop)
            case ForgetFlows():
                await self._try("flows_not_forgotten", wish, self._addresses.forget_flows)
            case _:
                assert_never(wish)
        return None

    async def _look_around(self, changed: Callable[[], None]) -> Event:
        began_at = self._clock.now()
        try:
            if not self._is_open:
                await self._addresses.open(changed)
                self._is_open = True
            found = await self._addresses.places()
        except (SwitchError, OSError) as error:
            return PlacesUnknown(str(error))
        return PlacesSeen({self._names[at]: place for at, place in found.items()}, began_at)

    async def _take(self, wish: TakeAddress) -> Event:
        try:
            await self._addresses.take(self._of_vips[wish.vip], wish.valid_us)
        except SwitchError as error:
            return AddressNotTaken(wish.vip, wish.term, str(error))
        return AddressTaken(wish.vip, wish.term)

    async def _try(self, event: str, wish: DropAddress | ForgetFlows, act: _Act) -> None:
        try:
            await act(self._of_vips[wish.vip])
        except SwitchError as error:
            self._log.warning(event, vip=wish.vip, because=str(error))


def _key(wish: Wish) -> str:
    match wish:
        case LookAround():
            return ""
        case ForgetFlows():
            return f"flows of {wish.vip}"
        case TakeAddress() | DropAddress():
            return wish.vip
        case _:
            assert_never(wish)
