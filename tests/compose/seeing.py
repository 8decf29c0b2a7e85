"""What is seen of the composed cluster from outside: virtual IPs, and what instances have done.

The sandbox's observers run on the engine's machine: their eyes on nodes are in the containers'
networks, their eye on the wire is at a port of its own of the cluster's bridge.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from services.sandbox.network import CLIENT
from services.sandbox.observers.observations import Reader
from services.sandbox.observers.wire import Place
from services.sandbox.parts import OBSERVATIONS, OBSERVER_PLAN
from tests.compose.cluster import PROJECT, Composed, link
from tests.compose.containers import URGENT, hardware_of, prefer

PORT, PEER = "eq-probe", "eq-probe-in"  # the observers' cable, and its end in the bridge
JOURNAL = "journal"
STOP_WITHIN_S = 10
READY_WITHIN_S = 60


@dataclass(eq=False, slots=True, kw_only=True)
class Seeing:
    """The observers, and the journals of all instances that were ever started."""

    composed: Composed
    _observer: "subprocess.Popen[str] | None" = None
    _nodes: dict[str, int] = field(default_factory=dict)
    _hardware: dict[str, str] = field(default_factory=dict)
    # A container's /tmp is gone when it ends; who has it open can still read it.
    _homes: dict[tuple[str, int], int] = field(default_factory=dict)

    def begin(self) -> None:
        """Plug the observers in, and let them look."""
        self.plug()
        for service in self.composed.containers():
            with suppress(OSError):
                self.note(service)
        command = [sys.executable, "-m", "services.sandbox.observers"]
        command += ["--plan", str(self.composed.folder / OBSERVER_PLAN)]
        command += ["--observations", str(self.composed.folder / OBSERVATIONS)]
        self._observer = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
        )
        prefer(self._observer.pid, URGENT)
        assert self._observer.stdout is not None
        assert json.loads(self._observer.stdout.readline())["event"] == "ready"

    def plug(self) -> None:
        """Put our port into the bridge that is there now."""
        (network,) = self.composed.engine.networks(names=[f"{PROJECT}_cluster"])
        bridge = f"br-{network['Id'][:12]}"
        with IPRoute() as kernel:
            if not kernel.link_lookup(ifname=PORT):
                kernel.link("add", ifname=PORT, kind="veth", peer=PEER, address=self._place().ours)
            (peer,) = kernel.link_lookup(ifname=PEER)
            (master,) = kernel.link_lookup(ifname=bridge)
            kernel.link("set", index=peer, master=master, state="up")
            (port,) = kernel.link_lookup(ifname=PORT)
            kernel.link("set", index=port, state="up", arp=False)

    def _place(self) -> Place:
        address = next(iter(self.composed.cluster.nodes.values())).address
        prefix = str(ip_network(f"{address}/24", strict=False).network_address).rpartition(".")[0]
        return Place(holder=os.getpid(), interface=PORT, prefix=prefix)

    def note(self, service: str) -> None:
        """Take note of a container that runs now: look where it is."""
        pid = self.composed.pid(service)
        if not pid:
            return
        if service in self.composed.cluster.nodes:
            self._nodes[service] = pid
            self._hardware[hardware_of(pid)] = service
            self.look_again()
        elif service == CLIENT:
            link(self.composed.folder / "requests.bin", Path(f"/proc/{pid}/root/tmp/requests.bin"))
        elif service.rpartition("-")[2] not in self.composed.cluster.services:
            return
        elif (service, pid) not in self._homes:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            home = os.open(f"/proc/{pid}/root/tmp", flags)
            self._homes[service, pid] = home

    def reconnected(self, node: str) -> None:
        """Take note of a node that has another cable."""
        self._hardware[hardware_of(self.composed.pid(node))] = node
        self.look_again()

    def look_again(self) -> None:
        """Let the observers open the eyes that are wanted now."""
        place = self._place()
        plan: dict[str, Any] = {
            "nodes": self._nodes,
            "vips": {name: vip.address for name, vip in self.composed.cluster.vips.items()},
            "hardware": self._hardware,
            "wire": {"holder": place.holder, "interface": PORT, "prefix": place.prefix},
        }
        path = self.composed.folder / OBSERVER_PLAN
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps(plan))
        new.replace(path)
        if self._observer is not None:
            self._observer.send_signal(signal.SIGHUP)

    def journals(self) -> Mapping[str, list[str]]:
        """Return the ids of what was done, by instance, whether it still runs or not."""
        found: dict[str, list[str]] = {}
        for (service, _), home in list(self._homes.items()):
            with suppress(FileNotFoundError):  # it has only begun to start
                file = os.open(JOURNAL, os.O_RDONLY | os.O_CLOEXEC, dir_fd=home)
                with os.fdopen(file) as journal:
                    found.setdefault(service, []).extend(journal.read().split())
        return found

    def reader(self) -> Reader:
        """Return what reads the observations."""
        return Reader(self.composed.folder / OBSERVATIONS)

    def end(self) -> None:
        """Let the observers end, and take their cable away."""
        if self._observer is not None:
            self._observer.terminate()
            self._observer.wait(STOP_WITHIN_S)
            assert self._observer.stdout is not None
            self._observer.stdout.close()
        unplug()
        for home in self._homes.values():
            os.close(home)
        self._homes.clear()


def unplug() -> None:
    """Take the observers' cable away, of this run or of one that was killed."""
    with IPRoute() as kernel:
        for index in kernel.link_lookup(ifname=PORT):
            kernel.link("del", index=index)


def holders(address: str) -> list[str]:
    """Say which networks of this machine have an address: by the kernel's tables, all of them."""
    found: dict[str, str] = {}
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdigit():
                space = str((path / "ns/net").readlink())
                if space not in found:
                    found[space] = (path / "net/fib_trie").read_text()
    return sorted(space for space, table in found.items() if f"|-- {address}\n" in table)
