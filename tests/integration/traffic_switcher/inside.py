"""A program in a network namespace: does there what a test asks, until its input ends.

Run as `python -m tests.integration.traffic_switcher.inside`; see `namespaces` for the other side.
"""

import errno
import itertools
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from services.traffic_switcher.adapters.guard import NftGuard
from services.traffic_switcher.adapters.ports import Guard
from shared import libnftables
from shared.clock import SystemClock
from shared.cluster import Cluster, VirtualIp
from shared.errors import EquipoiseError, SwitchError
from shared.instant import MILLISECOND, SECOND, Duration
from shared.libnftables import Libnftables
from tests.eventually import PATIENCE_S
from tests.unit.traffic_switcher.play import cluster

ARP = 0x0806
IPV6 = 0x86DD
SOLICIT, ADVERTISE = 135, 136
PATIENCE = 50  # permits for one renewal
BROADCAST = b"\xff" * 6


class LeapingClock:
    """The real clock, which at each of the next readings leaps, as if we had been frozen."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self._ahead_us = 0
        self.leaps: list[int] = []

    def now(self) -> int:
        if self.leaps:
            self._ahead_us += self.leaps.pop(0)
        return self._real.now() + self._ahead_us

    def wall(self) -> int:
        return self._real.wall()

    async def sleep(self, duration_us: int) -> None:
        await self._real.sleep(duration_us)


class LackingKernel:
    """The kernel without something that newer or richer ones have."""

    def __init__(self, kernel: Libnftables, lacks: str) -> None:
        self._kernel = kernel
        self._lacks = lacks

    def run(self, text: str) -> str:
        if self._lacks in text:
            raise SwitchError("nftables refuses: Operation not supported")
        return self._kernel.run(text)


class Inside:
    """What can be asked for; every method but those with an underscore."""

    def __init__(self) -> None:
        self._clock = LeapingClock()
        self._connections: dict[str, socket.socket] = {}
        self._kernel: Libnftables | None = None
        self._guard: NftGuard | None = None
        self._tokens = itertools.count(1_000)

    def guard(self, vips: dict[str, str], lacks: str = "", interface: str | None = None) -> None:
        """Make a guard; in whose kernel some word of the language is unknown."""
        self._kernel = libnftables.find(os.environ)
        lacking = LackingKernel(self._kernel, lacks) if lacks else self._kernel
        self._guard = NftGuard(lacking, cluster_of(vips, interface), self._clock)

    def guarding(self, call: str, *arguments: Any, **named: Any) -> Any:
        assert self._guard is not None
        found = getattr(self._guard, call)
        answer = found(*arguments, **named) if callable(found) else found
        return dict(answer) if isinstance(answer, dict) else answer

    def holds(self, addresses: list[str], for_us: int, leaps: tuple[int, ...] = ()) -> bool:
        """Renew these here, where a permit has no far way to go; the clock leaps after it."""
        assert self._guard is not None
        try:
            permitted = partial(self.leap, *leaps)
            return renewed(self._guard, self._tokens, addresses, for_us, permitted)
        finally:
            self.leap()

    def leap(self, *leaps: int) -> None:
        self._clock.leaps = list(leaps)

    def now(self) -> int:
        return SystemClock().now()

    def nft(self, text: str) -> str:
        self._kernel = self._kernel or libnftables.find(os.environ)
        return self._kernel.run(text)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def set(self, path: str, value: str) -> None:
        Path("/proc/sys/net", path).write_text(value)

    def hardware(self, interface: str) -> str:
        return _hardware(interface).hex(":")

    def asks_arp(self, interface: str, address: str, within_ms: int) -> str | None:
        """Ask who has an address, and return the hardware address of him who says so."""
        with _wire(interface, ARP) as wire:
            mine = _hardware(interface)
            wire.send(BROADCAST + mine + _arp(1, mine, "0.0.0.0", address))
            return _heard(wire, within_ms, lambda packet: _arp_answer(packet, address))

    def announces_arp(self, interface: str, address: str) -> str:
        """Claim an address unasked, from a packet socket; "" or the error's name."""
        with _wire(interface, ARP) as wire:
            mine = _hardware(interface)
            return _sent(lambda: wire.send(BROADCAST + mine + _arp(2, mine, address, address)))

    def hears_announced(self, interface: str, address: str, within_ms: int) -> str | None:
        """Wait for an announcement of an address; who made it."""
        with _wire(interface, ARP if "." in address else IPV6) as wire:
            sys.stdout.write('"listening"\n')
            sys.stdout.flush()
            read = _arp_answer if "." in address else _advertisement
            return _heard(wire, within_ms, lambda packet: read(packet, address))

    def asks_neighbour(
        self, interface: str, source: str, address: str, within_ms: int
    ) -> str | None:
        """Solicit a neighbour, and return the hardware address of him who advertises."""
        with _wire(interface, IPV6) as wire:
            mine = _hardware(interface)
            body = bytes(4) + ip_address(address).packed + b"\x01\x01" + mine
            wire.send(_icmp6(mine, SOLICIT, body, source, _solicited(address)))
            return _heard(wire, within_ms, lambda packet: _advertisement(packet, address))

    def advertises(self, interface: str, source: str, address: str) -> str:
        """Claim an address unasked, from a packet socket; "" or the error's name."""
        with _wire(interface, IPV6) as wire:
            mine = _hardware(interface)
            body = b"\x20\x00\x00\x00" + ip_address(address).packed + b"\x02\x01" + mine
            return _sent(lambda: wire.send(_icmp6(mine, ADVERTISE, body, source, "ff02::1")))

    def advertises_by_kernel(self, source: str, address: str, interface: str) -> str:
        """Claim an address unasked, from a raw socket of IPv6; "" or the error's name."""
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.bind((source, 0))
            body = struct.pack("!BBHI", ADVERTISE, 0, 0, 0x20000000) + ip_address(address).packed
            options = b"\x02\x01" + _hardware(interface)
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            index = socket.if_nametoindex(interface)
            return _sent(lambda: raw.sendto(body + options, ("ff02::1", 0, 0, index)))

    def sends_from(self, source: str, to: str) -> str:
        """Send a datagram from an address of ours; "" or the error's name."""
        with socket.socket(_of(source), socket.SOCK_DGRAM) as datagram:
            datagram.bind((source, 0))
            return _sent(lambda: datagram.sendto(b"x", (to, 9)))

    def pings(self, address: str, within_ms: int) -> bool:
        version = ip_address(address).version
        kind, echo, answer = (
            (socket.IPPROTO_ICMP, 8, 0) if version == 4 else (socket.IPPROTO_ICMPV6, 128, 129)
        )
        with socket.socket(_of(address), socket.SOCK_RAW, kind) as raw:
            body = struct.pack("!BBHHH", echo, 0, 0, os.getpid() & 0xFFFF, 1)
            checked = struct.pack("!BBHHH", echo, 0, _checksum(body), os.getpid() & 0xFFFF, 1)
            raw.sendto(checked, (address, 0))
            skip = 20 if version == 4 else 0
            return bool(
                _heard(raw, within_ms, lambda packet: "x" if packet[skip] == answer else None)
            )

    def serves(self, port: int, name: str) -> None:
        """Answer every line on this port, on every address, with our name and the line."""
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        threading.Thread(target=_serve, args=(listener, name), daemon=True).start()

    def opens(self, name: str, address: str, port: int, within_ms: int) -> bool:
        """Open a connection and keep it under a name."""
        try:
            self._connections[name] = socket.create_connection((address, port), within_ms / 1_000)
        except OSError:
            return False
        return True

    def says(self, name: str, line: str, within_ms: int) -> str:
        """Say a line on an open connection; the answer, or the error's name."""
        connection = self._connections[name]
        connection.settimeout(within_ms / 1_000)
        try:
            connection.sendall(f"{line}\n".encode())
            return connection.recv(4_096).decode().strip() or "closed"
        except TimeoutError:
            return "silence"
        except OSError as error:
            return errno.errorcode[error.errno or 0]


