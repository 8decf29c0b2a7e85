"""Asking the wire who answers for an address: what a client's kernel does, made visible."""

import asyncio
import socket
from contextlib import suppress

from shared.errors import MachineError
from shared.frames import ARP, IPV6, claim, question
from shared.instant import SECOND, Duration

FRAME_MAX = 2_048  # octets; what we ask for is answered in 90


def open_wire(interface: str, kind: int) -> socket.socket:
    """Return a socket on an interface for one kind of frame (`frames.ARP`, `frames.IPV6`)."""
    try:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
    except PermissionError:
        raise MachineError(
            "this process may not read frames: it needs CAP_NET_RAW,"
            " so run it as root or give it that capability"
        ) from None
    try:
        wire.bind((interface, kind))
    except OSError as error:
        wire.close()
        raise MachineError(f"no frames of {interface} can be read: {error.strerror}") from error
    return wire


async def who_answers(interface: str, address: str, within_us: Duration) -> frozenset[str]:
    """Ask once, and return all hardware addresses that claimed the address within that time."""
    found: set[str] = set()
    with open_wire(interface, IPV6 if ":" in address else ARP) as wire:
        wire.send(question(wire.getsockname()[4], address))
        with suppress(TimeoutError):
            async with asyncio.timeout(within_us / SECOND):
                while True:
                    frame = await asyncio.get_running_loop().sock_recv(wire, FRAME_MAX)
                    said = claim(frame)
                    if said is not None and said.address == address:
                        found.add(said.hardware)
    return frozenset(found)
