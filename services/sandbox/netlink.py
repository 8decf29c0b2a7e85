"""As much netlink as the sandbox speaks: messages, attributes, requests and their answers.

Small and its own, because what observes Equipoise must not share its eyes: a fault of a library
that both use could hide from both.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")
ERROR = struct.Struct("=i")
ALIGNED = 4
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x400
TYPE_MASK = 0x3FFF  # of an attribute: without the flags for nesting and byte order
NESTED = 0x8000
RECEIVE_MAX = 1 << 16
BUFFER_SIZE = 1 << 22  # of an events' socket: a frozen reader must not lose any
ANSWER_WITHIN_S = 1.0  # the kernel answers within the call; anything else is a fault
ADD_MEMBERSHIP = 1
SOL_NETLINK = 270
NETLINK_NETFILTER = 12  # which `socket` does not name


class Message(NamedTuple):
    """One message, without its header."""

    kind: int
    content: bytes


def padded(content: bytes) -> bytes:
    """Return bytes up to the next boundary of four."""
    return content + bytes(-len(content) % ALIGNED)


def attribute(kind: int, content: bytes) -> bytes:
    """Return an attribute."""
    return padded(ATTRIBUTE.pack(ATTRIBUTE.size + len(content), kind) + content)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute made of attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, content: str) -> bytes:
    """Return an attribute with a text."""
    return attribute(kind, content.encode() + b"\0")


def attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Read attributes; what is torn ends them."""
    place = 0
    while place + ATTRIBUTE.size <= len(content):
        length, kind = ATTRIBUTE.unpack_from(content, place)
        if length < ATTRIBUTE.size:
            return
        yield kind & TYPE_MASK, content[place + ATTRIBUTE.size : place + length]
        place += length + -length % ALIGNED


def message(kind: int, flags: int, sequence: int, content: bytes) -> bytes:
    """Return a message with its header."""
    return MESSAGE.pack(MESSAGE.size + len(content), kind, flags, sequence, 0) + padded(content)


def messages(content: bytes) -> Iterator[Message]:
    """Read what one datagram holds."""
    place = 0
    while place + MESSAGE.size <= len(content):
        length, kind, _, _, _ = MESSAGE.unpack_from(content, place)
        if length < MESSAGE.size:
            return
        yield Message(kind, content[place + MESSAGE.size : place + length])
        place += length + -length % ALIGNED


class Netlink:
    """A netlink socket of one family, in the namespace in which it is made."""

    def __init__(self, family: int, groups: Sequence[int] = ()) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        self.socket.bind((0, 0))
        self.socket.settimeout(ANSWER_WITHIN_S)
        if groups:
            self.socket.setblocking(False)  # noqa: FBT003
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_SIZE)
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """Return the descriptor, for waiting."""
        return self.socket.fileno()

    def close(self) -> None:
        """Let go of it."""
        self.socket.close()

    def receive(self) -> list[Message]:
        """Return what one datagram of events holds, nothing if there is none."""
        try:
            return list(messages(self.socket.recv(RECEIVE_MAX)))
        except BlockingIOError:
            return []

    def dump(self, kind: int, content: bytes) -> list[Message]:
        """Ask for all of something."""
        self.socket.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, 1, content))
        found: list[Message] = []
        while True:
            for part in messages(self.socket.recv(RECEIVE_MAX)):
                if part.kind == NLMSG_DONE:
                    return found
                _check(part)
                found.append(part)

    def change(self, *parts: bytes, acks: int) -> None:
        """Send messages as one; raise what the kernel has against any of them."""
        self.socket.send(b"".join(parts))
        while acks:
            for part in messages(self.socket.recv(RECEIVE_MAX)):
                if part.kind == NLMSG_ERROR:
                    _check(part)
                    acks -= 1


def _check(part: Message) -> None:
    if part.kind == NLMSG_ERROR:
        (code,) = ERROR.unpack_from(part.content)
        if code:
            raise OSError(-code, os.strerror(-code))
