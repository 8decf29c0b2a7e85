"""The whole switcher as a process on a real machine: kernel, addresses, wire, HAProxy and bus.

It takes a VIP; it is frozen, and the kernel closes at the lease's end; it wakes; it is stopped.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.bus import Received
from shared.bus.nats_bus import NatsBus
from shared.bus.wire import Speaker
from shared.clock import SystemClock
from shared.cluster import Cluster
from shared.instant import MILLISECOND, SECOND, Instant
from shared.log import Logger, as_text
from shared.messages.leases import Grant, Held, Holding, LeaseBeat, Term
from shared.messages.table import Message
from shared.messages.traffic import Applied, Failover, Placement, Plan
from shared.rules import original
from shared.settings.load import load
from tests.eventually import PATIENCE_US
from tests.integration.haproxy import Haproxy, Instance, programs
from tests.integration.namespaces import Host, Hosts
from tests.integration.nats_server import NatsServer

ROOT = Path(__file__).parents[3]
CLOCK = SystemClock()
VIP, PORT = "10.1.0.200", 8_080
LEASE_US = SECOND  # a busy machine starves the switcher for a part of it
CONNECTED_WITHIN_S = 0.15
CONFIGURATION = """
version: 1
cluster: test
key: cluster.key
nodes:
  node-a: {{address: 10.1.0.1}}
  node-b: {{address: 10.1.0.2}}
bus: {{servers: ["{bus}"]}}
vips:
  web: {{address: 10.1.0.200/24, home: node-a}}
  far: {{address: 10.9.0.200/24, home: node-b}}
services:
  shop: {{listen: 8080, port: 9080, probe: {{http: /}}}}
"""


@dataclass
class Node:
    """A machine with a switcher, and the arbiter that it listens to."""

    host: Host
    client: Host
    directory: Path
    cluster: Cluster
    arbiter: NatsBus
    given: Term | None = None
    beat: LeaseBeat | None = None
    said: list[Message] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    _publishing: set[asyncio.Task[bool]] = field(default_factory=set)

    def start(self, *prefix: str) -> None:
        """Start the switcher."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "EQUIPOISE_CONFIG": str(self.directory / "equipoise.yaml"),
            "EQUIPOISE_NODE": "node-a",
            "EQUIPOISE_RUN_DIR": str(self.directory),
            "EQUIPOISE_STATE_DIR": str(self.directory),
            "EQUIPOISE_HAPROXY": str(programs()["wheel"]),
        }
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "services.traffic_switcher"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send the switcher a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def hear(self, received: Received) -> None:
        """Note what is said, and grant what is given."""
        message = received.message
        if not isinstance(message, LeaseBeat):
            self.said.append(message)
            return
        self.beat = message
        if self.given is not None:
            grant = Grant(
                node=message.node,
                incarnation=message.incarnation,
                number=message.number,
                epoch=1,
                length_us=LEASE_US,
                vips={"web": self.given},
            )
            task = asyncio.ensure_future(self.arbiter.publish(grant))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)

    async def command(self, term: Term, holder: str = "node-a") -> None:
        """Plan the VIP for a node, again and again until it was persisted."""
        epoch, sequence = term
        plan = Plan(
            epoch=epoch,
            sequence=sequence,
            services=original(self.cluster),
            reason="a test",
            vips={"web": Placement(holder=holder, term=term)},
        )
        await self.arbiter.publish(Failover(plan=plan), to="node-a")

    async def held(self, holding: Holding, term: Term) -> Held:
        """Wait until something is said of the VIP."""

        def found() -> list[Held]:
            return [
                m
                for m in self.said
                if isinstance(m, Held) and (m.holding, m.term) == (holding, term)
            ]

        await self.until(lambda: bool(found()))
        return found()[-1]

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so; show the log if it is not in time."""
        deadline = CLOCK.now() + PATIENCE_US
        while not reached():
            if CLOCK.now() > deadline or (self.process and self.process.poll() is not None):
                text = (self.directory / "log").read_text()[-4_000:]
                raise AssertionError(f"{self.beat}\n{self.said[-5:]}\n{text}")
            await CLOCK.sleep(5 * MILLISECOND)

    async def connects(self) -> bool:
        """Whether a client's new connection to the VIP is accepted."""
        return await asyncio.to_thread(self.client.within, _connects)

    async def is_dark_since(self) -> Instant:
        """Wait until no client gets through, and return when the last attempt began."""
        deadline = CLOCK.now() + PATIENCE_US
        while True:
            began_at = CLOCK.now()
            if not await self.connects():
                return began_at
            assert began_at < deadline, "clients are still answered"

    @property
    def has_address(self) -> bool:
        """Whether the VIP's address is on the machine."""
        return f" {VIP}/32 " in self.host.ip("address show")


def _connects() -> bool:
    try:
        socket.create_connection((VIP, PORT), CONNECTED_WITHIN_S).close()
    except OSError:
        return False
    return True


@asynccontextmanager
async def node(host: Host, client: Host) -> AsyncIterator[Node]:
    """Begin everything but the switcher on a host."""
    directory = Path(tempfile.mkdtemp(prefix="eq-"))
    (directory / "cluster.key").write_bytes(b"k" * 32)
    (directory / "cluster.key").chmod(0o600)
    lines: list[str] = []
    log = Logger(lines.append, clock=CLOCK, level="debug", render=as_text, fields={})
    speaker = Speaker(cluster="test", member="node-b", program="arbiter", clock=CLOCK, log=log)
    try:
        with NatsServer() as server:
            path = directory / "equipoise.yaml"
            path.write_text(CONFIGURATION.format(bus=server.url))
            environ: Mapping[str, str] = {"EQUIPOISE_NODE": "node-a"}
            cluster = load(path, environ).cluster
            arbiter = await NatsBus.connect([server.url], speaker=speaker, on_failure=_fail)
            made = Node(host, client, directory, cluster, arbiter)
            await arbiter.subscribe("*.node-a", made.hear)
            try:
                yield made
            finally:
                await arbiter.close()
                if made.process is not None:
                    made.process.kill()
                    made.process.wait()
    finally:
        shutil.rmtree(directory)


