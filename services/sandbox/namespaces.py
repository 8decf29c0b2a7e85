"""Sockets in the network namespaces of others: a socket belongs to where it was opened."""

import ctypes
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

CLONE_NEWNET = 0x40000000  # of sched.h; `os.setns` comes only with Python 3.12

Opened = TypeVar("Opened")
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def within(holder: int) -> Iterator[None]:
    """Be in the network namespace of a process; only this thread, and only for opening sockets."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(f"/proc/{holder}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            yield
        finally:
            _enter(ours)
    finally:
        os.close(ours)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"a network namespace cannot be entered: {os.strerror(number)}")


def opened(holder: int, make: Callable[[], Opened]) -> Opened:
    """Return what is made within the network namespace of a process."""
    with within(holder):
        return make()


def frames(holder: int, interface: str, kind: int) -> socket.socket:
    """Return a socket for one kind of frame on an interface of a process's namespace."""

    def make() -> socket.socket:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
        found.bind((interface, kind))
        return found

    return opened(holder, make)
