"""How late this process's own event loop is while probes are under way: the observer observed."""

import asyncio
from collections import deque

from shared.clock import Clock
from shared.instant import MILLISECOND, SECOND, Duration, Instant

# A loop that stood still for B shows between B - EVERY and B: 10 ms, against the 25 ms that matter
# (half of the shortest time-out).
EVERY = 10 * MILLISECOND
NOTED_MIN = 2 * MILLISECOND  # timers are this late on any machine
NOTED_MAX = 256  # the last 2.5 s even if every tick is late; no probe takes longer


class Watch:
    """A timer that knows when it should have fired.

    It runs only as long as somebody needs it: a probe that is answered within its first tick costs
    no wake-up, which is nearly all of what an idle node would spend on it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_at: Instant = 0
        self._noted: deque[tuple[Instant, Duration]] = deque(maxlen=NOTED_MAX)
        self._timer: asyncio.TimerHandle | None = None
        self._watched = 0

    def begin(self) -> Instant:
        """Watch for one more who needs it; returns the time."""
        now = self._clock.now()
        if self._watched == 0:
            self._noted.clear()
            self._set(now)
        self._watched += 1
        return now

    def end(self, began_at: Instant) -> Duration:
        """Return the longest lateness since then, the present one included."""
        assert self._watched > 0
        late_us = max((late_us for at, late_us in self._noted if at >= began_at), default=0)
        late_us = max(late_us, self._clock.now() - self._due_at, 0)
        self._watched -= 1
        if self._watched == 0:
            self.stop()
        return late_us

    def stop(self) -> None:
        """Watch no longer, whoever needs it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, now: Instant) -> None:
        self._due_at = now + EVERY
        self._timer = asyncio.get_running_loop().call_later(EVERY / SECOND, self._tick)

    def _tick(self) -> None:
        now = self._clock.now()
        late_us = now - self._due_at
        if late_us > NOTED_MIN:
            self._noted.append((now, late_us))
        self._set(now)
