"""The machine's addresses and links, by netlink.

An address of ours ends by itself: it is given for a few seconds and refreshed while it is held,
so that a machine whose switcher is gone does not keep it (docs/decisions/0021).
"""

import asyncio
import errno
import os
import socket
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from services.traffic_switcher.adapters import connection_tracker
from services.traffic_switcher.adapters.address_line import AddressLine
from services.traffic_switcher.core.places import (
    NODAD,
    PROTOCOL,
    VALID_MAX_S,
    Link,
    Place,
    Present,
    is_ours,
    is_six,
    label_of,
    places,
)
from shared.cluster import VirtualIp
from shared.errors import SwitchError
from shared.instant import SECOND, Duration

ANSWER_WITHIN_US: Duration = SECOND  # 1 ms is usual
# A list that changed while the kernel told it is asked for again.
INTERRUPTED_MAX = 5
EVENTS_CHUNK = 65_536
EVENT_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
IFF_UP, IFF_LOOPBACK, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x8, 0x80, 0x10000
IPV4_SETTINGS = Path("/proc/sys/net/ipv4/conf")
FORBIDDEN = (
    "this process may not change addresses: it needs CAP_NET_ADMIN,"
    " so run the switcher as root or give it that capability"
)


FOR_EVER_S = 2**32 - 1
NOWHERE = 2**31 - 1  # the index of no interface


# What the kernel says of a link or an address: its fields and attributes by their names.
_Message: TypeAlias = Mapping[str, Any]


class NetlinkAddresses:
    """The places of the VIPs on this machine; for asyncio's own loop (see `plain_loop`)."""

    def __init__(self, vips: Collection[VirtualIp]) -> None:
        self._vips = {vip.address: vip for vip in vips}
        self._kernel: AsyncIPRoute | None = None
        self._line = AddressLine()  # of whoever calls `put`
        self._events: socket.socket | None = None
        self._forbidden = ""
        self._links: tuple[Link, ...] = ()
        self._presents: tuple[Present, ...] = ()
        self._is_stale = True

    async def open(self, changed: Callable[[], None]) -> None:
        """Begin; `changed` is called whenever an address or a link has changed."""
        assert self._events is None
        events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            events.bind((0, EVENT_GROUPS))
        except OSError as error:
            events.close()
            raise SwitchError(f"cannot hear of links: {error.strerror}") from error
        self._events = events

        def heard() -> None:
            self._drain_events()
            changed()

        asyncio.get_running_loop().add_reader(events, heard)
        await self._try_capability()

    async def places(self) -> Mapping[str, Place]:
        """Return every VIP's place, by its address."""
        if self._forbidden:  # perhaps only because a starved machine took too long to say so
            await self._try_capability()
        await self._look()
        found = places(self._vips.values(), self._links, self._presents)
        if not self._forbidden:
            return found
        return {
            address: Place(
                interface=p.interface, carrier=p.carrier, unfit=p.unfit or self._forbidden
            )
            for address, p in found.items()
        }

    def put(self, address: str, interface: str, valid_us: Duration) -> bool:
        """Put it there at once if it is not there; False: that takes a look, and `take`."""
        assert address in self._vips
        try:
            index = socket.if_nametoindex(interface)
            self._line.put(_given(address, index, interface, _whole_seconds(valid_us)))
        except OSError:  # `take` will have the same trouble, and say what it is
            return False
        return True

    async def take(self, address: str, valid_us: Duration) -> None:
        """Put it there, or keep it: the kernel removes it after `valid_us` (whole seconds)."""
        valid_s = _whole_seconds(valid_us)
        self._drain_events()
        if self._is_stale:
            await self._look()
        place = places([self._vips[address]], self._links, self._presents)[address]
        if place.unfit:
            raise SwitchError(f"{address} cannot be taken: {place.unfit}")
        index = next(link.index for link in self._links if link.name == place.interface)
        given = _given(address, index, place.interface, valid_s)
        async with self._asking(f"take {address}") as kernel:
            await kernel.addr("replace", **given)
        # A container that is connected again, or an interface that is named anew, leaves the
        # address where it was.
        await self._remove([p for p in self._ours(address) if p.index != index])

    async def drop(self, address: str) -> None:
        """Remove it if we put it there; else do nothing."""
        assert address in self._vips
        await self._look()
        await self._remove(self._ours(address))

    async def forget_flows(self, address: str) -> None:
        """Delete the connection tracker's entries of the address, so that no old path is kept."""
        assert address in self._vips
        await connection_tracker.forget(address)

    async def close(self) -> None:
        """End; addresses stay as they are."""
        if self._events is not None:
            asyncio.get_running_loop().remove_reader(self._events)
            self._events.close()
            self._events = None
        self._line.close()
        self._hang_up()

    # -- asking the kernel ---------------------------------------------------------------

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[AsyncIPRoute]:
        """Give the open line to the kernel; a line that failed is never used again."""
        if self._kernel is None:
            self._kernel = AsyncIPRoute(groups=0)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_US / SECOND):
                yield self._kernel
        except NetlinkError as error:
            if error.code in (errno.EPERM, errno.EACCES):
                raise SwitchError(f"cannot {what}: {FORBIDDEN}") from error
            text = os.strerror(error.code)
            raise SwitchError(f"cannot {what}: the kernel refuses: {text}") from error
        except TimeoutError:
            self._hang_up()
            waited = f"{ANSWER_WITHIN_US // SECOND} s"
            raise SwitchError(f"cannot {what}: no netlink answer within {waited}") from None
        except OSError as error:
            self._hang_up()
            raise SwitchError(f"cannot {what}: netlink failed: {error.strerror}") from error

    def _hang_up(self) -> None:
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    async def _try_capability(self) -> None:
        """Try what changes nothing, but is refused to those who may change nothing."""
        self._forbidden = ""
        try:
            async with self._asking("try") as kernel:
                with _expecting(errno.ENODEV):
                    await kernel.addr("delete", index=NOWHERE, address="127.0.0.2", prefixlen=32)
        except SwitchError as error:
            self._forbidden = str(error).removeprefix("cannot try: ")

    async def _remove(self, presents: Collection[Present]) -> None:
        for present in presents:
            async with self._asking(f"remove {present.address}") as kernel:
                with _expecting(errno.EADDRNOTAVAIL, errno.ENODEV):  # gone by itself meanwhile
                    await kernel.addr(
                        "delete",
                        index=present.index,
                        address=present.address,
                        prefixlen=present.prefix,
                    )

    async def _look(self) -> None:
        self._drain_events()
        self._is_stale = False  # what changes from here on is heard, and makes it stale again
        try:
            async with self._asking("read the addresses") as kernel:
                links = await _listed(kernel.get_links)
                presents = await _listed(kernel.get_addr)
        except SwitchError:
            self._is_stale = True
            raise
        self._links = tuple(map(_link, links))
        self._presents = tuple(map(_present, presents))

    def _ours(self, address: str) -> tuple[Present, ...]:
        return tuple(p for p in self._presents if p.ours and p.address == address)

    def _drain_events(self) -> None:
        """Take what the kernel has said of changes: that there was one is all we need."""
        while self._events is not None:
            try:
                self._events.recv(EVENTS_CHUNK)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # more has changed than fits: look at it all
                    raise SwitchError(f"netlink events failed: {error.strerror}") from error
            self._is_stale = True


