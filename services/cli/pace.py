"""Waiting, for the few commands that wait; importing it costs what an event loop costs."""

import asyncio

from shared.clock import SystemClock


class Pace:
    """The clock of this machine, as commands use it."""

    def __init__(self) -> None:
        self._clock = SystemClock()

    def now(self) -> int:
        """Return the machine's monotonic time in microseconds."""
        return self._clock.now()

    def rest(self, duration_us: int) -> None:
        """Wait; Ctrl-C ends it."""
        asyncio.run(self._clock.sleep(duration_us))
