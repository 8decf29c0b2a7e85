"""What services stand on in tests: settings, a log that is kept, a bus in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from shared.bus import Bus
from shared.bus.memory_bus import MemoryBroker
from shared.bus.wire import Speaker
from shared.clock import Clock, SystemClock
from shared.cluster import Cluster
from shared.health import Health
from shared.instant import MILLISECOND, SECOND
from shared.log import Log
from shared.runtime import Base
from shared.settings import Settings
from shared.telemetry import Telemetry

KEY = b"a key that only tests know, 32 b"


@dataclass
class KeptLog:
    """A log whose lines a test can look at."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def debug(self, event: str, /, **fields: object) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, /, **fields: object) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, /, **fields: object) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, /, **fields: object) -> None:
        self.lines.append(("error", event, fields))

    def bind(self, **fields: object) -> Log:
        _ = fields
        return self

    def events(self) -> list[str]:
        return [event for _, event, _ in self.lines]


def settings_of(cluster: Cluster, member: str, directory: Path) -> Settings:
    """Return the settings of one member, its directories below the given one."""
    return Settings(
        cluster=cluster,
        member=member,
        key=KEY,
        run_directory=directory / member / "run",
        state_directory=directory / member / "state",
        otlp_endpoint=None,
        trace_ui=None,
        log_format="json",
        log_level="debug",
    )


def bus_of(
    broker: MemoryBroker, cluster: Cluster, member: str, program: str, *, clock: Clock | None = None
) -> Bus:
    """Return one program's bus in memory."""
    speaker = Speaker(
        cluster=cluster.name,
        member=member,
        program=program,
        clock=clock or SystemClock(),
        log=KeptLog(),
    )
    return broker.connect(speaker)


def base_of(settings: Settings, bus: Bus, *, telemetry: Telemetry | None = None) -> Base:
    """Return what a service is built from."""
    return Base(
        settings=settings,
        clock=SystemClock(),
        bus=bus,
        telemetry=telemetry or Telemetry(),
        log=KeptLog(),
        boot_id="0123456789abcdef",
        health=Health(),
        stopping=asyncio.Event(),
    )


async def until(true: Callable[[], bool], what: str, *, within_us: int = 10 * SECOND) -> None:
    """Wait until something is so; a test that waits in vain says for what."""
    clock = SystemClock()
    end = clock.now() + within_us
    while not true():
        assert clock.now() < end, f"waited {within_us / SECOND:g} s in vain for {what}"
        await clock.sleep(2 * MILLISECOND)


async def running(
    service: Callable[[], Awaitable[None]], base: Base, test: Callable[[], Awaitable[None]]
) -> None:
    """Run a service while a test looks at it, then stop it; its failure is the test's."""
    serving = asyncio.ensure_future(service())
    testing = asyncio.ensure_future(test())
    await asyncio.wait({serving, testing}, return_when=asyncio.FIRST_COMPLETED)
    base.stopping.set()
    if not testing.done():
        testing.cancel()
        await serving
        raise AssertionError("the service ended before the test")
    await asyncio.wait_for(serving, 10)
    testing.result()
