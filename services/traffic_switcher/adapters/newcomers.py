"""Keeps who begins a connection in the gap of a planned move, and passes it on as a switch would.

Between the guard that closes here and the one that opens there, a client's first segment would be
dropped, and repeated only after a second. So a packet socket is opened when the guard is closed:
such segments stay in its receive buffer, in the kernel, and nobody reads them. When somebody
claims the address on the wire, they are sent on to him as they came; and so is whoever comes
later, from neighbours who have not heard of the move. Whether he answers is for his own guard.

A segment may have been left without its checksum, for a network card to fill in: the kernel's own
metadata, which goes with each frame in and out again, says so.
"""

import asyncio
import socket
from dataclasses import dataclass
from functools import partial

from services.traffic_switcher.adapters.announcer import FORBIDDEN, open_filtered
from services.traffic_switcher.core.packet_filter import beginnings
from services.traffic_switcher.core.places import is_six
from shared.errors import SwitchError
from shared.frames import IPV4, IPV6, readdressed

METADATA = 10  # octets in front of a frame (struct virtio_net_hdr)
FRAME_MAX = 2_048  # octets; a first segment has less than 200
# What a socket keeps by itself is a few hundred: 20,000 new connections a second for the usual gap.
AT_ONCE = 64  # a storm must not hold up the loop; what is left wakes us again


@dataclass(slots=True)
class _Kept:
    """One VIP's socket, and who gets what it keeps; "" nobody yet."""

    wire: socket.socket
    hardware: str = ""


class WireNewcomers:
    """First segments to VIPs that drain here."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def hold_back(self, address: str, interface: str) -> None:
        """Keep them from now on; raises `SwitchError`."""
        self.let_go(address)
        kind = IPV6 if is_six(address) else IPV4
        try:
            wire = open_filtered(interface, kind, beginnings(address), metadata=True)
        except OSError as error:
            why = FORBIDDEN if isinstance(error, PermissionError) else error.strerror
            raise SwitchError(f"cannot hold back who comes to {address}: {why}") from error
        self._kept[address] = _Kept(wire)

    def pass_on(self, address: str, hardware: str) -> None:
        """Send those that are kept, and all that come, to a neighbour."""
        kept = self._kept.get(address)
        if kept is None:
            return
        if not kept.hardware:
            asyncio.get_running_loop().add_reader(kept.wire, partial(self._pass, address, kept))
        kept.hardware = hardware
        self._pass(address, kept)

    def let_go(self, address: str) -> None:
        """Do neither any more; what is kept is lost, and comes again by itself."""
        kept = self._kept.pop(address, None)
        if kept is None:
            return
        loop = asyncio.get_running_loop()
        if kept.hardware:
            loop.remove_reader(kept.wire)
        # The kernel takes 10 ms for it, and leases are renewed on the loop.
        _ = loop.run_in_executor(None, kept.wire.close)

    def close(self) -> None:
        """Let go of all."""
        for address in tuple(self._kept):
            self.let_go(address)

    def _pass(self, address: str, kept: _Kept) -> None:
        hardware = bytes.fromhex(kept.hardware.replace(":", ""))
        sender = kept.wire.getsockname()[4]
        try:
            for _ in range(AT_ONCE):
                came = kept.wire.recv(METADATA + FRAME_MAX)
                frame = readdressed(came[METADATA:], hardware, sender)
                kept.wire.send(came[:METADATA] + frame)
        except BlockingIOError:
            return
        except OSError:  # the link is down; who was kept comes again by himself
            self.let_go(address)
