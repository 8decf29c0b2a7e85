"""The eyes on the clients' network: frames that ask who has an address, and what answers say.

An answer does not say which question it answers. So questions come from several addresses in
turn, and the address that an answer goes to tells: within one round every question has its own.
"""

import socket
import struct
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from services.sandbox.namespaces import frames
from services.sandbox.network import ASKERS, PREFIX_6, PROBE, Wire, asker, hardware, packed
from services.sandbox.observers.observations import Asked
from shared.clock import Clock
from shared.instant import MILLISECOND, SECOND, Duration, Instant

ARP, IPV6 = 0x0806, 0x86DD
EVERYBODY = b"\xff" * 6
ETHERNET = struct.Struct(">6s6sH")
ARP_PACKET = struct.Struct(">HHBBH6s4s6s4s")
ARP_REQUEST, ARP_REPLY = 1, 2
IPV6_HEADER = struct.Struct(">IHBB16s16s")
ICMPV6 = 58
SOLICIT, ADVERTISE = 135, 136
NEIGHBOUR = struct.Struct(">BBHI16s")  # type, code, checksum, flags, target
LINK_LAYER = b"\x01\x01"  # option: the sender's hardware address, one unit of 8 bytes
# Answers come within 0.1 ms; what is later than this belongs to a machine that stood still.
ANSWER_WITHIN_US: Duration = 100 * MILLISECOND
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")
ANCILLARY_SIZE = 128
FRAME_MAX = 2_048
BURST_MAX = 64  # frames that are read in one go


class Reply(NamedTuple):
    """What an answer says."""

    address: str  # that is asked for
    asker: str  # the address it goes to
    hardware: str  # who says that he has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the wire is asked: a port in a process's namespace, and what addresses are free."""

    holder: int
    interface: str = PROBE
    prefix: str = Wire.CLIENTS.prefix  # the first three parts of the addresses that ask

    @property
    def ours(self) -> str:
        """The hardware address of the port."""
        return hardware(asker(0, self.prefix))


def question(address: str, source: str, ours: bytes) -> bytes:
    """Return the frame that asks, from an address, who has another."""
    target = ip_address(address)
    if isinstance(target, IPv6Address):
        return _solicitation(target, IPv6Address(source), ours)
    arp = ARP_PACKET.pack(
        1,
        0x0800,
        6,
        4,
        ARP_REQUEST,
        ours,
        ip_address(source).packed,
        bytes(6),
        target.packed,
    )
    return ETHERNET.pack(EVERYBODY, ours, ARP) + arp


def asker_6(number: int) -> IPv6Address:
    """Return the IPv6 address that a question comes from; nobody has it."""
    return IPv6Address(f"{PREFIX_6}{asker(number).rpartition('.')[2]}")


def _solicitation(target: IPv6Address, source: IPv6Address, ours: bytes) -> bytes:
    group = IPv6Address("ff02::1:ff00:0").packed[:13] + target.packed[13:]
    body = NEIGHBOUR.pack(SOLICIT, 0, 0, 0, target.packed) + LINK_LAYER + ours
    pseudo = source.packed + group + struct.pack(">II", len(body), ICMPV6)
    body = NEIGHBOUR.pack(SOLICIT, 0, checksum(pseudo + body), 0, target.packed) + body[24:]
    header = IPV6_HEADER.pack(6 << 28, len(body), ICMPV6, 255, source.packed, group)
    return ETHERNET.pack(b"\x33\x33" + group[12:], ours, IPV6) + header + body


