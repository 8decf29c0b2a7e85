"""A node's HAProxy with two instances of each service behind it, all on loopback."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.traffic_switcher.adapters.haproxy import HaproxyDriver
from services.traffic_switcher.adapters.haproxy_program import HaproxyProgram
from services.traffic_switcher.core.installed import Installation
from services.traffic_switcher.core.steps import steps
from shared.clock import SystemClock
from shared.cluster import Cluster, Mode, Node, Protocol
from shared.instant import MILLISECOND
from shared.rules import Rules, original
from shared.settings import Settings
from tests.eventually import PATIENCE_US
from tests.fakes.fake_haproxy import FakeHaproxy
from tests.integration.haproxy import Haproxy, Instance, free_ports, programs
from tests.unit.traffic_switcher.play import cluster, service

ADDRESSES = ("127.0.0.11", "127.0.0.12")
PROGRAMS = tuple(programs())  # "wheel", and "system" where there is one
CLOCK = SystemClock()


@dataclass
class Scenery:
    """One node with its load balancer; `haproxy` is not started yet."""

    directory: Path
    settings: Settings
    program: Path
    haproxy: Haproxy
    driver: HaproxyDriver
    instances: dict[tuple[str, str], Instance]

    @property
    def cluster(self) -> Cluster:
        """What is configured."""
        return self.settings.cluster

    async def begin(self, rules: Rules | None = None) -> None:
        """Write the file and start all instances, then HAProxy, whose first check decides."""
        for instance in self.instances.values():
            await instance.start()
        await self.driver.prepare(rules or original(self.cluster), frozenset(), keep=False)
        await asyncio.to_thread(self.haproxy.start)

    async def follow(self, rules: Rules, drained: Iterable[tuple[str, str]] = ()) -> Installation:
        """Take the steps that lead to these rules."""
        shown = await self.driver.read(counters=False)
        work = steps(self.cluster, rules, shown.instances, drained=frozenset(drained))
        after = await self.driver.apply(work, lambda: True)
        assert after is not None
        return after

    async def ask(self, name: str, method: str = "GET", path: str = "/") -> tuple[int, str]:
        """Send one request as a client and return status and who answered; 0 is no answer."""
        listen = self.cluster.services[name].listen
        try:
            reader, writer = await asyncio.open_connection(ADDRESSES[0], listen)
            length = "Content-Length: 1\r\n" if method == "POST" else ""
            body = "x" if method == "POST" else ""
            text = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}\r\n{body}"
            writer.write(text.encode())
            try:
                answer = await reader.read()
            finally:
                writer.transport.abort()
        except OSError:
            return 0, ""
        if not answer:
            return 0, ""
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), content.decode()

    async def shares(self, name: str, requests: int) -> Counter[str]:
        """Return how many of so many requests each instance answered."""
        found: Counter[str] = Counter()
        for _ in range(requests):
            status, who = await self.ask(name)
            found[who if status == 200 else str(status)] += 1
        return found


@asynccontextmanager
async def stage(program: str, *, of: Cluster | None = None) -> AsyncIterator[Scenery]:
    """Set a stage up, and leave nothing behind."""
    directory = Path(tempfile.mkdtemp(prefix="eq-"))  # short, since socket paths must be
    path = programs()[program]
    settings = settings_in(directory, of)
    made = Scenery(
        directory=directory,
        settings=settings,
        program=path,
        haproxy=Haproxy(directory, path),
        driver=HaproxyDriver(settings, HaproxyProgram(path), CLOCK),
        instances={
            (each.name, node.name): Instance(name=node.name, address=node.address, port=each.port)
            for each in settings.cluster.services.values()
            for node in settings.cluster.nodes.values()
        },
    )
    try:
        yield made
    finally:
        await asyncio.to_thread(made.haproxy.stop)
        for instance in made.instances.values():
            await instance.__aexit__(None, None, None)
        shutil.rmtree(directory)


@asynccontextmanager
async def fake_stage() -> AsyncIterator[tuple[FakeHaproxy, HaproxyDriver, Settings]]:
    """Set up a driver before a fake HAProxy that runs what the driver wrote."""
    directory = Path(tempfile.mkdtemp(prefix="eq-"))
    settings = settings_in(directory)
    driver = HaproxyDriver(settings, HaproxyProgram(Path("/bin/true")), CLOCK)
    fake = FakeHaproxy(directory)
    try:
        await driver.prepare(original(settings.cluster), frozenset(), keep=False)
        async with fake:
            yield fake, driver, settings
    finally:
        shutil.rmtree(directory)


def settings_in(directory: Path, of: Cluster | None = None) -> Settings:
    """Return the settings of node-a, in a directory of its own."""
    return Settings(
        cluster=of or loopback(),
        member="node-a",
        key=b"k" * 32,
        run_directory=directory,
        state_directory=directory,
        otlp_endpoint=None,
        trace_ui=None,
        log_format="json",
        log_level="debug",
    )


def loopback(capacities: tuple[int, int] = (100, 100)) -> Cluster:
    """Return two nodes on loopback with a balanced, a mirrored and a TCP service."""
    ports = free_ports(6, ADDRESSES)
    nodes = tuple(
        Node(name=name, address=address, capacity=capacity)
        for name, address, capacity in zip(("node-a", "node-b"), ADDRESSES, capacities, strict=True)
    )
    return cluster(
        service("shop", listen=ports[0], port=ports[1]),
        service("books", mode=Mode.MIRROR, listen=ports[2], port=ports[3]),
        service(
            "queue",
            protocol=Protocol.TCP,
            listen=ports[4],
            port=ports[5],
            probe=replace(service("queue").probe, path=None),
        ),
        nodes=nodes,
    )


async def until(reached: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Wait until something is so; fail when it is not in time."""
    deadline = CLOCK.now() + PATIENCE_US
    while True:
        found = reached()
        if found if isinstance(found, bool) else await found:
            return
        assert CLOCK.now() < deadline, "it did not come to pass in time"
        await CLOCK.sleep(5 * MILLISECOND)
