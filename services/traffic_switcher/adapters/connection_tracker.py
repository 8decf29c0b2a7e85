"""The kernel's connection tracker: entries that lead an address elsewhere, deleted.

The kernel keeps a translated connection on the path that it began with, whatever the rules say
since. Others keep no path: they are left alone, since to forget one that has just begun would
make its next segment look like a stranger's. Without the tracker's module there is nothing to
forget.

The kernel is asked for what it translates (since 5.15; older ones tell everything), and we pick
out what is the address's: asked for an IPv6 address, Linux (as of 6.18) tells all but that. This is
done in an ordinary thread, not in one that goes before other programs: the kernel's walk takes the
processor for 11 ms, and those who serve clients may have it first.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

from services.traffic_switcher.core.places import is_six
from shared.errors import SwitchError
from shared.instant import SECOND, Duration

NETLINK_NETFILTER = 12
CTNETLINK = 1 << 8
GET, DELETE = CTNETLINK | 1, CTNETLINK | 2
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
HEADER, HEADERS = 16, 20  # of netlink; and of netfilter's messages behind it
KIND = 0x3FFF  # without the marks for nested attributes and for the order of bytes
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_ID, CTA_ZONE, CTA_STATUS_MASK = 1, 2, 3, 12, 18, 26
TRANSLATED = (1 << 4, 1 << 5)  # bits of a status: the source was, the destination was
CTA_TUPLE_IP = 1
SOURCE_DESTINATION = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}
# About 40 entries: our other threads wait while they are looked through, which takes 0.3 ms where
# all are of the address, and go on while the kernel fills the next buffer.
BUFFER = 8_192
ANSWER_WITHIN_US: Duration = SECOND  # the kernel fills a buffer within the call
NOT_THERE = (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL)

Attributes: TypeAlias = dict[int, bytes]


_BESIDE = ThreadPoolExecutor(1, thread_name_prefix="tracker")  # ordinary: see above


async def forget(address: str) -> None:
    """Delete every entry that begins at an address, or leads to it, and is translated."""
    await asyncio.get_running_loop().run_in_executor(_BESIDE, _forget_here, address)


def _forget_here(address: str) -> None:
    family = socket.AF_INET6 if is_six(address) else socket.AF_INET
    try:
        with _apart(), closing(_Tracker(family)) as tracker:
            for status in TRANSLATED:
                for name in list(tracker.translated(socket.inet_pton(family, address), status)):
                    tracker.delete(name)
    except OSError as error:
        if error.errno not in NOT_THERE:
            why = error.strerror or "the kernel did not answer"
            raise SwitchError(f"connections of {address} cannot be forgotten: {why}") from error


@contextmanager
def _apart() -> Iterator[None]:
    """Keep this thread off the processor of the main thread, which renews leases.

    The kernel walks an almost empty table of 262,144 buckets in one go of 11 ms, and would make the
    main thread wait for its own processor although another one is idle.
    """
    allowed = os.sched_getaffinity(0)
    if others := allowed - {_processor_of_main()}:
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _processor_of_main() -> int:
    # Behind the program's name, which may hold anything, it is the 37th word.
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[36])


class _Tracker:
    """Netlink to the tracker of this network namespace, for one family of addresses."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._family = family
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.settimeout(ANSWER_WITHIN_US / SECOND)

    def close(self) -> None:
        self._socket.close()

    def translated(self, address: bytes, status: int) -> Iterator[bytes]:
        """Tell what names each translated entry that begins at an address or leads to it."""
        bits = struct.pack(">I", status)
        asked = _attribute(CTA_STATUS, bits) + _attribute(CTA_STATUS_MASK, bits)
        self._send(GET, NLM_F_DUMP, asked)
        for message in self._answers(address):
            found = _attributes(message, HEADERS)
            there = self._ends(found[CTA_TUPLE_ORIG])
            back = self._ends(found[CTA_TUPLE_REPLY])
            if address in there and back != there[::-1]:
                yield _name(found)

    def delete(self, name: bytes) -> None:
        """Delete an entry, unless it ended meanwhile."""
        self._send(DELETE, NLM_F_ACK, name)
        try:
            for _ in self._answers(b""):
                pass
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _ends(self, connection: bytes) -> tuple[bytes, bytes]:
        ends = _attributes(_attributes(connection)[CTA_TUPLE_IP])
        source, destination = SOURCE_DESTINATION[self._family]
        return ends[source], ends[destination]

    def _send(self, kind: int, flags: int, attributes: bytes) -> None:
        length = HEADERS + len(attributes)
        headers = (length, kind, NLM_F_REQUEST | flags, 1, 0, self._family, 0, 0)
        self._socket.send(struct.pack("=IHHIIBBH", *headers) + attributes)

    def _answers(self, about: bytes) -> Iterator[bytes]:
        """Tell the messages that hold some bytes, until the kernel has said all."""
        while True:
            answer = self._socket.recv(BUFFER)
            at = 0
            while at < len(answer):
                length, kind = struct.unpack_from("=IH", answer, at)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    return _raise_for(answer, at)
                if about in (message := answer[at : at + length]):
                    yield message
                at += _aligned(length)


def _name(found: Attributes) -> bytes:
    # With its number: another connection may take its place meanwhile.
    kinds = (CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID)
    return b"".join(_attribute(kind, found[kind]) for kind in kinds if kind in found)


def _raise_for(answer: bytes, at: int) -> None:
    (code,) = struct.unpack_from("=i", answer, at + HEADER)
    if code < 0:
        raise OSError(-code, os.strerror(-code))


def _attributes(content: bytes, at: int = 0) -> Attributes:
    found = {}
    while at + 4 <= len(content):
        length, kind = struct.unpack_from("=HH", content, at)
        found[kind & KIND] = content[at + 4 : at + length]
        at += max(4, _aligned(length))
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(_aligned(length) - length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
