"""Putting an address on an interface at once: one message to the kernel, and its answer.

The netlink of `addresses` knows all about links and addresses, and takes a thread and a loop of its
own to say it. Who takes a VIP over waits for this one message only.
"""

import os
import socket
import struct
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index of the interface
ATTRIBUTE = struct.Struct("=HH")  # length, type
LIFETIMES = struct.Struct("=IIII")  # preferred and valid, in seconds; the kernel's own two
ERROR = struct.Struct("=i")
NEWADDR, ANSWERED = 20, 2
NEW_ONLY = 0x1 | 0x4 | 0x200 | 0x400  # a request, to be answered: make it, if it is not there
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_CACHEINFO, IFA_PROTO = 1, 2, 3, 6, 11
ANSWER_MAX = 4_096  # octets; a refusal repeats our message, of 100
ANSWER_WITHIN_S = 1.0  # it is there when the message has been sent; anything else is a fault


class AddressLine:
    """A line to the kernel of its own; for one thread."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def put(self, given: Mapping[str, Any]) -> None:
        """Put a new address there, with pyroute2's names of its fields.

        Raises `OSError` if the kernel refuses it, also because it is there.
        """
        if self._socket is None:
            self._socket = _opened()
        try:
            self._socket.send(message(given))
            answer = self._socket.recv(ANSWER_MAX)
        except OSError:
            self.close()  # an answer that comes late is not taken for another's
            raise
        _, kind, _, _, _ = HEADER.unpack_from(answer)
        (code,) = ERROR.unpack_from(answer, HEADER.size)
        assert kind == ANSWERED
        if code:
            raise OSError(-code, os.strerror(-code))

    def close(self) -> None:
        """Hang up; addresses stay as they are."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def message(given: Mapping[str, Any]) -> bytes:
    """Return what the kernel is told of a new address."""
    at = ip_address(given["address"])
    family = socket.AF_INET if at.version == 4 else socket.AF_INET6  # noqa: PLR2004 - there are two
    parts = [
        ADDRESS.pack(family, given["prefixlen"], given.get("flags", 0), 0, given["index"]),
        _attribute(IFA_LOCAL, at.packed),
        _attribute(IFA_ADDRESS, at.packed),
        _attribute(IFA_CACHEINFO, LIFETIMES.pack(given["preferred_lft"], given["valid_lft"], 0, 0)),
        _attribute(IFA_PROTO, bytes([given["proto"]])),
    ]
    if "label" in given:
        parts.append(_attribute(IFA_LABEL, given["label"].encode() + b"\0"))
    content = b"".join(parts)
    return HEADER.pack(HEADER.size + len(content), NEWADDR, NEW_ONLY, 1, 0) + content


def _attribute(kind: int, value: bytes) -> bytes:
    size = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def _opened() -> socket.socket:
    line = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    line.settimeout(ANSWER_WITHIN_S)
    return line
