"""A process and its seat: it can be killed or frozen at every point that it passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from shared.instant import MILLISECOND, Duration, Instant

if TYPE_CHECKING:
    from tests.simulation.leases.world import Machine, World

Act: TypeAlias = Callable[..., None]


class Ended(Exception):  # noqa: N818 - it is what happened, not a mistake
    """The process was killed between two of its steps, or all is over."""


class Process:
    """One run of a program, from its start until it is killed."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.world = seat.world
        self.machine = seat.machine
        self.name = seat.name
        self.alive = True
        self.frozen = False
        self._busy = False
        self._waiting: deque[tuple[Act, tuple[Any, ...]]] = deque()

    def begin(self) -> None:
        """Do what comes first."""
        raise NotImplementedError

    def hear(self, message: object) -> None:
        """Handle a message."""
        raise NotImplementedError

    @property
    def now(self) -> Instant:
        """What the machine's clock shows."""
        return self.machine.clock.now()

    @property
    def standing(self) -> bool:
        """Whether it is frozen, or struck by a freeze between two steps, or dead."""
        return self.frozen or self._busy or not self.alive

    # -- work ----------------------------------------------------------------------------

    def take(self, act: Act, words: tuple[Any, ...] = ()) -> None:
        """Do something now, or after what is being done, or after waking."""
        if not self.alive:
            return
        self._waiting.append((act, words))
        if not self._busy:
            self._work()

    def _work(self) -> None:
        self._busy = True
        try:
            while self.alive and self._waiting and not self.frozen:
                act, words = self._waiting.popleft()
                act(*words)
        except Ended:
            return
        finally:
            self._busy = False

    def after(self, delay_us: Duration, act: Act, *words: object) -> None:
        """Set a timer by this machine's clock."""
        self.world.agenda.after(self.machine.clock.lasts(delay_us), self.take, act, words)

    def point(self, place: str = "") -> None:
        """Pass a point between two steps, where the process may stand still or end."""
        strike_us = self.world.faults.strike_us(self, place)
        if strike_us:
            self.note("stands still for {} ms between two steps", strike_us / MILLISECOND)
            self.world.agenda.run(self.world.agenda.now + strike_us)
            if self.alive:
                self.note("goes on")
        if not self.alive or self.world.agenda.stopped:
            raise Ended

    # -- life ----------------------------------------------------------------------------

    def freeze(self, for_us: Duration) -> None:
        """Stop without dying."""
        if self.standing:
            return
        self.note("is frozen for {} ms", for_us / MILLISECOND)
        self.frozen = True
        self.world.agenda.after(for_us, self.wake)

    def wake(self) -> None:
        """Go on, with all that has come meanwhile; sockets and timers in any order."""
        if not (self.alive and self.frozen):
            return
        self.note("wakes")
        self.frozen = False
        if self.world.rng.random() < 0.5:
            self.world.rng.shuffle(self._waiting)
        if not self._busy:
            self._work()

    def kill(self) -> None:
        """End at once; what it sent is on its way."""
        self.note("is killed")
        self.alive = False
        self._waiting.clear()
        self.seat.process = None

    def note(self, text: str, *values: object) -> None:
        """Add a line to the record."""
        self.world.record.note(self.world.agenda.now, self.name, text, *values)


class Seat:
    """Where one process of a kind runs at a time: a supervisor starts it again."""

    def __init__(
        self, world: World, kind: str, machine: Machine, program: Callable[[Seat], Process]
    ) -> None:
        self.world = world
        self.machine = machine
        self.name = f"{kind}@{machine.name}"
        self.process: Process | None = None
        self._program = program

    def start(self) -> None:
        """Begin a new run, unless one is running or the machine is off."""
        if self.process is None and self.machine.powered:
            self.process = self._program(self)
            self.process.note("starts")
            self.process.take(self.process.begin)

    def kill(self, again_after_us: Duration) -> None:
        """End what runs here, and start it again later."""
        if self.process is not None:
            self.process.kill()
        self.world.agenda.after(again_after_us, self.start)

    def deliver(self, message: object) -> None:
        """Hand a message to whoever sits here; nobody: it is lost."""
        if self.process is not None:
            self.process.take(self.process.hear, (message,))
