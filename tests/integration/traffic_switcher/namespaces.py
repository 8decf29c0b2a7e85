"""Network namespaces on one bridge, with a program of ours in each, made by whoever runs the tests.

Root makes them as they are; an ordinary user makes a user namespace first, in which he is root.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.sandbox.machine import TOOL_PATHS
from shared.errors import MachineError, SwitchError
from shared.instant import SECOND, Duration

ROOT = Path(__file__).parents[3]
PROGRAM = (sys.executable, "-m", "tests.integration.traffic_switcher.inside")
WITHIN_MS = 150  # an answer on a bridge takes 0.1 ms; a machine may be busy
ERRORS = {"MachineError": MachineError, "SwitchError": SwitchError, "AbsentError": SwitchError}


def _tool(name: str) -> str:
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *TOOL_PATHS)))
    assert path is not None, f"{name} is missing: make setup"
    return path


@dataclass
class Host:
    """One namespace, and the program in it."""

    process: subprocess.Popen[str]

    @classmethod
    def begin(cls, *before: str) -> "Host":
        """Start the program by these commands, which put it into its namespace."""
        process = subprocess.Popen(
            [*before, *PROGRAM],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        host = cls(process)
        assert host._line() == "there"
        return host

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, call: str, *arguments: Any, **named: Any) -> Any:
        self.begin_asking(call, *arguments, **named)
        return self.answer()

    def begin_asking(self, call: str, *arguments: Any, **named: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([call, arguments, named]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        returned, error, text = self._line()
        if error:
            raise ERRORS.get(error, AssertionError)(text)
        return returned

    def listening(self) -> None:
        """Wait until what was begun says that it listens."""
        assert self._line() == "listening"

    def _line(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program in the namespace has ended; its words stand above"
        return json.loads(line)

    def ip(self, *words: str) -> str:
        return str(self.ask("run", _tool("ip"), *words))

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End it, frozen or not; its namespace and its links go with it."""
        self.process.kill()
        self.process.communicate()


class RemoteGuard:
    """The guard of a host, as the port says it."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def stand(self) -> None:
        self._call("stand")

    def permit(self, token: int) -> None:
        self._call("permit", token)

    def renew(self, token: int, rests: Mapping[str, Duration]) -> bool:
        return bool(self._call("renew", token, dict(rests)))

    def close(self, address: str, *, drain_us: Duration = 0) -> None:
        self._call("close", address, drain_us=drain_us)

    def hand_over(self, address: str, *, to: str, for_us: Duration) -> None:
        self._call("hand_over", address, to=to, for_us=for_us)

    def keep(self, address: str) -> None:
        self._call("keep", address)

    def shows(self) -> Mapping[str, Duration]:
        shown: Mapping[str, Duration] = self._call("shows")
        return shown

    @property
    def lacks(self) -> str:
        return str(self._call("lacks"))

    def _call(self, call: str, *arguments: Any, **named: Any) -> Any:
        return self._host.ask("guarding", call, *arguments, **named)


@dataclass
class Town:
    """The bridge's own namespace, and the hosts by name."""

    square: Host
    hosts: dict[str, Host] = field(default_factory=dict)

    @classmethod
    def build(cls) -> "Town":
        ordinary = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        town = cls(Host.begin(_tool("unshare"), *ordinary, "--net"))
        town.square.ip("link", "add", "br0", "type", "bridge")
        town.square.ip("link", "set", "br0", "up")
        return town

    def host(self, name: str, *addresses: str) -> Host:
        """Add a host to the bridge, with these addresses on its eth0."""
        host = self.lonely(name)
        port = f"port{len(self.hosts)}"
        peer = ("peer", "name", "eth0", "netns", str(host.pid))
        self.square.ip("link", "add", port, "type", "veth", *peer)
        self.square.ip("link", "set", port, "master", "br0", "up")
        for address in addresses:
            host.ip("addr", "add", address, "dev", "eth0", "nodad")
        host.ip("link", "set", "eth0", "up")
        return host

    def lonely(self, name: str) -> Host:
        """Add a host without any link."""
        within: tuple[str, ...] = ()
        if os.geteuid() != 0:
            target = ("--target", str(self.square.pid))
            within = (_tool("nsenter"), "--user", "--preserve-credentials", *target, "--")
        host = Host.begin(*within, _tool("unshare"), "--net")
        self.hosts[name] = host
        host.ip("link", "set", "lo", "up")
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            host.ask("set", setting, "0")
        return host

    def end(self) -> None:
        for host in (*self.hosts.values(), self.square):
            host.end()


def wait(duration_us: Duration) -> None:
    """Let real time pass, which is what a lease is made of."""
    select.select([], [], [], duration_us / SECOND)
