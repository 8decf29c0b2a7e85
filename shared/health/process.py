"""What every process measures of itself, whatever its work is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.health import Check
from shared.instant import SECOND, Duration
from shared.measures import Histogram, Measure, counter, gauge, histogram

LAG_EVERY_US: Duration = SECOND  # a sample costs 20 us

BUILD = gauge("build_info", "The version that runs; always 1.", "version")
CONFIG = gauge(
    "config_info", "The hash of the configuration's meaning; always 1. All members agree.", "hash"
)
PASSED = gauge("check_passed", "Each check of /readyz: 1 passed, 0 failed.", "check")
CONNECTED = gauge("bus_connected", "Whether a server of the bus is reachable: 1 or 0.")
RECONNECTS = counter("bus_reconnects_total", "Connections to the bus made after one was lost.")
REJECTED = counter(
    "bus_messages_rejected_total", "Messages of the bus that were dropped, being unreadable."
)
LAG = histogram("loop_lag_seconds", "How late the event loop was, looked at once a second.")
METRICS = (BUILD, CONFIG, PASSED, CONNECTED, RECONNECTS, REJECTED, LAG)


@dataclass(slots=True)
class Lag:
    """How late a loop is."""

    seen: Histogram = field(default_factory=Histogram)

    async def watch(self, clock: Clock) -> None:
        """Look at it for ever."""
        while True:
            due_at = clock.now() + LAG_EVERY_US
            await clock.sleep(LAG_EVERY_US)
            self.seen = self.seen.with_one(max(clock.now() - due_at, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What is known of a process's connection to the bus."""

    connected: bool = False
    reconnects: int = 0
    rejected: int = 0


def measures(
    version: str, configuration: str, checks: Iterable[Check], lag: Histogram
) -> Iterator[Measure]:
    """Return what it is now."""
    yield BUILD.of({(version,): 1})
    yield CONFIG.of({(configuration,): 1})
    yield PASSED.of({(check.name,): int(not check.failure) for check in checks})
    yield LAG.at(lag)


def connection(bus: Connection) -> Iterator[Measure]:
    """Return how its connection to the bus is now."""
    yield CONNECTED.at(int(bus.connected))
    yield RECONNECTS.at(bus.reconnects)
    yield REJECTED.at(bus.rejected)
