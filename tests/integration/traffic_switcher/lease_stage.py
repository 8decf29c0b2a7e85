"""Nodes with fake machines and an arbiter that gives what a test tells it to, on one bus."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.traffic_switcher.adapters.lease_store import LeaseStore
from services.traffic_switcher.adapters.ports import Machine
from services.traffic_switcher.shell import LeaseKeeper
from shared.bus import Received
from shared.bus.memory_bus import MemoryBroker, MemoryBus
from shared.bus.wire import Speaker
from shared.cluster import Cluster, Service
from shared.errors import MachineError
from shared.health import Health
from shared.instant import SECOND, Duration
from shared.log import Logger, as_text
from shared.messages.leases import Grant, Held, Holding, LeaseBeat, Term
from shared.messages.table import Message
from shared.messages.traffic import Placement, Plan
from shared.runtime import Base
from shared.telemetry import Attribute, Link, Telemetry
from shared.trace import SpanKind
from tests.fakes.fake_guard import FakeGuard
from tests.fakes.fake_machine import (
    FakeAddresses,
    FakeAnnouncer,
    FakeBalancerWatch,
    FakeFarewells,
    FakeNewcomers,
)
from tests.integration.traffic_switcher.stage import CLOCK, settings_in, until
from tests.unit.traffic_switcher.lease_play import plan, with_vips
from tests.unit.traffic_switcher.play import cluster, service

WEB, API = "10.0.0.100", "10.0.0.101"
LEASE_US: Duration = SECOND  # a busy machine starves a switcher for a part of it


class Spans(Telemetry):
    """Remembers the names of spans and of their parents."""

    enabled = True

    def __init__(self) -> None:
        self.recorded: list[tuple[str, str | None]] = []

    def record(
        self,
        *,
        name: str,
        incident: str,
        begin_wall_us: int,
        end_wall_us: int,
        parent: str | None,
        key: str,
        attributes: Mapping[str, Attribute],
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        failure: str = "",
    ) -> None:
        """Remember it."""
        assert incident
        assert key
        assert attributes
        assert kind in SpanKind
        assert not failure
        assert all(link.incident == incident for link in links)
        assert begin_wall_us <= end_wall_us
        self.recorded.append((name, parent))


@dataclass
class Answers:
    """Requests that are answered, or not, as a test says."""

    confirmed: bool = True
    asked: list[str] = field(default_factory=list)

    async def through(self, vip: str, services: Sequence[Service]) -> str:
        """Answer, or not."""
        self.asked += [f"{each.name} at {vip}" for each in services]
        return "" if self.confirmed else "no answer in time"


@dataclass
class Node:
    """One node: its machine outlives its process."""

    name: str
    cluster: Cluster
    broker: MemoryBroker
    directory: Path
    guard: FakeGuard = field(default_factory=lambda: FakeGuard(CLOCK.now))
    addresses: FakeAddresses = field(default_factory=lambda: FakeAddresses((WEB, API), CLOCK))
    announcer: FakeAnnouncer = field(default_factory=FakeAnnouncer)
    newcomers: FakeNewcomers = field(default_factory=FakeNewcomers)
    farewells: FakeFarewells = field(default_factory=FakeFarewells)
    balancer: FakeBalancerWatch = field(default_factory=FakeBalancerWatch)
    answers: Answers = field(default_factory=Answers)
    spans: Spans = field(default_factory=Spans)
    lacks: str = ""  # what the guard needs and this machine has not
    log: list[str] = field(default_factory=list)
    keeper: LeaseKeeper | None = None
    bus: MemoryBus | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _running: asyncio.Task[None] | None = None

    def start(self, persisted: Plan | None = None) -> None:
        """Start its process (again)."""
        self._stopping = asyncio.Event()
        log = Logger(self.log.append, clock=CLOCK, level="debug", render=as_text, fields={})
        speaker = Speaker(
            cluster="test", member=self.name, program="traffic_switcher", clock=CLOCK, log=log
        )
        self.bus = self.broker.connect(speaker)
        base = Base(
            settings=replace(settings_in(self.directory, self.cluster), member=self.name),
            clock=CLOCK,
            bus=self.bus,
            telemetry=self.spans,
            log=log,
            boot_id="b" * 16,
            health=Health(),
            stopping=self._stopping,
        )
        machine = Machine(
            guard=self._guard,
            addresses=self.addresses,
            announcer=self.announcer,
            newcomers=self.newcomers,
            farewells=self.farewells,
            balancer=self.balancer,
        )
        store = LeaseStore(self.directory, cluster="test", node=self.name)
        self.keeper = LeaseKeeper(
            base,
            machine=machine,
            store=store,
            requests=self.answers,
            persisted=persisted,
        )
        self._running = asyncio.ensure_future(self.keeper.run())

    async def kill(self) -> None:
        """End the process as a kill does."""
        if self._running is None:
            return
        if self._running.done():
            self._running.result()
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        assert self.bus is not None
        await self.bus.close()
        self._running = None

    async def stop(self) -> None:
        """End it as SIGTERM does."""
        assert self._running is not None
        self._stopping.set()
        await self._running
        self._running = None

    def follow(self, made: Plan) -> None:
        """Let it hear of a plan that was persisted."""
        assert self.keeper is not None
        self.keeper.plan_in_force(made, is_failover=True)

    def _guard(self) -> FakeGuard:
        if self.lacks:
            raise MachineError(self.lacks)
        return self.guard


@dataclass
class Scene:
    """The nodes, the arbiter, and what was said."""

    nodes: dict[str, Node]
    arbiter: MemoryBus
    given: dict[str, tuple[str, Term]] = field(default_factory=dict)
    beats: dict[str, LeaseBeat] = field(default_factory=dict)
    said: list[Message] = field(default_factory=list)
    deaf: bool = False  # the arbiter answers nobody
    _publishing: set[asyncio.Task[bool]] = field(default_factory=set)

    def hear(self, received: Received) -> None:
        """Note what is said, and answer beats."""
        message = received.message
        if not isinstance(message, LeaseBeat):
            self.said.append(message)
            return
        self.beats[message.node] = message
        if self.deaf:
            return
        grant = Grant(
            node=message.node,
            incarnation=message.incarnation,
            number=message.number,
            epoch=1,
            length_us=LEASE_US,
            vips={v: term for v, (node, term) in self.given.items() if node == message.node},
        )
        task = asyncio.ensure_future(self.arbiter.publish(grant))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    def give(self, vip: str, node: str, term: Term, **changes: object) -> Plan:
        """Plan a VIP for a node, tell everybody, and grant it from now on."""
        placement = replace(Placement(holder=node, term=term), **changes)  # type: ignore[arg-type]
        made = plan(term, {vip: placement}, incident="7K2F")
        for each in self.nodes.values():
            each.follow(made)
        self.given[vip] = (node, term)
        return made

    async def held(self, node: str, vip: str, holding: Holding) -> Held:
        """Wait until something is said of a VIP."""

        def found() -> list[Held]:
            return [
                m
                for m in self.said
                if isinstance(m, Held) and (m.node, m.vip, m.holding) == (node, vip, holding)
            ]

        await self.until(lambda: bool(found()))
        return found()[-1]

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so; show the logs if it is not in time."""
        try:
            await until(reached)
        except AssertionError:
            lines = [line for node in self.nodes.values() for line in node.log[-20:]]
            shown = map(str, (*self.said[-5:], *self.beats.values(), *lines))
            raise AssertionError("\n".join(shown)) from None


