"""The whole switcher over a bus, before a real HAProxy: commands, drift, restarts, refusals."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from services.traffic_switcher.adapters.local_request import LocalRequests
from services.traffic_switcher.adapters.plan_store import PlanStore
from services.traffic_switcher.core.haproxy_file import token_of
from services.traffic_switcher.shell import Switcher
from shared.bus import Received
from shared.bus.memory_bus import MemoryBroker, MemoryBus
from shared.bus.wire import Speaker
from shared.health import Health
from shared.instant import MILLISECOND
from shared.log import Logger, as_text
from shared.messages.table import Message
from shared.messages.traffic import (
    Applied,
    Drift,
    Failover,
    Measured,
    Recall,
    Recalled,
    Refused,
    Stage,
)
from shared.rules import Rules, digest, original
from shared.runtime import Base
from shared.telemetry import Telemetry
from tests.eventually import PATIENCE_US
from tests.integration.traffic_switcher.stage import (
    ADDRESSES,
    CLOCK,
    PROGRAMS,
    Scenery,
    stage,
    until,
)
from tests.unit.traffic_switcher.play import OUT, SERVE, changed, plan

HAS_PLAN = b'"sequence":1'
every_program = pytest.mark.parametrize("program", PROGRAMS)


@dataclass
class Node:
    """A switcher with its HAProxy, and the bus as others see it."""

    stage: Scenery
    broker: MemoryBroker
    bus: MemoryBus
    said: list[Message] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    _running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the switcher (again)."""
        settings = self.stage.settings
        base = Base(
            settings=settings,
            clock=CLOCK,
            bus=self.broker.connect(_speaker("traffic_switcher", self.log)),
            telemetry=Telemetry(),
            log=_logger(self.log),
            boot_id="b" * 16,
            health=Health(),
            stopping=asyncio.Event(),
        )
        store = PlanStore(settings.state_directory, cluster="test", node="node-a")
        requests = LocalRequests(ADDRESSES[0], token_of(settings.key), CLOCK)
        switcher = Switcher(base, driver=self.stage.driver, store=store, requests=requests)
        self._running = asyncio.ensure_future(switcher.run())

    async def kill(self) -> None:
        """End the switcher as a kill does: nothing is said, nothing is tidied."""
        if self._running is None:
            return
        if self._running.done():
            self._running.result()
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        self._running = None

    async def command(self, number: tuple[int, int], rules: Rules) -> None:
        """Send a failover."""
        await self.bus.publish(Failover(plan=plan(number, rules)), to="node-a")

    async def applied(self, number: tuple[int, int], stage_of: Stage) -> Applied:
        """Wait until a plan has come so far."""
        found: list[Applied] = []

        def reached() -> bool:
            assert self._running is not None
            if self._running.done():
                self._running.result()
            found[:] = [
                m
                for m in self.said
                if isinstance(m, Applied)
                and (m.epoch, m.sequence) == number
                and m.stage is stage_of
            ]
            return bool(found)

        try:
            await until(reached)
        except AssertionError:
            raise AssertionError("\n".join([*map(str, self.said[-5:]), *self.log[-20:]])) from None
        return found[-1]

    def of(self, kind: type[Message]) -> list[Message]:
        """Return what was said of one kind."""
        return [message for message in self.said if isinstance(message, kind)]

    def hear(self, received: Received) -> None:
        """Note what is said."""
        self.said.append(received.message)


def _logger(lines: list[str]) -> Logger:
    return Logger(lines.append, clock=CLOCK, level="debug", render=as_text, fields={})


def _speaker(program: str, lines: list[str]) -> Speaker:
    log = _logger(lines)
    return Speaker(cluster="test", member="node-a", program=program, clock=CLOCK, log=log)


@asynccontextmanager
async def node(program: str) -> AsyncIterator[Node]:
    """Set up a node whose switcher is running and whose HAProxy was started as soon as it could."""
    async with stage(program) as made:
        for instance in made.instances.values():
            await instance.start()
        broker = MemoryBroker()
        it = Node(made, broker, broker.connect(_speaker("arbiter", [])))
        await it.bus.subscribe("*.node-a", it.hear)
        await it.start()
        try:
            await until((made.directory / "haproxy.cfg").exists)
            await asyncio.to_thread(made.haproxy.start)
            yield it
        finally:
            await it.kill()


def play(program: str, scene: Callable[[Node], Awaitable[None]]) -> None:
    """Run a scene."""

    async def run() -> None:
        async with node(program) as made:
            await scene(made)

    asyncio.run(run())


def out(made: Node) -> Rules:
    """Return the rules with shop's second instance out and books moved."""
    cluster = made.stage.cluster
    return changed(cluster, {"shop": {"node-b": OUT}, "books": {"node-a": OUT, "node-b": SERVE}})


