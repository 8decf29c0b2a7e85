"""The sandbox's two networks: a bridge each, and a network namespace per member and for the client.

    cluster   10.77.0.0/24   eth0 of nodes and the witness: beats, bus, probes, load balancers' way
                             to instances
    clients   10.78.0.0/24   eth1 of nodes, eth0 of the client: where virtual IPs live

The client has a second port there, `probe0`, on which its kernel neither asks nor answers: the
observer asks from it who has an address, and nobody's neighbour table learns from that.

A namespace lives as long as a process in it. Holders are processes that only sleep, in our
process namespace, so that the kernel takes everything down with it; `ip netns add` would need
real root and leave files behind.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.sandbox.machine import Tools
from shared.errors import MachineError

WITNESS = "witness"
CLIENT = "client"
PROBE = "probe0"


class Wire(StrEnum):
    """One of the two networks."""

    CLUSTER = "cluster"
    CLIENTS = "clients"

    @property
    def prefix(self) -> str:
        """The first three parts of its addresses."""
        return "10.77.0" if self is Wire.CLUSTER else "10.78.0"

    @property
    def bridge(self) -> str:
        """The interface that is the network's switch."""
        return f"br-{self.value}"


GATE = f"{Wire.CLUSTER.prefix}.1"  # the bridge itself: where the sandbox's own program listens
PREFIX_6 = "fd78::"  # of the clients' network; the last part as in its IPv4 addresses
SETUP_TIMEOUT_S = 30
# Forwarding is off, since a node that relays for another hides faults; an address may be bound
# before it is there, so that a takeover needs no reload; and nobody answers on one network for an
# address of the other. The client re-uses its ports early: hundreds of new connections a second
# would use them up within a minute otherwise.
NODE_SETTINGS = {
    "ipv4/ip_forward": "0",
    "ipv4/ip_nonlocal_bind": "1",
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/all/arp_announce": "2",
    "ipv4/tcp_thin_linear_timeouts": "1",
}
RTO_MIN = "20ms"  # instead of 200
NODE_SETTINGS_6 = {"ipv6/conf/all/forwarding": "0", "ipv6/ip_nonlocal_bind": "1"}
CLIENT_SETTINGS = {
    "ipv4/ip_forward": "0",
    "ipv4/tcp_tw_reuse": "1",
    "ipv4/ip_local_port_range": "2048 65000",
}


def node_names(count: int) -> tuple[str, ...]:
    """Return as many names as asked for: node-a, node-b, and so on."""
    return tuple(f"node-{chr(ord('a') + number)}" for number in range(count))


def addresses(nodes: Sequence[str]) -> dict[str, str]:
    """Return every member's address, which is on the cluster's network."""
    return {**_nodes_on(Wire.CLUSTER, nodes), WITNESS: f"{Wire.CLUSTER.prefix}.5"}


def client_side(nodes: Sequence[str]) -> dict[str, str]:
    """Return the addresses on the clients' network."""
    return {**_nodes_on(Wire.CLIENTS, nodes), CLIENT: f"{Wire.CLIENTS.prefix}.100"}


def _nodes_on(wire: Wire, nodes: Sequence[str]) -> dict[str, str]:
    return {name: f"{wire.prefix}.{11 + number}" for number, name in enumerate(nodes)}


def hardware(address: str) -> str:
    """Return the hardware address of the port that has an IPv4 address: they are made alike."""
    return ":".join(["02", "00", *(f"{int(part):02x}" for part in address.split("."))])