@asynccontextmanager
async def scene(*, join: bool = True) -> AsyncIterator[Scene]:
    """Set two nodes up; with `join`, they have persisted a plan and may take what comes."""
    directory = Path(tempfile.mkdtemp(prefix="eq-"))
    broker = MemoryBroker()
    of = with_vips(cluster(service("shop", vips=("web",)), service("orders", vips=("web",))))
    nodes = {name: Node(name, of, broker, _made(directory / name)) for name in ("node-a", "node-b")}
    lines: list[str] = []
    log = Logger(lines.append, clock=CLOCK, level="debug", render=as_text, fields={})
    speaker = Speaker(cluster="test", member="witness", program="arbiter", clock=CLOCK, log=log)
    it = Scene(nodes, broker.connect(speaker))
    await it.arbiter.subscribe(">", it.hear)
    try:
        for node in nodes.values():
            node.start()
        if join:
            it.give("web", "node-a", (1, 1))
            it.given.clear()
            await it.until(lambda: all(b.vips["web"].floor == (1, 1) for b in it.beats.values()))
            await it.until(lambda: len(it.beats) == 2 and all(map(_is_fit, it.beats.values())))
        yield it
    finally:
        for node in nodes.values():
            await node.kill()
        shutil.rmtree(directory)


def _is_fit(beat: LeaseBeat) -> bool:
    return not (beat.balancer or beat.guard_detail or beat.vips["web"].unfit)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
