"""The machine's addresses and links, by netlink.

An address of ours ends by itself: it is given for a few seconds and refreshed while it is held,
so that a machine whose switcher is gone does not keep it (docs/decisions/0021).
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from services.traffic_switcher.adapters import connection_tracker
from services.traffic_switcher.adapters.route_line import RouteLine, SeenAddress, SeenLink
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
from shared.frozen import replace
from shared.instant import SECOND, Duration

EVENTS_CHUNK = 65_536
EVENT_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
IFF_UP, IFF_LOOPBACK, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x8, 0x80, 0x10000
IPV4_SETTINGS = Path("/proc/sys/net/ipv4/conf")
FORBIDDEN = (
    "this process may not change addresses: it needs CAP_NET_ADMIN,"
    " so run the switcher as root or give it that capability"
)

NOWHERE = 2**31 - 1  # the index of no interface
Done = TypeVar("Done")


class NetlinkAddresses:
    """The places of the VIPs on this machine.

    Everything but `put` happens in a thread beside the loop, one thing after the other: a machine
    may have thousands of links, and the kernel answers after whoever holds its lock of links.
    """

    def __init__(self, vips: Collection[VirtualIp]) -> None:
        self._vips = {vip.address: vip for vip in vips}
        self._line = RouteLine()  # of the thread
        self._short_line = RouteLine()  # of the loop
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
        await _beside(self._try_capability)

    async def places(self) -> Mapping[str, Place]:
        """Return every VIP's place, by its address."""
        return await _beside(self._places)

    def _places(self) -> Mapping[str, Place]:
        if self._forbidden:  # it may have been given to us meanwhile
            self._try_capability()
        self._look()
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
            self._short_line.put(_given(address, index, interface, _whole_seconds(valid_us)))
        except OSError:  # `take` will have the same trouble, and say what it is
            return False
        return True

    async def take(self, address: str, valid_us: Duration) -> None:
        """Put it there, or keep it: the kernel removes it after `valid_us` (whole seconds)."""
        await _beside(partial(self._take, address, _whole_seconds(valid_us)))

    def _take(self, address: str, valid_s: int) -> None:
        self._drain_events()
        if self._is_stale:
            self._look()
        place = places([self._vips[address]], self._links, self._presents)[address]
        if place.unfit:
            raise SwitchError(f"{address} cannot be taken: {place.unfit}")
        index = next(link.index for link in self._links if link.name == place.interface)
        with self._asking(f"take {address}") as kernel:
            kernel.replace(_given(address, index, place.interface, valid_s))
        # A container that is connected again, or an interface that is named anew, leaves the
        # address where it was.
        self._remove([p for p in self._ours(address) if p.index != index])

    async def drop(self, address: str) -> None:
        """Remove it if we put it there; else do nothing."""
        assert address in self._vips
        await _beside(partial(self._drop, address))

    def _drop(self, address: str) -> None:
        self._look()
        self._remove(self._ours(address))

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
        self._short_line.close()

    # -- asking the kernel ---------------------------------------------------------------

    @contextmanager
    def _asking(self, what: str) -> Iterator[RouteLine]:
        """Give the line to the kernel, and say in words what it refuses."""
        try:
            yield self._line
        except TimeoutError:
            raise SwitchError(f"cannot {what}: the kernel does not answer") from None
        except PermissionError as error:
            raise SwitchError(f"cannot {what}: {FORBIDDEN}") from error
        except OSError as error:
            raise SwitchError(f"cannot {what}: the kernel refuses: {error.strerror}") from error

    def _try_capability(self) -> None:
        """Try what changes nothing, but is refused to those who may change nothing."""
        self._forbidden = ""
        try:
            with self._asking("try") as kernel, _expecting(errno.ENODEV):
                kernel.delete(SeenAddress(index=NOWHERE, address="127.0.0.2", prefix=32))
        except SwitchError as error:
            self._forbidden = str(error).removeprefix("cannot try: ")

    def _remove(self, presents: Collection[Present]) -> None:
        for present in presents:
            with (
                self._asking(f"remove {present.address}") as kernel,
                _expecting(errno.EADDRNOTAVAIL, errno.ENODEV),  # gone by itself meanwhile
            ):
                kernel.delete(
                    SeenAddress(index=present.index, address=present.address, prefix=present.prefix)
                )

    def _look(self) -> None:
        self._drain_events()
        self._is_stale = False  # what changes from here on is heard, and makes it stale again
        try:
            with self._asking("read the addresses"):
                links, addresses = self._line.links(), self._line.addresses()
        except SwitchError:
            self._is_stale = True
            raise
        self._links, self._presents = tuple(map(_link, links)), tuple(map(_present, addresses))

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


async def _beside(work: Callable[[], Done]) -> Done:
    return await asyncio.get_running_loop().run_in_executor(None, work)


@contextmanager
def _expecting(*codes: int) -> Iterator[None]:
    """Take these refusals of the kernel for an answer."""
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise


def _whole_seconds(valid_us: Duration) -> int:
    valid_s = -(-valid_us // SECOND)
    assert 0 < valid_s <= VALID_MAX_S
    return valid_s


def _given(address: str, index: int, interface: str, valid_s: int) -> SeenAddress:
    """Return what the kernel is told of an address of ours."""
    six = is_six(address)
    return SeenAddress(
        index=index,
        address=address,
        prefix=128 if six else 32,
        # One of IPv6 must work at once, and the guard keeps it to one node: nothing is detected.
        flags=NODAD if six else 0,
        label="" if six else label_of(interface),
        protocol=PROTOCOL,
        valid_s=valid_s,
    )


def _link(seen: SeenLink) -> Link:
    flags = seen.flags
    return Link(
        index=seen.index,
        name=seen.name,
        carrier=bool(flags & IFF_UP) and bool(flags & IFF_LOWER_UP),
        answers_arp=bool(flags & IFF_UP)
        and not flags & (IFF_NOARP | IFF_LOOPBACK)
        and not (_setting("all", "arp_ignore") or _setting(seen.name, "arp_ignore")),
    )


def _setting(interface: str, name: str) -> int:
    try:
        return int((IPV4_SETTINGS / interface / name).read_text())
    except (OSError, ValueError):  # it has gone meanwhile
        return 0


def _present(seen: SeenAddress) -> Present:
    present = Present(index=seen.index, address=seen.address, prefix=seen.prefix)
    ours = is_ours(
        present,
        protocol=seen.protocol,
        label=seen.label,
        flags=seen.flags,
        ends_s=seen.valid_s,
    )
    return replace(present, ours=ours)
