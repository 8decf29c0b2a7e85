"""A real observer on a bus without a server, and waiting for what it says."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from services.health_probe.shell import Shell
from shared.bus import Received
from shared.bus.memory_bus import MemoryBroker
from shared.bus.wire import Speaker
from shared.clock import SystemClock
from shared.cluster import Cluster, Node, Service
from shared.instant import MILLISECOND, Duration, Instant
from shared.log import Logger
from shared.messages.health import Evidence, Picture
from shared.telemetry import Telemetry
from tests.eventually import PATIENCE_S
from tests.unit.health_probe.observed import PROBE, cluster, service

CLOCK = SystemClock()


def one_service(port: int, *, path: str | None = "/health", **probe: object) -> Cluster:
    """Return a cluster of one node and one service."""
    return cluster_of(
        service(port=port, probe=replace(PROBE, path=path, **probe)),  # type: ignore[arg-type]
    )


def cluster_of(*services: Service, nodes: Sequence[str] = ("a",)) -> Cluster:
    """Return a cluster whose every node is this machine."""
    made = cluster(*services, nodes=tuple(nodes))
    return replace(made, nodes={name: Node(name=name, address="127.0.0.1") for name in nodes})


class Observation:
    """Runs an observer, and hears what it says."""

    def __init__(self, cluster: Cluster, telemetry: Telemetry | None = None) -> None:
        self._log = Logger(lambda _: None, clock=CLOCK)
        self.broker = MemoryBroker()
        self.bus = self.broker.connect(self._speaker("test"))
        self.said: list[tuple[Instant, Evidence]] = []
        self.pictures: list[Picture] = []
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self.shell = Shell(
            cluster=cluster,
            clock=CLOCK,
            bus=self.broker.connect(self._speaker("health_probe")),
            telemetry=telemetry or Telemetry(),
            log=self._log,
        )
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Observation":
        await self.bus.subscribe("probe.>", self._hear)
        await self.bus.subscribe("picture.*", self._hear)
        self._running = asyncio.create_task(self.shell.run("a", "00" * 8, self._stopping))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._running is not None
        self._stopping.set()
        await asyncio.wait_for(self._running, PATIENCE_S)

    async def until(
        self, wanted: Callable[[Evidence], bool], *, since: int = 0
    ) -> tuple[Instant, Evidence]:
        """Return the first evidence that is wanted, and when it was heard."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for at, said in self.said[since:]:
                    if wanted(said):
                        return at, said
                self._news.clear()
                await self._news.wait()

    async def until_true(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await CLOCK.sleep(5 * MILLISECOND)

    async def lasts(self, duration_us: Duration) -> list[Evidence]:
        """Watch for a while, and return what was said meanwhile."""
        said = len(self.said)
        ends_at = CLOCK.now() + duration_us
        await self.until_true(lambda: CLOCK.now() >= ends_at)
        return [evidence for _, evidence in self.said[said:]]

    def _hear(self, received: Received) -> None:
        match received.message:
            case Evidence() as evidence:
                self.said.append((received.at, evidence))
            case Picture() as picture:
                self.pictures.append(picture)
            case _:
                raise AssertionError
        self._news.set()

    def _speaker(self, program: str) -> Speaker:
        return Speaker(cluster="test", member="a", program=program, clock=CLOCK, log=self._log)
