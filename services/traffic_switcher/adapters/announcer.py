"""Announcing on the wire, and hearing who else claims our addresses there.

The sockets stay open: to close one costs 10 ms. Frames go out past the kernel's own ARP, so that
whoever calls this must hold the lease at that moment.
"""

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from fcntl import ioctl
from functools import partial

from services.traffic_switcher.core.packet_filter import Instruction, program
from services.traffic_switcher.core.places import is_six
from shared.errors import SwitchError
from shared.frames import ARP, IPV6, announcements, claim, hardware_text, question

FRAME_MAX = 2_048  # octets; claims have 90
# A storm of claims must not hold up the loop; what is left wakes us again.
CLAIMS_AT_ONCE = 64
ETHERNET = 1  # ARPHRD_ETHER
SO_ATTACH_FILTER = 26
SOL_PACKET, PACKET_VNET_HDR = 263, 15
SIOCGIFHWADDR = 0x8927
NAME_MAX = 16
FORBIDDEN = "it needs CAP_NET_RAW, so run the switcher as root or give it that capability"


class WireAnnouncer:
    """Announces our VIPs on their interfaces, and listens there for others who do so."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._addresses = tuple(addresses)
        self._wires: dict[tuple[int, int], socket.socket] = {}  # by interface's index and kind
        self._claimed: Callable[[str, str, str], None] | None = None
        self._own: frozenset[str] = frozenset()

    def announce(self, address: str, interface: str) -> None:
        """Say it once, on the wire; raises `SwitchError`."""
        assert address in self._addresses
        kind = IPV6 if is_six(address) else ARP
        try:
            self._say(address, interface, kind)
        except OSError as error:
            why = FORBIDDEN if isinstance(error, PermissionError) else error.strerror
            raise SwitchError(f"cannot announce {address} on {interface}: {why}") from error

    def listen(self, claimed: Callable[[str, str, str], None]) -> None:
        """Call back with (address, hardware address, interface) for every foreign claim.

        Heard are the interfaces that were announced on: claims matter to those who hold.
        """
        assert self._claimed is None
        self._claimed = claimed
        for at, wire in self._wires.items():
            self._hear_on(at, wire)

    def close(self) -> None:
        """End."""
        for at in tuple(self._wires):
            self._drop(at)
        self._claimed = None

    # -- sockets -------------------------------------------------------------------------

    def _say(self, address: str, interface: str, kind: int) -> None:
        index = socket.if_nametoindex(interface)
        try:
            wire = self._wires.get((index, kind)) or self._open(index, interface, kind)
            family, hardware = wire.getsockname()[3:]
            if family == ETHERNET:  # others, such as a loopback, have no neighbours to tell
                # A stranger who has it and only answers is heard by his answer.
                for frame in (*announcements(hardware, address), question(hardware, address)):
                    wire.send(frame)
        except OSError:
            self._drop((index, kind))
            raise

    def _open(self, index: int, interface: str, kind: int) -> socket.socket:
        wire = open_filtered(interface, kind, program(kind, self._addresses))
        self._wires[index, kind] = wire
        if self._claimed is not None:
            self._hear_on((index, kind), wire)
        return wire

    def _hear_on(self, at: tuple[int, int], wire: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(wire, partial(self._hear, at, wire))

    def _drop(self, at: tuple[int, int]) -> None:
        wire = self._wires.pop(at, None)
        if wire is not None:
            if self._claimed is not None:
                asyncio.get_running_loop().remove_reader(wire)
            wire.close()

    # -- claims --------------------------------------------------------------------------

    def _hear(self, at: tuple[int, int], wire: socket.socket) -> None:
        for _ in range(CLAIMS_AT_ONCE):
            try:
                frame = wire.recv(FRAME_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                # The link is down, and may come back; an interface that has gone will not.
                if error.errno != errno.ENETDOWN or not _is_there(at[0]):
                    self._drop(at)
                return
            self._judge(frame, at[0])

    def _judge(self, frame: bytes, index: int) -> None:
        said = claim(frame)
        if said is None or said.address not in self._addresses:
            return
        if said.hardware not in self._own:
            self._own = own_hardware()  # interfaces come and go
        if said.hardware not in self._own and self._claimed is not None:
            with suppress(OSError):  # it has gone meanwhile
                self._claimed(said.address, said.hardware, socket.if_indextoname(index))


def own_hardware() -> frozenset[str]:
    """Return the hardware addresses of all interfaces of this machine."""
    found: set[str] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has gone meanwhile
                request = struct.pack(f"{NAME_MAX}s24x", name.encode())
                answer = ioctl(asking, SIOCGIFHWADDR, request)
                found.add(hardware_text(answer[18:24]))
    return frozenset(found)


def _is_there(index: int) -> bool:
    return index in dict(socket.if_nameindex())


def open_filtered(
    interface: str, kind: int, instructions: tuple[Instruction, ...], *, metadata: bool = False
) -> socket.socket:
    """Return a packet socket that hears what its filter passes of one kind, and nothing else.

    With `metadata` each frame has the kernel's own in front (`struct virtio_net_hdr`).
    """
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
    try:
        # It hears nothing until it is bound: nothing passes that the filter has not seen.
        _attach(wire, instructions)
        if metadata:
            wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        wire.bind((interface, kind))
    except OSError:
        wire.close()
        raise
    return wire


def _attach(wire: socket.socket, instructions: tuple[Instruction, ...]) -> None:
    content = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    program_at = ctypes.create_string_buffer(content, len(content))
    head = struct.pack("HP", len(instructions), ctypes.addressof(program_at))
    wire.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