def _fail(error: BaseException) -> None:
    raise AssertionError from error


@asynccontextmanager
async def holding(host: Host, client: Host) -> AsyncIterator[Node]:
    """Begin everything, up to a VIP that is held in term (1, 2)."""
    async with (
        node(host, client) as it,
        Instance(name="node-a", address="10.1.0.1", port=9_080),
    ):
        it.start()
        haproxy = Haproxy(it.directory, programs()["wheel"])
        await it.until(lambda: '"ready"' in (it.directory / "log").read_text())
        with haproxy:
            await it.until(lambda: it.beat is not None and not it.beat.balancer)
            await it.command((1, 1))
            await it.until(lambda: it.beat is not None and it.beat.vips["web"].floor == (1, 1))
            assert not await it.connects()
            await it.command((1, 2))
            it.given = (1, 2)
            await it.held(Holding.ANSWERED, (1, 2))
            yield it


def play(test: Callable[[Node], Awaitable[None]]) -> None:
    """Run a test on a node and a client of its own."""
    with Hosts() as hosts:
        host, client = hosts.host("node-a"), hosts.host("client")
        hosts.wire(host, "eth0", "lan", "10.1.0.1/24")
        hosts.wire(client, "eth0", "lan", "10.1.0.9/24")

        async def run() -> None:
            async with holding(host, client) as it:
                await test(it)

        host.run(run)


def test_a_frozen_switcher_loses_its_vip_when_the_lease_ends_and_finds_out_when_it_wakes() -> None:
    async def test(it: Node) -> None:
        assert await it.connects()
        assert it.has_address
        it.signal(signal.SIGSTOP)
        await it.is_dark_since()
        assert not await it.connects()
        it.given = None
        it.signal(signal.SIGCONT)
        await it.held(Holding.LAPSED, (1, 2))
        await it.until(lambda: not it.has_address)
        assert not await it.connects()
        it.said.clear()
        it.given = (1, 2)
        await it.held(Holding.ANSWERED, (1, 2))
        assert await it.connects()

    play(test)


def test_a_stopped_switcher_lets_go_at_once_says_so_and_leaves_nothing() -> None:
    async def test(it: Node) -> None:
        process = it.process
        assert process is not None
        it.process = None  # its end is what is waited for
        process.send_signal(signal.SIGTERM)
        try:
            held = await it.held(Holding.RELEASED, (1, 2))
            assert held.reason == "this switcher is being stopped"
            await it.until(lambda: it.beat is not None and it.beat.leaving != "")
            await it.until(lambda: process.poll() is not None)
            assert process.returncode == 0
        finally:
            process.kill()
            process.wait()
        assert not it.has_address
        assert not await it.connects()

    play(test)


def test_a_plan_for_another_node_takes_the_vip_away_and_a_new_term_brings_it_back() -> None:
    async def test(it: Node) -> None:
        await it.command((1, 3), "node-b")
        await it.held(Holding.RELEASED, (1, 2))
        assert not await it.connects()  # however long the old term is granted
        assert not it.has_address
        await it.command((1, 4))
        it.given = (1, 4)
        await it.held(Holding.ANSWERED, (1, 4))
        assert await it.connects()

    play(test)


def test_without_the_capability_the_services_go_on_and_every_vip_says_what_is_missing() -> None:
    async def test(it: Node) -> None:
        process = it.process
        assert process is not None
        it.signal(signal.SIGKILL)
        process.wait()
        it.beat = None
        it.start("setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all", "--")
        await it.until(lambda: it.beat is not None and not it.beat.balancer)
        mend = "run it as root with CAP_NET_ADMIN"
        await it.until(lambda: it.beat is not None and mend in it.beat.vips["web"].unfit)
        it.given = (1, 3)
        await it.command((1, 3))

        def installed() -> bool:
            return any(isinstance(m, Applied) and m.sequence == 3 for m in it.said)

        await it.until(installed)  # what needs no capability is done
        await it.is_dark_since()  # what the one before had ends with its lease
        assert not await it.connects()

    play(test)


def test_a_vip_outside_every_subnet_says_so_and_the_others_are_held() -> None:
    async def test(it: Node) -> None:
        await it.until(lambda: it.beat is not None and it.beat.vips["far"].unfit != "")
        assert it.beat is not None
        far = it.beat.vips["far"].unfit
        assert far.startswith(
            "no interface here has an address in 10.9.0.0/24: give one an address"
        )
        assert "vips.far.interface" in far
        assert it.beat.vips["web"].unfit == ""
        assert await it.connects()

    play(test)


def test_an_address_that_is_configured_no_more_goes_away_and_so_does_its_guard() -> None:
    async def test(it: Node) -> None:
        process = it.process
        assert process is not None
        it.signal(signal.SIGKILL)  # it cleans nothing up
        process.wait()
        path = it.directory / "equipoise.yaml"
        path.write_text(
            path.read_text().replace("web: {address: 10.1.0.200", "new: {address: 10.1.0.201")
        )
        it.beat = None
        it.start()
        await it.until(lambda: it.beat is not None and list(it.beat.vips) == ["far", "new"])
        await it.until(lambda: not it.has_address)
        assert not await it.connects()

    play(test)