def is_in_the_file(made: Node) -> bool:
    """Say whether a restarted HAProxy would begin with the rules of `out`."""
    port = made.stage.cluster.services["shop"].port
    text = (made.stage.directory / "haproxy.cfg").read_text()
    return f"server node-b {ADDRESSES[1]}:{port} check disabled" in text


@every_program
def test_a_command_is_installed_verified_and_felt_by_clients(program: str) -> None:
    async def scene(made: Node) -> None:
        await made.command((1, 1), out(made))
        installed = await made.applied((1, 1), Stage.INSTALLED)
        assert installed.digest == digest(out(made))
        verified = await made.applied((1, 1), Stage.VERIFIED)
        assert "shop: HTTP 200 from node-a" in verified.detail
        assert "books: HTTP 200 from node-b" in verified.detail
        assert await made.stage.shares("shop", 10) == {"node-a": 10}
        assert await made.stage.shares("books", 10) == {"node-b": 10}

    play(program, scene)


@every_program
def test_drift_is_said_and_repaired_and_what_somebody_closed_is_left_alone(program: str) -> None:
    async def scene(made: Node) -> None:
        await made.command((1, 1), original(made.stage.cluster))
        await made.applied((1, 1), Stage.VERIFIED)
        made.stage.haproxy.ask("set server shop/node-b weight 7")
        await until(lambda: len(made.of(Drift)) == 1)
        shown = await made.stage.driver.read(counters=False)
        assert shown.instances["shop", "node-b"].weight == 100
        made.stage.haproxy.ask("set server shop/node-b state maint")
        await until(lambda: len(made.of(Drift)) == 2)
        await made.command((1, 2), original(made.stage.cluster))
        await made.applied((1, 2), Stage.VERIFIED)
        shown = await made.stage.driver.read(counters=False)
        assert shown.instances["shop", "node-b"].gate.value == "closed"

    play(program, scene)


@every_program
def test_a_haproxy_whose_worker_was_killed_comes_back_with_the_rules_in_force(
    program: str,
) -> None:
    async def scene(made: Node) -> None:
        await made.command((1, 1), out(made))
        await made.applied((1, 1), Stage.VERIFIED)
        await until(lambda: is_in_the_file(made))
        await asyncio.to_thread(made.stage.haproxy.kill_worker)
        await asyncio.to_thread(made.stage.haproxy.start)
        assert await made.stage.shares("shop", 10) == {"node-a": 10}
        await made.command((1, 2), original(made.stage.cluster))
        await made.applied((1, 2), Stage.VERIFIED)
        assert (await made.stage.shares("shop", 20))["node-b"] == 10

    play(program, scene)


@every_program
def test_a_haproxy_that_forgot_everything_is_told_again(program: str) -> None:
    async def scene(made: Node) -> None:
        await made.command((1, 1), out(made))
        await made.applied((1, 1), Stage.VERIFIED)
        await until(lambda: is_in_the_file(made))
        await asyncio.to_thread(made.stage.haproxy.kill_worker)
        home = original(made.stage.cluster)
        await made.stage.driver.prepare(home, frozenset(), keep=False)
        await asyncio.to_thread(made.stage.haproxy.start)
        await until(lambda: len(made.of(Drift)) == 3)
        assert {d.by for d in made.of(Drift) if isinstance(d, Drift)} == {
            "restart of the load balancer"
        }
        assert await made.stage.shares("shop", 10) == {"node-a": 10}

    play(program, scene)


def test_a_killed_switcher_changes_nothing_and_its_successor_keeps_the_fence() -> None:
    async def scene(made: Node) -> None:
        await made.command((2, 1), out(made))
        await made.applied((2, 1), Stage.VERIFIED)
        await made.kill()
        assert await made.stage.shares("shop", 10) == {"node-a": 10}
        await made.start()
        await until(lambda: len(made.of(Measured)) > 1)
        await made.command((1, 9), original(made.stage.cluster))
        await until(lambda: len(made.of(Refused)) == 1)
        assert await made.stage.shares("shop", 10) == {"node-a": 10}

    play("wheel", scene)


def test_a_command_that_was_missed_is_read_from_the_stream() -> None:
    async def scene(made: Node) -> None:
        await made.kill()
        await made.command((1, 1), out(made))
        await made.start()
        await made.applied((1, 1), Stage.VERIFIED)

    play("wheel", scene)


