"""The eyes in a node's namespace: its guard and its addresses, by the kernel's own word.

The guard's shape is known from outside: it is what `nft list ruleset` shows to anyone. Its sets of
leases have elements that end by themselves, without a message; the kernel leaves them out of its
lists from then on, so lists are asked for, and messages only say that it is time to ask.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from services.sandbox import netlink
from services.sandbox.namespaces import opened
from services.sandbox.netlink import NETLINK_NETFILTER, Message, Netlink, text
from services.sandbox.observers.observations import Look
from shared.clock import Clock

TABLE = "equipoise"
LEASES = ("lease4", "lease6")
NFPROTO_INET = 1
NFTABLES = 10 << 8
GETSETELEM = NFTABLES | 13
TABLE_NAME = 1  # the first attribute of every message about tables, sets and elements
ELEMENTS_TABLE, ELEMENTS_SET, ELEMENTS_LIST = 1, 2, 3
ELEMENT, ELEMENT_KEY, VALUE = 1, 1, 1
GENERAL = struct.Struct(">BBH")  # nfgenmsg
GROUP_NFTABLES = 7
GETADDR = 22
ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg
IFA_ADDRESS, IFA_LOCAL = 1, 2
GROUP_IPV4, GROUP_IPV6 = 5, 9


@dataclass(eq=False, slots=True, kw_only=True)
class NodeEye:
    """Looks at one node."""

    node: str
    vips: Mapping[str, str]  # names, by address
    clock: Clock
    guard: Netlink
    links: Netlink
    guard_events: Netlink
    address_events: Netlink
    _events: int = field(default=0)

    @classmethod
    def open(cls, node: str, holder: int, vips: Mapping[str, str], clock: Clock) -> "NodeEye":
        """Open an eye in a node's namespace."""
        route = socket.NETLINK_ROUTE

        def make() -> NodeEye:
            return cls(
                node=node,
                vips={address: name for name, address in vips.items()},
                clock=clock,
                guard=Netlink(NETLINK_NETFILTER),
                links=Netlink(route),
                guard_events=Netlink(NETLINK_NETFILTER, [GROUP_NFTABLES]),
                address_events=Netlink(route, [GROUP_IPV4, GROUP_IPV6]),
            )

        return opened(holder, make)

    @property
    def signs(self) -> tuple[Netlink, Netlink]:
        """What becomes readable when something may have changed."""
        return self.guard_events, self.address_events

    def close(self) -> None:
        """Close it."""
        for each in (self.guard, self.links, self.guard_events, self.address_events):
            each.close()

    def heed(self, sign: Netlink) -> bool:
        """Read what the kernel tells; return whether it is worth a look."""
        try:
            told = sign.receive()
        except OSError as problem:
            if problem.errno != errno.ENOBUFS:
                raise
            return True  # more was told than there was room for
        if sign is self.guard_events:
            told = [message for message in told if _concerns_leases(message)]
        self._events += len(told)
        return bool(told)

    def look(self) -> Look:
        """Ask for everything."""
        begin_at = self.clock.now()
        leased = self._leased()
        present = frozenset(self._named(self._addresses()))
        end_at = self.clock.now()
        events, self._events = self._events, 0
        return Look(
            node=self.node,
            begin_at=begin_at,
            end_at=end_at,
            open=frozenset(self._named(leased or ())),
            present=present,
            guarded=leased is not None,
            events=events,
        )

    def _named(self, addresses: Iterable[str]) -> Iterable[str]:
        return (self.vips[address] for address in addresses if address in self.vips)

    def _leased(self) -> set[str] | None:
        """Return the addresses with a running lease; None where no guard stands."""
        found: set[str] = set()
        try:
            for name in LEASES:
                found.update(self._elements(name))
        except FileNotFoundError:
            return None
        return found

    def _elements(self, name: str) -> Iterable[str]:
        question = GENERAL.pack(NFPROTO_INET, 0, 0)
        question += text(ELEMENTS_TABLE, TABLE) + text(ELEMENTS_SET, name)
        for part in self.guard.dump(GETSETELEM, question):
            fields = dict(netlink.attributes(part.content[GENERAL.size :]))
            for _, element in netlink.attributes(fields.get(ELEMENTS_LIST, b"")):
                key = dict(netlink.attributes(element)).get(ELEMENT_KEY, b"")
                with suppress(ValueError):
                    yield str(ip_address(dict(netlink.attributes(key))[VALUE]))

    def _addresses(self) -> Iterable[str]:
        for part in self.links.dump(GETADDR, ADDRESS.pack(0, 0, 0, 0, 0)):
            fields = dict(netlink.attributes(part.content[ADDRESS.size :]))
            value = fields.get(IFA_LOCAL) or fields.get(IFA_ADDRESS)
            if value:
                yield str(ip_address(value))


def _concerns_leases(message: Message) -> bool:
    """Return whether a message is about a set of leases, or about the whole guard."""
    fields = dict(netlink.attributes(message.content[GENERAL.size :]))
    if fields.get(TABLE_NAME) != f"{TABLE}\0".encode():
        return False
    name = fields.get(ELEMENTS_SET, b"").rstrip(b"\0").decode(errors="replace")
    return name in LEASES or ELEMENTS_LIST not in fields
