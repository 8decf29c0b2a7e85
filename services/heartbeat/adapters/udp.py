"""Beats over one UDP socket: signed when sent, verified when read.

Nobody is woken by a beat that arrives: a wake-up costs far more than reading does, and whatever is
said of it is said on our own next beat. Beats wait in the socket, where the kernel writes down when
each one arrived, until they are collected.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from services.heartbeat.core.datagram import SIZE_MAX, Datagram, Rejection, seal, unseal
from shared.clock import Clock
from shared.cluster import Cluster
from shared.errors import MachineError
from shared.instant import SECOND, Duration

# Read at a time: a hundred members' beats of half a second. A flood must not starve our beats: so
# many bad ones take some 10 ms.
READ_MAX = 1_024
# What may wait: the kernel grants what the machine allows, by default a few hundred beats. After a
# pause long enough to fill it, nothing in it says when anybody was heard.
WAITING_SIZE = 1_048_576
# Linux's number for "when did it arrive, by the time of day", asked for and given.
SO_TIMESTAMPNS = 35
STAMP = struct.Struct("@qq")  # seconds, nanoseconds
STAMP_SPACE = socket.CMSG_SPACE(STAMP.size)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What was read, and what is known of its coming."""

    read: Datagram | Rejection
    member: str  # who has the sender's address; "" nobody has it
    age_us: Duration  # since it arrived


class UdpBeats:
    """This member's end of the direct path to every peer."""

    def __init__(self, cluster: Cluster, member: str, key: bytes, clock: Clock) -> None:
        self._clock = clock
        self._emptied_at = clock.now()  # whatever waits now has arrived since
        self._cluster = cluster.name
        self._key = key
        self._own = cluster.members[member].address
        self._port = cluster.heartbeat.port
        self._addresses: Mapping[str, tuple[str, int]] = {
            name: (node.address, self._port) for name, node in cluster.members.items()
        }
        self._members = {address: name for name, (address, _) in self._addresses.items()}
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Listen on the member's own address; raise `MachineError` if that cannot be."""
        family = socket.AF_INET6 if ip_address(self._own).version == 6 else socket.AF_INET  # noqa: PLR2004 - the number is the name
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)  # noqa: FBT003 - positional by its own definition
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAITING_SIZE)
            opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            opened.bind((self._own, self._port))
        except OSError as error:
            opened.close()
            raise MachineError(
                f"cannot listen for beats on {self._own} UDP port {self._port}: {error.strerror};"
                " is the address this machine's, and is the port free (heartbeat.port)?"
            ) from error
        self._socket = opened

    def send(self, datagram: Datagram) -> bool:
        """Send a beat now or not at all: a beat that waited would lie about its time."""
        assert self._socket is not None
        payload = seal(datagram, cluster=self._cluster, key=self._key)
        try:
            self._socket.sendto(payload, self._addresses[datagram.receiver])
        except OSError:
            # No route, no neighbour, no buffer, or an earlier beat was refused: the peer's
            # silence will show it, and the next beat tries again.
            return False
        return True

    def collect(self) -> Iterator[Arrival]:
        """Yield what has arrived since the last time, oldest first; nothing once it is closed."""
        if self._socket is None:
            return
        now, wall = self._clock.now(), self._clock.wall()
        oldest_us = now - self._emptied_at
        for _ in range(READ_MAX):
            try:
                # One byte more than the largest beat shows what is larger; the rest is cut off.
                payload, notes, _, source = self._socket.recvmsg(SIZE_MAX + 1, STAMP_SPACE)
            except BlockingIOError:
                self._emptied_at = now
                return
            except OSError:
                continue  # the echo of a refused beat of ours
            # Whoever sets the time of day meanwhile cannot make it older or newer than can be.
            age_us = min(max(wall - _arrived_wall(notes, wall), 0), oldest_us)
            read = unseal(payload, cluster=self._cluster, key=self._key)
            yield Arrival(read, self._members.get(source[0], ""), age_us)

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _arrived_wall(notes: list[tuple[int, int, bytes]], unknown: int) -> int:
    """Return when the kernel received a datagram, in microseconds of the time of day."""
    for level, kind, content in notes:
        if (level, kind, len(content)) == (socket.SOL_SOCKET, SO_TIMESTAMPNS, STAMP.size):
            seconds, nanoseconds = STAMP.unpack(content)
            return int(seconds * SECOND + nanoseconds // 1_000)
    return unknown
