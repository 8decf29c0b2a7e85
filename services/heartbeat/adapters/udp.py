"""Beats over one UDP socket: signed when sent, verified when read."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from services.heartbeat.core.datagram import SIZE_MAX, Datagram, Rejection, seal, unseal
from shared.cluster import Cluster
from shared.errors import MachineError

# Datagrams read before the event loop runs other things again: a flood must not starve the beats.
READ_MAX = 64

# What was read, and the member that has the sender's address; "" nobody has it.
Listener = Callable[[Datagram | Rejection, str], None]


class UdpBeats:
    """This member's end of the direct path to every peer."""

    def __init__(self, cluster: Cluster, member: str, key: bytes) -> None:
        self._cluster = cluster.name
        self._key = key
        self._own = cluster.members[member].address
        self._port = cluster.heartbeat.port
        self._addresses: Mapping[str, tuple[str, int]] = {
            name: (node.address, self._port) for name, node in cluster.members.items()
        }
        self._members = {address: name for name, (address, _) in self._addresses.items()}
        self._socket: socket.socket | None = None

    def open(self, listener: Listener) -> None:
        """Listen on the member's own address; raise `MachineError` if that cannot be."""
        family = socket.AF_INET6 if ip_address(self._own).version == 6 else socket.AF_INET  # noqa: PLR2004 - the number is the name
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)  # noqa: FBT003 - positional by its own definition
            opened.bind((self._own, self._port))
        except OSError as error:
            opened.close()
            raise MachineError(
                f"cannot listen for beats on {self._own} UDP port {self._port}: {error.strerror};"
                " is the address this machine's, and is the port free (heartbeat.port)?"
            ) from error
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened.fileno(), self._read, opened, listener)

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

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self, opened: socket.socket, listener: Listener) -> None:
        for _ in range(READ_MAX):
            try:
                # One byte more than the largest beat shows what is larger; the rest is cut off.
                payload, source = opened.recvfrom(SIZE_MAX + 1)
            except OSError:
                return  # nothing left, or the echo of a refused beat of ours
            read = unseal(payload, cluster=self._cluster, key=self._key)
            listener(read, self._members.get(source[0], ""))
