"""The only reader of clocks, and the only sleeper."""

import asyncio
import time
from typing import Protocol

from shared.instant import SECOND, Duration, Instant


class Clock(Protocol):
    """Time as a service sees it; tests and the simulation bring their own."""

    def now(self) -> Instant:
        """Return this machine's monotonic time: for every decision."""

    def wall(self) -> int:
        """Return microseconds since 1970 UTC: for people and traces, never for a decision."""

    async def sleep(self, duration_us: Duration) -> None:
        """Wait; zero or less yields once."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> Instant:
        """Return CLOCK_MONOTONIC, which all namespaces of one machine share."""
        return time.monotonic_ns() // 1_000

    def wall(self) -> int:
        """Return the time of day."""
        return time.time_ns() // 1_000

    async def sleep(self, duration_us: Duration) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(max(duration_us, 0) / SECOND)
