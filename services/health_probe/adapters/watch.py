"""How late this process's own event loop is: the observer observed."""

import asyncio
from collections import deque

from shared.clock import Clock
from shared.instant import MILLISECOND, SECOND, Duration, Instant

# A loop that stood still for B shows between B - EVERY and B; 10 ms against the 25 ms that matter
# (half of the shortest time-out), for a tenth of a per cent of a core.
EVERY = 10 * MILLISECOND
NOTED_MIN = 2 * MILLISECOND  # timers are this late on any machine
NOTED_MAX = 256  # the last 2.5 s even if every tick is late; no probe takes longer


class Watch:
    """A timer that knows when it should have fired."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_at: Instant = 0
        self._noted: deque[tuple[Instant, Duration]] = deque(maxlen=NOTED_MAX)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._due_at = self._clock.now() + EVERY
        self._timer = asyncio.get_running_loop().call_later(EVERY / SECOND, self._tick)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def late_us(self, since: Instant) -> Duration:
        """Return the longest lateness since then, the present one included."""
        noted = max((late_us for at, late_us in self._noted if at >= since), default=0)
        return max(noted, self._clock.now() - self._due_at, 0)

    def _tick(self) -> None:
        now = self._clock.now()
        late_us = now - self._due_at
        if late_us > NOTED_MIN:
            self._noted.append((now, late_us))
        self.start()
