"""Hosts of a test: network namespaces on bridges, made by the test and gone with it.

    with Hosts() as hosts:
        a, b = hosts.host("a"), hosts.host("b")
        hosts.wire(a, "eth0", "lan", "10.1.0.1/24")
        hosts.wire(b, "eth0", "lan", "10.1.0.2/24")
        a.run(scene)                     # a coroutine function; its sockets belong to that host

Root makes them in a namespace of their own; `tests/integration/network/conftest.py` runs the
tests of an ordinary user within `unshare -Urn`, where he is root of such a namespace.
"""

import asyncio
import ctypes
import os
import subprocess
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import uvloop

from tests.eventually import PATIENCE_S

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace, held open by a process that sleeps."""

    name: str
    holder: int

    def ip(self, words: str) -> str:
        """Run `ip` here and return what it says."""
        return self.command("ip", *words.split())

    def command(self, *command: str) -> str:
        """Run a program here; it must succeed."""
        entered = ("nsenter", f"--net={self._namespace}", "--", *command)
        done = subprocess.run(entered, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}: {done.stderr}"
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program here that goes on; the caller ends it."""
        entered = ("nsenter", f"--net={self._namespace}", "--", *command)
        return subprocess.Popen(entered, stdin=subprocess.DEVNULL)

    def set(self, name: str, value: int) -> None:
        """Set one of its kernel settings, such as net/ipv4/ip_forward."""
        self.within(lambda: Path("/proc/sys", name).write_text(f"{value}\n"))

    def run(self, scene: Callable[[], Awaitable[T]]) -> T:
        """Play a scene here, on an event loop such as services have."""

        async def play() -> T:
            return await scene()

        def on_loop() -> T:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(play())

        return self.within(on_loop)

    def within(self, act: Callable[[], T]) -> T:
        """Do something here, in a thread that lives in this namespace and ends with it."""

        def enter_and_act() -> T:
            with self._namespace.open() as namespace:
                entered = _libc.setns(namespace.fileno(), CLONE_NEWNET)
            assert entered == 0, os.strerror(ctypes.get_errno())
            return act()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(enter_and_act).result()

    @property
    def _namespace(self) -> Path:
        return Path(f"/proc/{self.holder}/ns/net")


class Hosts:
    """A laboratory: as many hosts and bridges as are asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bridges: set[str] = set()
        self._ports = 0

    def host(self, name: str) -> Host:
        """Return a new host that has only its loopback."""
        made = self._hold(name)
        made.ip("link set lo up")
        # A container engine sets it to 1, which hides what stale neighbours do.
        made.set("net/ipv4/ip_forward", 0)
        return made

    def wire(self, host: Host, interface: str, bridge: str, *addresses: str) -> None:
        """Plug an interface of a host into a bridge, and give it addresses."""
        if bridge not in self._bridges:
            self.switch.ip(f"link add {bridge} type bridge mcast_snooping 0")
            self.switch.ip(f"link set {bridge} up")
            self._bridges.add(bridge)
        self._ports += 1
        port = f"port{self._ports}"
        made = f"link add {port} type veth peer name {interface} netns {host.holder}"
        self.switch.ip(made)
        self.switch.ip(f"link set {port} master {bridge} up")
        host.ip(f"link set {interface} up")
        for address in addresses:
            nodad = " nodad" if ":" in address else ""
            host.ip(f"address add {address} dev {interface}{nodad}")

    def __enter__(self) -> "Hosts":
        self.switch = self._hold("switch")  # bridges have a namespace of their own
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _hold(self, name: str) -> Host:
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self._stack.callback(holder.wait, PATIENCE_S)
        self._stack.callback(holder.kill)
        assert holder.stdout is not None
        with holder.stdout as said:
            assert said.read(1) == b"\n", f"no namespace for {name}"
        return Host(name, holder.pid)