@contextmanager
def _expecting(*codes: int) -> Iterator[None]:
    """Take these refusals of the kernel for an answer."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in codes:
            raise


async def _listed(ask: Callable[[], Awaitable[AsyncIterable[_Message]]]) -> list[_Message]:
    for _ in range(INTERRUPTED_MAX):
        with suppress(NetlinkDumpInterrupted):
            return [message async for message in await ask()]
    raise OSError(errno.EINTR, "the list changes faster than it can be read")


def _whole_seconds(valid_us: Duration) -> int:
    valid_s = -(-valid_us // SECOND)
    assert 0 < valid_s <= VALID_MAX_S
    return valid_s


def _given(address: str, index: int, interface: str, valid_s: int) -> dict[str, Any]:
    """Return what the kernel is told of an address of ours."""
    given = {
        "index": index,
        "address": address,
        "valid_lft": valid_s,
        # Deprecated from the beginning, so that this machine's own connections never begin there.
        "preferred_lft": 0,
        "proto": PROTOCOL,
    }
    if is_six(address):
        # It must work at once, and the guard keeps it to one node: nothing is to be detected.
        return given | {"prefixlen": 128, "flags": NODAD}
    return given | {"prefixlen": 32, "label": label_of(interface)}


def _link(message: _Message) -> Link:
    flags, name = message["flags"], str(message.get("IFLA_IFNAME"))
    return Link(
        index=message["index"],
        name=name,
        carrier=bool(flags & IFF_UP) and bool(flags & IFF_LOWER_UP),
        answers_arp=bool(flags & IFF_UP)
        and not flags & (IFF_NOARP | IFF_LOOPBACK)
        and not (_setting("all", "arp_ignore") or _setting(name, "arp_ignore")),
    )


def _setting(interface: str, name: str) -> int:
    try:
        return int((IPV4_SETTINGS / interface / name).read_text())
    except (OSError, ValueError):  # it has gone meanwhile
        return 0


def _present(message: _Message) -> Present:
    local, end = message.get("IFA_LOCAL"), message.get("IFA_ADDRESS")  # of a peer, if both
    lifetimes: Mapping[str, int] = message.get("IFA_CACHEINFO") or {}
    present = Present(
        index=message["index"],
        address=str(ip_address(str(local or end))),
        prefix=message["prefixlen"],
    )
    ours = is_ours(
        present,
        protocol=message.get("IFA_PROTO"),
        label=message.get("IFA_LABEL") or "",
        flags=message.get("IFA_FLAGS") or message["flags"],
        ends_s=lifetimes.get("ifa_valid", FOR_EVER_S),
    )
    return replace(present, ours=ours)