def checksum(content: bytes) -> int:
    """Return the Internet's checksum of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read(frame: bytes) -> Reply | None:
    """Read an answer; None for every other frame."""
    try:
        _, sender, kind = ETHERNET.unpack_from(frame)
        content = frame[ETHERNET.size :]
        if kind == ARP:
            return _read_arp(content)
        return _read_advertisement(content, sender) if kind == IPV6 else None
    except struct.error:  # too short to be one
        return None


def is_announced(frame: bytes, addresses: Container[str]) -> bool:
    """Return whether a frame tells everybody who has one of these addresses (IPv4 only)."""
    try:
        _, _, kind = ETHERNET.unpack_from(frame)
        *_, address, _, to = ARP_PACKET.unpack_from(frame, ETHERNET.size)
    except struct.error:
        return False
    return kind == ARP and address == to and str(ip_address(address)) in addresses


def _read_arp(content: bytes) -> Reply | None:
    *_, operation, sender, address, _, to = ARP_PACKET.unpack_from(content)
    if operation != ARP_REPLY:
        return None
    return Reply(str(ip_address(address)), str(ip_address(to)), sender.hex(":"))


def _read_advertisement(content: bytes, sender: bytes) -> Reply | None:
    _, _, protocol, _, _, to = IPV6_HEADER.unpack_from(content)
    if protocol != ICMPV6:
        return None
    kind, _, _, _, target = NEIGHBOUR.unpack_from(content, IPV6_HEADER.size)
    if kind != ADVERTISE:
        return None
    return Reply(str(IPv6Address(target)), str(IPv6Address(to)), sender.hex(":"))


def _kind(address: str) -> int:
    return IPV6 if ip_address(address).version == 6 else ARP  # noqa: PLR2004 - there are two


@dataclass(slots=True, kw_only=True)
class Open:
    """A question that may still be answered."""

    vip: str
    at: Instant
    answers: list[tuple[Instant, str]] = field(default_factory=list)


class WireEye:
    """Asks for all VIPs, and collects the answers."""

    def __init__(self, place: Place, vips: Mapping[str, str], clock: Clock) -> None:
        self._place = place
        self._vips = {address: name for name, address in vips.items()}
        self._clock = clock
        self._ours = packed(place.ours)
        self._nodes: dict[str, str] = {}
        self._number = 0
        self._open: deque[Open] = deque()
        self._awaited: dict[tuple[str, str], Open] = {}
        self._by_kind = {
            kind: frames(place.holder, place.interface, kind)
            for kind in {_kind(each) for each in self._vips}
        }
        for each in self.sockets:
            each.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """What becomes readable when answers have come."""
        return tuple(self._by_kind.values())

    def knows(self, nodes: Mapping[str, str]) -> None:
        """Be told the nodes' names, by hardware address."""
        self._nodes = dict(nodes)

    def close(self) -> None:
        """Close it."""
        for each in self.sockets:
            each.close()

    def ask(self) -> None:
        """Ask for every VIP once."""
        for address, name in self._vips.items():
            asked = Open(vip=name, at=self._clock.now())
            self._open.append(asked)
            kind = _kind(address)
            source = asker(self._number, self._place.prefix)
            if kind == IPV6:
                source = str(asker_6(self._number))
            self._awaited[address, source] = asked
            with suppress(OSError):  # a network that is gone answers nothing, and is dark
                self._by_kind[kind].send(question(address, source, self._ours))
        self._number = (self._number + 1) % ASKERS

    def hear(self, eye: socket.socket) -> bool:
        """Take note of the answers that have come; return whether a VIP was announced as well."""
        announced = False
        for _ in range(BURST_MAX):
            try:
                frame, ancillary, _, _ = eye.recvmsg(FRAME_MAX, ANCILLARY_SIZE)
            except BlockingIOError:
                break
            announced = announced or is_announced(frame, self._vips)
            reply = read(frame)
            asked = self._awaited.get((reply.address, reply.asker)) if reply else None
            if reply is not None and asked is not None:
                who = self._nodes.get(reply.hardware, reply.hardware)
                asked.answers.append((self._arrived_at(ancillary), who))
        return announced

    def _arrived_at(self, ancillary: Sequence[tuple[int, int, bytes]]) -> Instant:
        """Return when the kernel received a frame, whenever we came to read it."""
        now, wall_us = self._clock.now(), self._clock.wall()
        for _, kind, content in ancillary:
            if kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = TIMESPEC.unpack_from(content)
                return now - max(wall_us - (int(seconds) * SECOND + int(nanoseconds) // 1_000), 0)
        return now

    def closed(self) -> Iterator[Asked]:
        """Return the questions that nobody can answer any more."""
        end_at = self._clock.now() - ANSWER_WITHIN_US
        while self._open and self._open[0].at <= end_at:
            asked = self._open.popleft()
            yield Asked(vip=asked.vip, at=asked.at, answers=tuple(sorted(asked.answers)))
