"""One question, one connection, one deadline."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from services.health_probe.adapters.connection import ORDERLY, Connection
from services.health_probe.core.questions import Question
from shared.clock import Clock
from shared.instant import MILLISECOND, SECOND, Duration

# How long a connection without words must last to count: who closes sooner is full, or has
# nothing behind it.
STAYS_US = 5 * MILLISECOND
# Bytes read on after the answer, so that the server and not we end the connection: a reset would
# fill its log, and our ports would wait a minute each.
REST_MAX = 65_536

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all exchanges share."""

    clock: Clock
    under_way: "set[Exchange[Any]]" = field(default_factory=set)


class Exchange(Generic[R]):
    """Puts a question as soon as it is made, and calls back once with the answer."""

    def __init__(
        self,
        question: Question[R],
        place: tuple[str, int],
        answered: Callable[[R], None],
        surroundings: Surroundings,
    ) -> None:
        self._question = question
        self._answer = answered
        self._clock = surroundings.clock
        self._under_way = surroundings.under_way
        self._under_way.add(self)
        self._loop = asyncio.get_running_loop()
        self._began_at = self._clock.now()
        self._received = b""
        self._rest = 0
        self._answered = False
        self._connected = False
        self._timer = self._loop.call_later(question.timeout_us / SECOND, self._overdue)
        self._connection = Connection(*place, self)

    def close(self) -> None:
        """Break it off, whatever it is about; no word of it is heard any more."""
        self._answered = True
        self._timer.cancel()
        self._connection.close()
        self._under_way.discard(self)

    def opened(self) -> None:
        """Put the question, or wait whether the connection stays."""
        self._connected = True
        if self._question.words:
            self._connection.send(self._question.words)
        else:
            took_us = self._took_us()
            self._timer.cancel()
            self._timer = self._loop.call_later(STAYS_US / SECOND, self._stayed, took_us)

    def received(self, data: bytes) -> None:
        """Read an answer, and what comes after it without a look at it."""
        if self._answered:
            self._rest += len(data)
            if self._rest > REST_MAX:
                self.close()
            return
        self._received += data
        self._read(ended=False)

    def ended(self, code: int) -> None:
        """Make of it what can be made."""
        if not self._answered and code == ORDERLY:
            self._read(ended=True)
        elif not self._answered:
            self._finish(self._question.failed(code, os.strerror(code), self._took_us()))
        self.close()

    def _read(self, *, ended: bool) -> None:
        result = self._question.read(self._received, self._took_us(), ended=ended)
        if result is not None:
            self._finish(result)

    def _stayed(self, took_us: Duration) -> None:
        self._finish(self._question.stayed(took_us))
        self.close()

    def _overdue(self) -> None:
        if not self._answered:
            result = self._question.overdue(self._took_us(), connected=self._connected)
            self._finish(result)
        self.close()

    def _finish(self, result: R) -> None:
        self._answered = True
        self._answer(result)

    def _took_us(self) -> Duration:
        return self._clock.now() - self._began_at