def renewed(
    guard: Guard,
    tokens: Iterator[int],
    addresses: Iterable[str],
    rest_us: Duration,
    permitted: Callable[[], object] = lambda: None,
) -> bool:
    """Renew by a fresh permit; one may run out on its way, on a busy machine."""
    rests = dict.fromkeys(addresses, rest_us)
    for token in itertools.islice(tokens, PATIENCE):
        guard.permit(token)
        permitted()
        if guard.renew(token, rests):
            return True
    return False


def cluster_of(vips: dict[str, str], interface: str | None = None) -> Cluster:
    """Return a cluster with these addresses."""
    virtual = {
        name: VirtualIp(name=name, address=address, prefix=24, home="node-a", interface=interface)
        for name, address in vips.items()
    }
    return replace(cluster(), vips=virtual)


def _wire(interface: str, kind: int) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    wire.bind((interface, kind))
    return wire


def _hardware(interface: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((interface, 0))
        return bytes(wire.getsockname()[4])


def _arp(operation: int, sender: bytes, sender_address: str, address: str) -> bytes:
    head = struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, operation)
    return head + sender + ip_address(sender_address).packed + bytes(6) + ip_address(address).packed


def _arp_answer(packet: bytes, address: str) -> str | None:
    """Return who answers for an address in an ARP packet."""
    is_answer = packet[20:22] == b"\x00\x02" and packet[28:32] == ip_address(address).packed
    return packet[22:28].hex(":") if is_answer else None