def packed(hardware_address: str) -> bytes:
    """Return a hardware address as bytes."""
    return bytes.fromhex(hardware_address.replace(":", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A member's place on a network: two ends of one cable."""

    member: str
    wire: Wire
    inside: str  # the interface in the member's namespace
    outside: str  # the other end, which is a port of the bridge
    address: str


def ports(nodes: Sequence[str]) -> Iterator[Port]:
    """Return every place that there is."""
    for wire, of_members in (
        (Wire.CLUSTER, addresses(nodes)),
        (Wire.CLIENTS, client_side(nodes)),
    ):
        for number, (member, address) in enumerate(of_members.items()):
            yield Port(
                member=member,
                wire=wire,
                inside="eth1" if wire is Wire.CLIENTS and member != CLIENT else "eth0",
                outside=f"{wire.value}{number}",
                address=address,
            )


@dataclass(slots=True, kw_only=True)
class Network:
    """The namespaces, by the process that holds each."""

    tools: Tools
    nodes: Sequence[str]
    ipv6: bool = False
    holders: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def ports(self) -> tuple[Port, ...]:
        """Every member's places on both networks."""
        return tuple(ports(self.nodes))

    def build(self) -> None:
        """Make both networks and all namespaces; all are linked when it returns."""
        for member in dict.fromkeys(port.member for port in self.ports):
            self.holders[member] = self._hold()
        links = ["link set lo up"]
        for wire in Wire:
            links += [f"link add {wire.bridge} type bridge", f"link set {wire.bridge} up"]
        links.append(f"addr add {GATE}/24 dev {Wire.CLUSTER.bridge}")
        for port in self.ports:
            links += self._cable(port.member, port.inside, port.outside, port.address, port.wire)
        links += self._cable(CLIENT, PROBE, PROBE, asker(0), Wire.CLIENTS)
        self._run([self.tools.ip, "-batch", "-"], links)
        for member in self.holders:
            self._furnish(member)

    def _cable(
        self, member: str, inside: str, outside: str, address: str, wire: Wire
    ) -> tuple[str, str]:
        holder = self.holders[member].pid
        near_end = f"peer name {inside} address {hardware(address)} netns {holder}"
        return (
            f"link add {outside} type veth {near_end}",
            f"link set {outside} master {wire.bridge} up",
        )

    def _hold(self) -> subprocess.Popen[bytes]:
        """Start a process in a new network namespace; it says a line when it is there."""
        holder = subprocess.Popen(
            [self.tools.unshare, "--net", "sh", "-c", "echo; exec sleep infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert holder.stdout is not None
        if not holder.stdout.readline():
            raise MachineError("a network namespace could not be made; see the line above")
        return holder

    def _furnish(self, member: str) -> None:
        """Set what a namespace needs, and its addresses."""
        script = [f"echo {value} >/proc/sys/net/{name}" for name, value in self._settings(member)]
        script.append(f"exec {self.tools.ip} -batch -")
        lines = ["link set lo up"]
        for port in self.ports:
            if port.member == member:
                lines += [
                    f"addr add {port.address}/24 dev {port.inside}",
                    f"link set {port.inside} up",
                    *self._ipv6_lines(port),
                    *_hurried(port),
                ]
        if member == CLIENT:
            lines.append(f"link set {PROBE} arp off addrgenmode none up")
        self._run(self.entering(member, ["sh", "-ec", "\n".join(script)]), lines)

    def _settings(self, member: str) -> Iterator[tuple[str, str]]:
        if member == CLIENT:
            yield from CLIENT_SETTINGS.items()
        else:
            yield from NODE_SETTINGS.items()
            if self.ipv6:
                yield from NODE_SETTINGS_6.items()

    def _ipv6_lines(self, port: Port) -> Iterator[str]:
        if self.ipv6 and port.wire is Wire.CLIENTS:
            last = port.address.rpartition(".")[2]
            yield f"addr add {PREFIX_6}{last}/64 dev {port.inside} nodad"

    def _run(self, command: Sequence[str], lines: Sequence[str]) -> None:
        result = subprocess.run(
            command,
            input="\n".join(lines).encode() + b"\n",
            capture_output=True,
            timeout=SETUP_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            raise MachineError(
                f"the sandbox's network could not be made: {result.stderr.decode().strip()}"
            )

    def holder(self, member: str) -> int:
        """Return the process that holds a member's namespace."""
        try:
            return self.holders[member].pid
        except KeyError:
            names = ", ".join(self.holders)
            raise MachineError(f"there is no member {member!r} here; there are {names}") from None

    def entering(self, member: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs another one in a member's namespace; the pid stays."""
        return (self.tools.nsenter, f"--net=/proc/{self.holder(member)}/ns/net", "--", *command)


def _hurried(port: Port) -> Iterator[str]:
    """Let TCP repeat soon what is lost between members, as docs/administration.md advises."""
    if port.wire is Wire.CLUSTER:
        network = f"{port.wire.prefix}.0/24"
        yield f"route change {network} dev {port.inside} src {port.address} rto_min {RTO_MIN}"


ASKERS = 16  # addresses that the observer asks from, in turn: an answer tells which question it is


def asker(number: int, prefix: str = Wire.CLIENTS.prefix) -> str:
    """Return the address that the observer asks a question from; nobody has it."""
    return f"{prefix}.{240 - ASKERS + number % ASKERS}"


def vips(nodes: Sequence[str], *, ipv6: bool = False) -> Mapping[str, "Vip"]:
    """Return the virtual IPs of the demonstration: one at home on each of the first two nodes."""
    found = {
        "web": Vip(f"{Wire.CLIENTS.prefix}.201", 24, nodes[0]),
        "api": Vip(f"{Wire.CLIENTS.prefix}.202", 24, nodes[1]),
    }
    if ipv6:
        found["web6"] = Vip(f"{PREFIX_6}201", 64, nodes[0])
    return found


@dataclass(frozen=True, slots=True)
class Vip:
    """A virtual IP of the demonstration."""

    address: str
    prefix: int
    home: str
