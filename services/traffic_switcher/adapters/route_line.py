"""Links and addresses as the kernel has them: routing netlink, one question and its answer.

The kernel answers within the call that asks: after 0.1 ms, or 1 ms where there are a hundred links,
or when whoever changes links in that moment has done.
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from shared.instant import SECOND, Duration

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
LINK = struct.Struct("=BxHiII")  # family, type, index, flags, changed ones
ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index of the interface
ATTRIBUTE = struct.Struct("=HH")  # length, type
LIFETIMES = struct.Struct("=IIII")  # preferred and valid, in seconds; the kernel's own two
NUMBER, ERROR = struct.Struct("=I"), struct.Struct("=i")
NEWLINK, GETLINK, NEWADDR, DELADDR, GETADDR = 16, 18, 20, 21, 22
REQUEST, ACKNOWLEDGE, INTERRUPTED, DUMP = 0x1, 0x4, 0x10, 0x300
EXCLUSIVE, REPLACING, CREATING = 0x200, 0x100, 0x400
IFLA_NAME, IFLA_MASK = 3, 29
WITHOUT_STATISTICS = 0x8  # they are two thirds of what is said of a link
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS, IFA_PROTO = 1, 2, 3, 6, 8, 11
KIND = 0x3FFF  # without the marks for nested attributes and for the order of bytes
FOR_EVER_S = 2**32 - 1
INTERRUPTED_MAX = 5  # a list that changed while the kernel told it is asked for again
BUFFER = 65_536  # the kernel fills 32 KiB of it at the most
ANSWER_WITHIN_US: Duration = SECOND  # it is there when the question is sent; else it is a fault


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLink:
    """A link as the kernel tells it."""

    index: int
    name: str
    flags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAddress:
    """An address as the kernel tells it, or is to have it."""

    index: int  # of its interface
    address: str
    prefix: int
    flags: int = 0
    label: str = ""
    protocol: int | None = None  # None: not told, as by kernels before 5.18
    valid_s: int = FOR_EVER_S


class RouteLine:
    """A line to the kernel of its own; for one thread. Everything raises `OSError`."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def links(self) -> tuple[SeenLink, ...]:
        """Return all links."""
        mask = _attribute(IFLA_MASK, NUMBER.pack(WITHOUT_STATISTICS))
        told = self._told(GETLINK, LINK.pack(0, 0, 0, 0, 0) + mask, NEWLINK)
        return tuple(map(_seen_link, told))

    def addresses(self) -> tuple[SeenAddress, ...]:
        """Return all addresses."""
        return tuple(map(_seen_address, self._told(GETADDR, ADDRESS.pack(0, 0, 0, 0, 0), NEWADDR)))

    def put(self, address: SeenAddress) -> None:
        """Put a new one there; it is refused if it is there."""
        self._change(NEWADDR, CREATING | EXCLUSIVE, _given(address))

    def replace(self, address: SeenAddress) -> None:
        """Put it there, or keep it with these values."""
        self._change(NEWADDR, CREATING | REPLACING, _given(address))

    def delete(self, address: SeenAddress) -> None:
        """Remove it."""
        self._change(DELADDR, 0, _named(address))

    def close(self) -> None:
        """Hang up; addresses stay as they are."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _change(self, kind: int, flags: int, content: bytes) -> None:
        for _, answer in self._ask(kind, flags | ACKNOWLEDGE, content):
            _raise_for(answer)
            return

    def _told(self, kind: int, content: bytes, wanted: int) -> list[bytes]:
        for _ in range(INTERRUPTED_MAX):
            found: list[bytes] = []
            is_torn = False
            for (_, told, flags, *_), message in self._ask(kind, DUMP, content):
                is_torn = is_torn or bool(flags & INTERRUPTED)
                if told == wanted:
                    found.append(message)
                    continue
                _raise_for(message)  # an error, or the end
                break
            if not is_torn:
                return found
        raise OSError(0, "the list changes faster than it can be read")

    def _ask(
        self, kind: int, flags: int, content: bytes
    ) -> Iterator[tuple[tuple[int, ...], bytes]]:
        """Yield what the kernel answers, message by message, until the caller has heard enough."""
        if self._socket is None:
            self._socket = _opened()
        try:
            self._socket.send(
                HEADER.pack(HEADER.size + len(content), kind, REQUEST | flags, 1, 0) + content
            )
            while True:
                yield from _messages(self._socket.recv(BUFFER))
        except OSError:
            self.close()  # an answer that comes late is not taken for another's
            raise


def _opened() -> socket.socket:
    line = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    line.settimeout(ANSWER_WITHIN_US / SECOND)
    return line


def _messages(answer: bytes) -> Iterator[tuple[tuple[int, ...], bytes]]:
    at = 0
    while at + HEADER.size <= len(answer):
        head = HEADER.unpack_from(answer, at)
        yield head, answer[at + HEADER.size : at + head[0]]
        at += max(_aligned(head[0]), HEADER.size)


def _raise_for(answer: bytes) -> None:
    (code,) = ERROR.unpack_from(answer)
    if code:
        raise OSError(-code, os.strerror(-code))


def _seen_link(message: bytes) -> SeenLink:
    _, _, index, flags, _ = LINK.unpack_from(message)
    name = _attributes(message, LINK.size).get(IFLA_NAME, b"")
    return SeenLink(index=index, name=_text(name), flags=flags)


def _seen_address(message: bytes) -> SeenAddress:
    _, prefix, flags, _, index = ADDRESS.unpack_from(message)
    found = _attributes(message, ADDRESS.size)
    valid_s = FOR_EVER_S
    if IFA_CACHEINFO in found:
        _, valid_s, _, _ = LIFETIMES.unpack(found[IFA_CACHEINFO])
    if IFA_FLAGS in found:  # those that do not fit into the old field
        (flags,) = NUMBER.unpack(found[IFA_FLAGS])
    return SeenAddress(
        index=index,
        address=str(ip_address(found.get(IFA_LOCAL) or found[IFA_ADDRESS])),  # of a peer, if both
        prefix=prefix,
        flags=flags,
        label=_text(found.get(IFA_LABEL, b"")),
        protocol=found[IFA_PROTO][0] if IFA_PROTO in found else None,
        valid_s=valid_s,
    )


def _named(address: SeenAddress) -> bytes:
    at = ip_address(address.address)
    family = socket.AF_INET if at.version == 4 else socket.AF_INET6  # noqa: PLR2004 - there are two
    head = ADDRESS.pack(family, address.prefix, address.flags, 0, address.index)
    return head + _attribute(IFA_LOCAL, at.packed) + _attribute(IFA_ADDRESS, at.packed)


def _given(address: SeenAddress) -> bytes:
    """Return what the kernel is told of an address that it is to have.

    Deprecated from the beginning, so that this machine's own connections never begin there.
    """
    parts = [_named(address), _attribute(IFA_CACHEINFO, LIFETIMES.pack(0, address.valid_s, 0, 0))]
    if address.protocol is not None:
        parts.append(_attribute(IFA_PROTO, bytes([address.protocol])))
    if address.label:
        parts.append(_attribute(IFA_LABEL, address.label.encode() + b"\0"))
    return b"".join(parts)


def _attributes(content: bytes, at: int) -> Mapping[int, bytes]:
    found = {}
    while at + ATTRIBUTE.size <= len(content):
        length, kind = ATTRIBUTE.unpack_from(content, at)
        found[kind & KIND] = content[at + ATTRIBUTE.size : at + length]
        at += max(_aligned(length), ATTRIBUTE.size)
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    size = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