def test_a_command_that_was_missed_while_the_bus_was_away_is_read_when_it_is_back() -> None:
    async def scene(made: Node) -> None:
        await made.command((1, 1), original(made.stage.cluster))
        await made.applied((1, 1), Stage.VERIFIED)
        made.broker.up = False
        await CLOCK.sleep(300 * MILLISECOND)
        made.broker.up = True
        # As if another client had said it to the server before this one was connected again.
        made.broker._kept.append(_parcel(made, (1, 2), out(made)))
        await made.applied((1, 2), Stage.VERIFIED)

    play("wheel", scene)


def _parcel(made: Node, number: tuple[int, int], rules: Rules) -> tuple[str, bytes]:
    parcel = made.bus._wire.pack(Failover(plan=plan(number, rules)), to="node-a")
    return parcel.subject, parcel.payload


def test_the_plan_in_force_is_recalled() -> None:
    async def scene(made: Node) -> None:
        ask = Recall(asker="arbiter")
        answer = await made.bus.ask(ask, to="node-a", timeout_us=PATIENCE_US)
        assert answer == Recalled(node="node-a", plan=None)
        await made.command((1, 1), out(made))
        await made.applied((1, 1), Stage.VERIFIED)
        answer = await made.bus.ask(ask, to="node-a", timeout_us=PATIENCE_US)
        assert isinstance(answer, Recalled)
        assert answer.plan == plan((1, 1), out(made))

    play("wheel", scene)


def test_a_frozen_haproxy_is_said_and_the_plan_arrives_when_it_wakes() -> None:
    async def scene(made: Node) -> None:
        made.stage.haproxy.freeze()
        await made.command((1, 1), out(made))
        failed = await made.applied((1, 1), Stage.FAILED)
        assert "is it frozen?" in failed.detail
        made.stage.haproxy.wake()
        await made.applied((1, 1), Stage.VERIFIED)

    play("wheel", scene)


def test_a_disk_that_takes_nothing_keeps_the_plan_in_force() -> None:
    async def scene(made: Node) -> None:
        await made.command((1, 1), original(made.stage.cluster))
        await made.applied((1, 1), Stage.VERIFIED)
        for copy in ("plan.1", "plan.2"):
            (made.stage.directory / copy).unlink(missing_ok=True)
            (made.stage.directory / copy).symlink_to("/dev/full")
        await made.command((1, 2), out(made))
        failed = await made.applied((1, 2), Stage.FAILED)
        assert "cannot be written: No space left on device" in failed.detail
        assert (await made.stage.shares("shop", 20))["node-b"] == 10

    play("wheel", scene)


def test_a_corrupt_copy_of_the_plan_gives_way_to_the_other() -> None:
    async def scene(made: Node) -> None:
        await made.command((1, 1), out(made))
        await made.applied((1, 1), Stage.VERIFIED)
        both = [made.stage.directory / copy for copy in ("plan.1", "plan.2")]
        await until(lambda: all(path.exists() and HAS_PLAN in path.read_bytes() for path in both))
        await made.kill()
        both[0].write_bytes(both[0].read_bytes()[:-1])
        await made.start()
        await until(lambda: any("uses the other copy" in line for line in made.log))
        answer = await made.bus.ask(Recall(asker="x"), to="node-a", timeout_us=PATIENCE_US)
        assert answer == Recalled(node="node-a", plan=plan((1, 1), out(made)))

    play("wheel", scene)


def test_a_verification_that_fails_is_said_and_repeated() -> None:
    async def scene(made: Node) -> None:
        for name in ("node-a", "node-b"):
            made.stage.instances["shop", name].status = 503
        await made.command((1, 1), changed(made.stage.cluster, {"shop": {"node-b": OUT}}))
        failed = await made.applied((1, 1), Stage.FAILED)
        assert "HTTP 503 from node-a, which the probe does not accept" in failed.detail
        made.stage.instances["shop", "node-a"].status = 200
        await made.applied((1, 1), Stage.VERIFIED)

    play("wheel", scene)


def test_a_burst_ends_with_the_newest() -> None:
    async def scene(made: Node) -> None:
        home = original(made.stage.cluster)
        for number in range(1, 50):
            await made.command((1, number), out(made) if number % 2 else home)
        await made.command((1, 50), out(made))
        await made.applied((1, 50), Stage.VERIFIED)
        assert await made.stage.shares("shop", 10) == {"node-a": 10}
        numbers = [m.sequence for m in made.of(Applied) if isinstance(m, Applied)]
        assert numbers == sorted(numbers)

    play("wheel", scene)


def test_a_mismatch_of_names_is_refused() -> None:
    async def scene(made: Node) -> None:
        rules = {**original(made.stage.cluster), "pub": {"node-a": SERVE}}
        await made.command((1, 1), rules)
        await until(lambda: len(made.of(Refused)) == 1)

    play("wheel", scene)