def _advertisement(packet: bytes, address: str) -> str | None:
    is_answer = packet[54] == ADVERTISE and packet[62:78] == ip_address(address).packed
    return packet[6:12].hex(":") if len(packet) >= 78 and is_answer else None


def _icmp6(mine: bytes, kind: int, body: bytes, source: str, to: str) -> bytes:
    ends = ip_address(source).packed + ip_address(to).packed
    message = bytes([kind, 0, 0, 0]) + body
    pseudo = ends + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
    message = bytes([kind, 0]) + struct.pack("!H", _checksum(pseudo + message)) + body
    head = struct.pack("!IHBB", 0x60000000, len(message), socket.IPPROTO_ICMPV6, 255)
    multicast = b"\x33\x33" + ip_address(to).packed[-4:]
    return multicast + mine + struct.pack("!H", IPV6) + head + ends + message


def _solicited(address: str) -> str:
    low = ip_address(address).packed[-3:].hex()
    return f"ff02::1:ff{low[:2]}:{low[2:]}"


def _checksum(packet: bytes) -> int:
    packet += bytes(len(packet) % 2)
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def _heard(wire: socket.socket, within_ms: int, read: Callable[[bytes], str | None]) -> str | None:
    """Return what is read from the first packet that means something."""
    clock = SystemClock()
    deadline = clock.now() + within_ms * MILLISECOND
    while (rest_us := deadline - clock.now()) > 0:
        if select.select([wire], [], [], rest_us / SECOND)[0]:
            found = read(wire.recv(2_048))
            if found is not None:
                return found
    return None


def _sent(send: Callable[[], object]) -> str:
    try:
        send()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def _of(address: str) -> socket.AddressFamily:
    return socket.AF_INET if "." in address else socket.AF_INET6


def _serve(listener: socket.socket, name: str) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection, name), daemon=True).start()


def _answer(connection: socket.socket, name: str) -> None:
    with connection, connection.makefile("rw") as lines:
        try:
            for line in lines:
                lines.write(f"{name} {line}")
                lines.flush()
        except OSError:
            return


def main() -> None:
    """Say that we are there, then answer until there is nobody to ask."""
    inside = Inside()
    sys.stdout.write('"there"\n')
    sys.stdout.flush()
    for line in sys.stdin:
        call, arguments, named = json.loads(line)
        try:
            answer = [getattr(inside, call)(*arguments, **named), None, ""]
        except (EquipoiseError, OSError, AssertionError) as error:
            answer = [None, type(error).__name__, str(error)]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
