"""Which programs make up a sandbox: the list that the supervisor keeps running."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.sandbox import configuration
from services.sandbox.configuration import SERVICES, TRACES_PORT
from services.sandbox.guests import Guests
from services.sandbox.machine import TOOL_PATHS
from services.sandbox.network import CLIENT, GATE, WITNESS, Network
from services.sandbox.options import Extent, Options, Weak
from services.sandbox.supervisor import Answers, Ends, Program, Says
from shared.urgency import Urgency

READY = Says(re.compile(rb'"event": ?"ready"'))  # a line of JSON, of a service or of a demo
BUS_READY = Says(re.compile(rb"Server is ready"))
NODE_SERVICES = ("heartbeat", "health_probe", "traffic_switcher", "console")
INFRASTRUCTURE = ("nats", "haproxy", *(service.name for service in SERVICES))
# What leases and their judges wait for; our own services ask for it themselves. Through nats-server
# goes every step of a failover, so it has the rank of those that take them.
RANKS = {"nats": Urgency.REAL_TIME, "haproxy": Urgency.PREFERRED}
WITNESS_SERVICES = ("heartbeat", "arbiter", "console")
RECORDS = "requests.bin"
CLIENT_PLAN = "client.json"
OBSERVATIONS = "observations.jsonl"
OBSERVER_PLAN = "observer.json"
# Not part of what is installed: only who has the project's source can weaken a sandbox.
WEAKENED: Mapping[tuple[str, Weak | None], str] = {
    ("traffic_switcher", Weak.NO_GUARD): "tests.weak.switcher",
    ("arbiter", Weak.NO_LEASE_WAIT): "tests.weak.arbiter",
}
OUTSIDE = "outside"  # the member that is none: what belongs to no namespace
VERSION = "1.0"  # of the demo services, the same everywhere: they match


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Builds the list for one sandbox."""

    options: Options
    folder: Path
    nodes: Sequence[str]
    addresses: Mapping[str, str]
    network: Network

    def programs(self) -> Iterator[Program]:
        """Return all programs, in the order in which people read them."""
        yield self._nats()
        guests = Guests.of(self.options)
        for node in self.nodes:
            if not guests.balance(node):
                yield self._haproxy(node)
            for service in SERVICES:
                yield self._instance(node, service)
        if self.options.extent is Extent.EVERYTHING:
            yield from self._services()
        if self.options.guests:
            yield from self._guests(guests)
        if self.options.rate:
            yield self._client()

    def _services(self) -> Iterator[Program]:
        for node in self.nodes:
            for name in NODE_SERVICES:
                yield self._service(node, name)
        for name in WITNESS_SERVICES:
            yield self._service(WITNESS, name)
        yield self._observer()

    def _guests(self, guests: Guests) -> Iterator[Program]:
        for guest in guests.programs:
            sign = Says(re.compile(guest.ready.encode()))
            yield self._program(guest.member, guest.name, guest.command, sign)
        yield self._observer()

    def _nats(self) -> Program:
        configured = str(self.folder / "nats.conf")
        command = [self.network.tools.nats_server, "--config", configured]
        return self._program(WITNESS, "nats", command, BUS_READY)

    def _haproxy(self, node: str) -> Program:
        here = self.folder / node
        master = here / "haproxy-master.sock"
        configured = here / "haproxy.cfg"
        # -W: a master that reloads without losing connections; -db: it stays in the foreground.
        # It ends when its worker does, and its worker when it does.
        command = [self.network.tools.haproxy, "-W", "-db", "-S", f"{master},level,admin"]
        command += ["-f", str(configured)]
        return self._program(node, "haproxy", command, Answers(master), needs=configured)

    def _instance(self, node: str, service: configuration.DemoService) -> Program:
        command = self._module("services.sandbox.demo_service")
        command += ["--name", service.name, "--node", node, "--version", VERSION]
        # Within the node's own network namespace, every address is the node's.
        command += ["--address", "0.0.0.0", "--port", str(service.port)]  # noqa: S104
        command += ["--journal", str(journal(self.folder, node, service.name))]
        return self._program(node, service.name, command, READY)

    def _client(self) -> Program:
        command = self._module("services.sandbox.client")
        command += ["--plan", str(self.folder / CLIENT_PLAN), "--rate", str(self.options.rate)]
        command += ["--records", str(self.folder / RECORDS)]
        return self._program(CLIENT, "load", command, READY)

    def _observer(self) -> Program:
        """Return what looks on from outside: it enters the namespaces itself."""
        command = self._module("services.sandbox.observers")
        command += ["--plan", str(self.folder / OBSERVER_PLAN)]
        command += ["--observations", str(self.folder / OBSERVATIONS)]
        return Program(
            name=f"{OUTSIDE}/observer",
            command=tuple(command),
            environ=self._environ(OUTSIDE),
            log=self.folder / "logs" / f"{OUTSIDE}.observer.log",
            sign=READY,
            ends=Ends.LAST,
        )

    def _service(self, member: str, name: str) -> Program:
        command = self._module(WEAKENED.get((name, self.options.weak), f"services.{name}"))
        return self._program(member, name, command, READY)

    def _module(self, name: str) -> list[str]:
        return [self.network.tools.python, "-m", name]

    def _program(
        self,
        member: str,
        name: str,
        command: Sequence[str],
        sign: Says | Answers,
        needs: Path | None = None,
    ) -> Program:
        return Program(
            name=f"{member}/{name}",
            command=self.network.entering(member, command),
            environ=self._environ(member),
            log=self.folder / "logs" / f"{member}.{name}.log",
            sign=sign,
            needs=needs,
            ends=_turn(member, name),
            rank=RANKS.get(name, Urgency.ORDINARY),
        )

    def _environ(self, member: str) -> dict[str, str]:
        """Return what a program is told; nothing of the caller's environment leaks in.

        LD_LIBRARY_PATH least of all: it would win over the libraries that HAProxy's wheel brings.
        """
        environ = {
            "PATH": os.pathsep.join(TOOL_PATHS),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.environ["PYTHONPATH"],  # as the launcher set it
            "PYTHONUNBUFFERED": "1",
            "EQUIPOISE_CONFIG": str(self.folder / configuration.CLUSTER_FILE),
            "EQUIPOISE_NODE": member,
            "EQUIPOISE_RUN_DIR": str(self.folder / member),
            "EQUIPOISE_STATE_DIR": str(self.folder / member / "state"),
            "EQUIPOISE_LOG_FORMAT": "json",
            "EQUIPOISE_LOG_LEVEL": "info",
            "EQUIPOISE_HAPROXY": self.network.tools.haproxy,
        }
        if self.options.otlp:
            environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{GATE}:{TRACES_PORT}"
        return environ


def _turn(member: str, name: str) -> Ends:
    """Clients end before what they ask, and what all stand on at last."""
    if member == CLIENT:
        return Ends.FIRST
    return Ends.LAST if name in INFRASTRUCTURE else Ends.NEXT


def journal(folder: Path, node: str, service: str) -> Path:
    """Return the file that has what an instance did."""
    return folder / node / f"{service}.journal"


def read_journals(folder: Path) -> dict[str, list[str]]:
    """Return the ids of what was done, by instance."""
    return {
        f"{path.parent.name}/{path.stem}": path.read_text().split()
        for path in sorted(folder.glob("*/*.journal"))
    }
