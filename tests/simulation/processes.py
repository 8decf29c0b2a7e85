"""What every process has: it can crash, be restarted, be frozen and woken, at any moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from shared.instant import MILLISECOND, Duration, Instant
from shared.messages.table import Message

if TYPE_CHECKING:
    from tests.simulation.world import World

RESTART_MIN_US: Duration = 300 * MILLISECOND  # a supervisor and an interpreter take as long
RESTART_MAX_US: Duration = 1_500 * MILLISECOND
DRAIN_US: Duration = 20  # what one queued event costs a process that has woken


class Crashed(Exception):  # noqa: N818 - it is what happened, not a mistake
    """The process died between two of its actions."""


class Process:
    """A process on a machine; its machine's clock began at some time of its own."""

    def __init__(self, world: World, kind: str, machine: str) -> None:
        self.world = world
        self.kind = kind
        self.machine = machine
        self.name = f"{kind}@{machine}"
        self.alive = False
        self.frozen_since: Instant | None = None
        self.generation = 0
        self.boot_id = ""
        self.steady_since: Instant = 0  # it has not stood still since
        self.stood: list[tuple[Instant, Duration]] = []  # ends and lengths of freezes
        self.arrived_at: Instant = 0  # of what is being handled: when it reached this process
        self._backlog: list[tuple[Instant, Callable[..., None], tuple[Any, ...]]] = []
        self._draining = False

    # -- life ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, as a new process."""
        if self.alive or self.machine in self.world.dark:
            return
        self.generation += 1
        self.boot_id = f"{self.world.rng.getrandbits(64):016x}"
        self.alive = True
        self.steady_since = self.world.agenda.now
        self.stood = []
        self.note("starts")
        self.guard(self.begin)

    def crash(self) -> None:
        """End at once; what it had in hand is gone, what it sent is on its way."""
        if not self.alive:
            return
        self.note("crashes")
        self.alive = False
        self.frozen_since = None
        self.generation += 1
        self._backlog = []
        self._draining = False
        self.ended()
        rng = self.world.rng
        self.world.agenda.after(rng.randrange(RESTART_MIN_US, RESTART_MAX_US), self.start)

    def freeze(self) -> None:
        """Stop without dying."""
        self.note("is frozen")
        self.frozen_since = self.world.agenda.now

    def wake(self, generation: int) -> None:
        """Go on, with all that has queued up meanwhile."""
        if generation != self.generation or self.frozen_since is None:
            return
        slept_us = self.world.agenda.now - self.frozen_since
        self.note(f"wakes after {slept_us // MILLISECOND} ms")
        self.frozen_since = None
        self.steady_since = self.world.agenda.now
        self.stood.append((self.now, slept_us))
        self.woke(slept_us)
        if self.world.rng.random() < 0.5:  # sockets before timers; both orders are seen in life
            self._backlog.sort(key=lambda item: item[1] != self.hear)
        if not self._draining:
            self._draining = True
            self.world.agenda.after(0, self._drain, self.generation)

    def _drain(self, generation: int) -> None:
        if generation != self.generation:
            return
        if self.frozen_since is not None or not self._backlog:
            self._draining = False
            return
        arrived_at, act, arguments = self._backlog.pop(0)
        self.arrived_at = arrived_at
        self.guard(act, *arguments)
        self.world.agenda.after(DRAIN_US, self._drain, self.generation)

    def begin(self) -> None:
        """Build the state and do what comes first."""
        raise NotImplementedError

    def ended(self) -> None:
        """Forget what died with the process."""

    def woke(self, slept_us: Duration) -> None:
        """Notice a freeze as the machine does, not the core."""

    # -- time ----------------------------------------------------------------------------

    @property
    def now(self) -> Instant:
        """Now, on this machine's clock."""
        return self.world.agenda.now + self.world.clock_ahead_us[self.machine]

    def after(self, delay_us: Duration, act: Callable[..., None], *arguments: object) -> None:
        """Set a timer; it dies with the process, and is late when the process is frozen."""
        self.world.agenda.after(delay_us, self.ring, self.generation, act, arguments)

    def ring(self, generation: int, act: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Take something in, if the process that it is meant for still lives."""
        if generation == self.generation:
            self.take(act, *arguments)

    # -- work ----------------------------------------------------------------------------

    def take(self, act: Callable[..., None], *arguments: object) -> None:
        """Handle something now, or when the process wakes."""
        if not self.alive:
            return
        if self.frozen_since is not None or self._draining:
            self._backlog.append((self.world.agenda.now, act, arguments))
            return
        self.arrived_at = self.world.agenda.now
        self.guard(act, *arguments)

    def guard(self, act: Callable[..., None], *arguments: object) -> None:
        """Run something of this process, which may die on the way."""
        with suppress(Crashed):
            act(*arguments)

    def deliver(self, message: Message) -> None:
        """Take a message from the bus in."""
        self.take(self.hear, message)

    def hear(self, message: Message) -> None:
        """Handle a message."""

    def point(self) -> None:
        """Pass a point at which a crash is worth trying."""
        if self.world.faults.crashes_between(self):
            self.crash()
            raise Crashed

    def note(self, what: str) -> None:
        """Add a line to the record."""
        self.world.record.note(self.world.agenda.now, self.name, what)
