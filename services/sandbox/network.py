"""The sandbox's network: one bridge, and a network namespace per member and for the client.

A namespace lives as long as a process in it. Holders are processes that only sleep, in our
process namespace, so that the kernel takes everything down with it; `ip netns add` would need
real root and leave files behind.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.sandbox.machine import Tools
from shared.errors import MachineError

PREFIX = "10.77.0"
GATE = f"{PREFIX}.1"  # the bridge itself: where the sandbox's own program listens
WITNESS = "witness"
CLIENT = "client"
SETUP_TIMEOUT_S = 30
# Forwarding is off, since a node that relays for another hides faults; an address may be bound
# before it is there, so that a takeover needs no reload. The client re-uses its ports early:
# hundreds of new connections a second would use them up within a minute otherwise.
NODE_SETTINGS = {"ip_forward": "0", "ip_nonlocal_bind": "1"}
CLIENT_SETTINGS = {"ip_forward": "0", "tcp_tw_reuse": "1", "ip_local_port_range": "2048 65000"}


def node_names(count: int) -> tuple[str, ...]:
    """Return as many names as asked for: node-a, node-b, and so on."""
    return tuple(f"node-{chr(ord('a') + number)}" for number in range(count))


def addresses(nodes: Sequence[str]) -> dict[str, str]:
    """Return every member's address, and the client's."""
    of_nodes = {name: f"{PREFIX}.{11 + number}" for number, name in enumerate(nodes)}
    return {**of_nodes, WITNESS: f"{PREFIX}.5", CLIENT: f"{PREFIX}.100"}


@dataclass(slots=True, kw_only=True)
class Network:
    """The namespaces, by the process that holds each."""

    tools: Tools
    holders: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def build(self, members: Mapping[str, str]) -> None:
        """Make the bridge and a namespace for each member; all are linked when it returns."""
        for member in members:
            self.holders[member] = self._hold()
        links = ["link set lo up", "link add br0 type bridge", f"addr add {GATE}/24 dev br0"]
        links.append("link set br0 up")
        for number, member in enumerate(members):
            holder = self.holders[member].pid
            links.append(f"link add port{number} type veth peer name eth0 netns {holder}")
            links.append(f"link set port{number} master br0 up")
        self._run([self.tools.ip, "-batch", "-"], links)
        for member, address in members.items():
            self._address(member, address)

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

    def _address(self, member: str, address: str) -> None:
        settings = CLIENT_SETTINGS if member == CLIENT else NODE_SETTINGS
        script = [f"echo {value} >/proc/sys/net/ipv4/{name}" for name, value in settings.items()]
        script.append(f"exec {self.tools.ip} -batch -")
        self._run(
            self.entering(member, ["sh", "-ec", "\n".join(script)]),
            ["link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"],
        )

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

    def entering(self, member: str, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs another one in a member's namespace; the pid stays."""
        holder = self.holders[member].pid
        return (self.tools.nsenter, f"--net=/proc/{holder}/ns/net", "--", *command)
