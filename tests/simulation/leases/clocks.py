"""True time, which only the watch may compare, and the clocks of machines, which go as they do."""

import heapq

from shared.instant import Duration, Instant
from tests.simulation.agenda import Agenda as PlainAgenda

PARTS = 1_000_000  # a rate is in parts of a million: 1_030_000 runs 3 % fast


class Agenda(PlainAgenda):
    """What is to happen; a process that is frozen between two steps lets the others go on.

    Such a freeze runs the agenda from within one of its own steps. When it ends while a later
    one still lasts, it lasts as long as that one: a longer freeze, which is as good.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False

    def run(self, until: Instant) -> None:
        """Let time pass, unless all is over."""
        due = self._due
        while not self.stopped and due and due[0][0] <= until:
            at, _, act, arguments = heapq.heappop(due)
            self.now = max(self.now, at)
            self.steps += 1
            act(*arguments)
        if not self.stopped:
            self.now = max(self.now, until)


class MachineClock:
    """A machine's monotonic clock: begins anywhere, runs at a rate of its own."""

    def __init__(self, agenda: Agenda, *, ahead_us: Duration, rate: int) -> None:
        self._agenda = agenda
        self._ahead_us = ahead_us
        self.rate = rate

    def now(self) -> Instant:
        """Return what it shows now."""
        return self._ahead_us + self._agenda.now * self.rate // PARTS

    def true(self, shown: Instant) -> Instant:
        """Return the true time at which it first shows this."""
        return -(-(shown - self._ahead_us) * PARTS // self.rate)

    def lasts(self, duration_us: Duration) -> Duration:
        """Return the true length of what lasts so long on this clock, at least a microsecond."""
        return max(1, -(-duration_us * PARTS // self.rate))
