"""Simulated time: what is to happen, and when."""

import heapq
from collections.abc import Callable
from typing import Any

from shared.instant import Duration, Instant


class Agenda:
    """Runs what is due, in the order of time; what is due together runs as it was entered."""

    def __init__(self) -> None:
        self.now: Instant = 0
        self.steps = 0
        self._due: list[tuple[Instant, int, Callable[..., None], tuple[Any, ...]]] = []
        self._entered = 0

    def after(self, delay_us: Duration, act: Callable[..., None], *arguments: object) -> None:
        """Do something later."""
        assert delay_us >= 0
        self._entered += 1
        heapq.heappush(self._due, (self.now + delay_us, self._entered, act, arguments))

    def run(self, until: Instant) -> None:
        """Let time pass."""
        due = self._due
        while due and due[0][0] <= until:
            self.now, _, act, arguments = heapq.heappop(due)
            self.steps += 1
            act(*arguments)
        self.now = until
