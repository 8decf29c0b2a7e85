"""Netlink on a loop of its own, in a thread of its own.

pyroute2 gives its sockets to asyncio's own event loop and to no other, and our services run on
uvloop where it is installed. The way there and back costs 0.1 ms.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from threading import Thread
from typing import Any, TypeVar

from services.traffic_switcher.adapters.ports import Addresses, Place
from shared.instant import Duration
from shared.urgency import hurry

Answer = TypeVar("Answer")


class OnPlainLoop:
    """Addresses for a caller on any loop."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    async def open(self, changed: Callable[[], None]) -> None:
        """Begin; `changed` is called on the caller's loop."""
        callers = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = asyncio.SelectorEventLoop()
            # It must not hold up the end of the process: what it waits for is the kernel.
            self._thread = Thread(target=self._loop.run_forever, name="netlink", daemon=True)
            self._thread.start()
            # Within a thread of an ordinary program's rank, taking an address would wait for what
            # burns processors, and keep the interpreter's lock from the loop that renews leases.
            hurry()
        await self._there(self._addresses.open(lambda: _call(callers, changed)))

    async def places(self) -> Mapping[str, Place]:
        """Return every VIP's place."""
        return await self._there(self._addresses.places())

    def put(self, address: str, interface: str, valid_us: Duration) -> bool:
        """Put it there at once, on the caller's own thread, if it is not there."""
        return self._addresses.put(address, interface, valid_us)

    async def take(self, address: str, valid_us: Duration) -> None:
        """Put it there, or keep it."""
        await self._there(self._addresses.take(address, valid_us))

    async def drop(self, address: str) -> None:
        """Remove it if we put it there."""
        await self._there(self._addresses.drop(address))

    async def forget_flows(self, address: str) -> None:
        """Delete the connection tracker's entries of the address."""
        await self._there(self._addresses.forget_flows(address))

    async def close(self) -> None:
        """End the thread; addresses stay as they are."""
        if self._loop is None or self._thread is None:
            return
        await self._there(self._addresses.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    async def _there(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        if self._loop is None:
            work.close()
            raise AssertionError("addresses are opened before they are used")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _call(loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
    """Tell the caller, unless its loop has ended meanwhile."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(changed)
