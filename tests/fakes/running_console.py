"""A real console on a real unix socket, in a thread, hearing a bus in memory."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from services.console.adapters.http_api import application
from services.console.adapters.http_server import listen_on, serve
from services.console.core.readiness import readiness
from services.console.shell import Console
from shared.bus import Bus
from shared.bus.memory_bus import MemoryBroker
from shared.clock import SystemClock
from shared.cluster import Cluster
from shared.ground import Ground
from shared.health import Check, Health
from shared.instant import MILLISECOND
from shared.messages.table import Message
from shared.unix_socket import listen
from tests.eventually import PATIENCE_S
from tests.fakes.grounds import KeptLog, bus_of, settings_of
from tests.fakes.recorded_spans import Recording
from tests.fakes.scripted_arbiter import ScriptedArbiter
from tests.fakes.situations import shop

T = TypeVar("T")
SAID_EVERY_US = 100 * MILLISECOND


class RunningConsole:
    """A console with a scripted arbiter, both in a thread; tests talk to them from outside."""

    def __init__(self, directory: Path, *, past: tuple[Message, ...] = ()) -> None:
        self.cluster: Cluster = shop()
        self._past = past
        self.socket = directory / "api.sock"
        self.log = KeptLog()
        self.spans = Recording()
        self.broker = MemoryBroker()
        self.arbiter: ScriptedArbiter
        self.console: Console
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stopping: asyncio.Event

    def __enter__(self) -> "RunningConsole":
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        if error is None and self._failed is not None:
            raise self._failed

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something on the console's loop and return what came of it."""

        async def doing() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(PATIENCE_S)

    def say(self, *messages: Message) -> None:
        """Publish something as if another service did, and wait until the console heard it."""

        async def saying() -> None:
            for message in messages:
                await self.arbiter.bus.publish(message, to="node-a")
            await SystemClock().sleep(20 * MILLISECOND)

        self.do(saying)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except Exception as error:  # noqa: BLE001 - handed to the test's thread
            self._failed = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        clock = SystemClock()
        self._stopping = asyncio.Event()
        health = Health()
        ground = Ground(
            settings=settings_of(self.cluster, "node-a", self._directory),
            clock=clock,
            log=self.log,
            health=health,
            stopping=self._stopping,
        )
        self.console = Console(ground, version="1.2.3")
        tcp = listen_on("127.0.0.1", 0)
        self.port = tcp.getsockname()[1]
        listeners = [listen(self.socket, "console"), tcp]
        self.arbiter = ScriptedArbiter(self._bus("witness", "arbiter"), clock)
        for message in self._past:
            await self.arbiter.bus.publish(message, to="node-a")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(application(self.console, health), listeners, self._stopping))
            tasks.create_task(self.console.run())
            bus = self._bus("node-a", "console")
            health.is_ready()
            health.check(lambda: (Check(name="bus", failure=bus.trouble),))
            health.check(lambda: readiness(self.console.state, clock.now()))
            await self.console.hear(bus, self.spans)
            await self.arbiter.begin()
            await self.arbiter.say()
            while not self.console.state.balancers or self.console.state.filling != "filled":
                await clock.sleep(5 * MILLISECOND)
            self._ready.set()
            while not self._stopping.is_set():
                await self.arbiter.say()
                await clock.sleep(SAID_EVERY_US)

    def _bus(self, member: str, program: str) -> Bus:
        return bus_of(self.broker, self.cluster, member, program)
