"""The switcher's core, driven as its shell drives it, over a load balancer and a disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, assert_never

from services.traffic_switcher.core import decisions
from services.traffic_switcher.core.state import (
    Action,
    Apply,
    Commanded,
    Event,
    Memory,
    NotPersisted,
    NotShown,
    Number,
    Outcome,
    Overtaken,
    Persist,
    Persisted,
    Prepare,
    Prepared,
    Read,
    Say,
    Shown,
    State,
    Tick,
    Trace,
    Verified,
    Verify,
)
from services.traffic_switcher.core.steps import Step
from shared.instant import MILLISECOND, Duration, Instant
from shared.messages.leases import LeaseBeat
from shared.messages.table import Message
from shared.messages.traffic import Drain, Failback, Failover, Refused, Restore
from shared.rules import Admission
from tests.simulation.moments import (
    Followed,
    Persisted as PersistedPlan,
    Prepared as PreparedFile,
    Sending,
    Stepped,
    Stepping,
    Switched,
    Told,
)
from tests.simulation.outside import Balancer, Disk, File, Health
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

CONNECT_US: Duration = 200  # until a command can be sent
BUSY_SHARE = 0.1  # of the exchanges, that wait for a busy load balancer
BUSY_MAX_US: Duration = 20 * MILLISECOND
EXCHANGE_US: Duration = 400  # until it is done, and again until its answer is here
ANSWER_WITHIN_US: Duration = 500 * MILLISECOND
PREPARE_US: Duration = 15 * MILLISECOND  # the load balancer checks its file
VERIFY_US: Duration = 2 * MILLISECOND
VERIFY_WITHIN_US: Duration = 1_000 * MILLISECOND
FOLLOW_US: Duration = 100 * MILLISECOND


class Switcher(Process):
    """Makes a load balancer follow the plan."""

    state: State

    def __init__(self, world: World, node: str, balancer: Balancer) -> None:
        super().__init__(world, "switcher", node)
        self.node = node
        self.balancer = balancer
        self.disk = Disk()
        self._due_at: Instant | None = None
        self._verification = 0
        self._has_asked = False
        self._beats = 0

    def begin(self) -> None:
        cluster = self.world.weather.cluster
        self.state = decisions.start(cluster, self.node, self.boot_id, self.disk.durable, self.now)
        self._due_at = None
        self._has_asked = False
        self.after(self.world.rng.randrange(FOLLOW_US), self._follow_bus)
        self._beats = 0
        self._beat()
        self.feed(Tick())

    def _beat(self) -> None:
        """Say that it lives: leases have a simulation of their own."""
        self._beats += 1
        beat = LeaseBeat(
            node=self.node,
            incarnation=self.boot_id,
            number=self._beats,
            epoch=self.state.memory.fence[0],
            vips={},
        )
        self.world.broker.publish(self, beat)
        self.after(self.world.weather.cluster.heartbeat.every_us, self._beat)

    def _follow_bus(self) -> None:
        """Read our own last command whenever the bus is there again."""
        if self.world.broker.away:
            self._has_asked = False
        elif not self._has_asked:
            self._has_asked = True
            self.world.broker.read(self, lambda broker: broker.commands.get(self.node), self._found)
        self.after(FOLLOW_US, self._follow_bus)

    def _found(self, message: Message | None) -> None:
        if message is not None:
            self.hear(message)

    # -- deciding ------------------------------------------------------------------------

    def hear(self, message: Message) -> None:
        assert isinstance(message, Failover | Failback | Drain | Restore)
        self.feed(Commanded(message))

    def feed(self, event: Event) -> None:
        """Give the core an event, do what it wants, and set the alarm for what is due next."""
        before = self.state
        after, actions = decisions.decide(before, event, self.now)
        self.state = after
        self.world.watch.see(Switched(self, before, event, after))
        for action in actions:
            self.point()
            self._perform(action)
        self._alarm()

    def _alarm(self) -> None:
        due_at = decisions.deadline(self.state)
        if due_at is not None and (self._due_at is None or due_at < self._due_at):
            self._due_at = due_at
            self.after(max(due_at - self.now, 1), self._rung, due_at)

    def _rung(self, due_at: Instant) -> None:
        if due_at != self._due_at:
            return
        self._due_at = None
        if (decisions.deadline(self.state) or 0) <= self.now:
            self.feed(Tick())
        else:
            self._alarm()

    def _perform(self, action: Action) -> None:
        match action:
            case Persist():
                self.feed(self._persist(action.memory))
            case Read():
                self._exchange((), lambda: True, counters=action.counters)
            case Apply():
                number = action.number
                self._exchange(
                    action.steps, lambda: decisions.is_current(self.state, number), number=number
                )
            case Prepare():
                self.after(PREPARE_US, self._prepare, action)
            case Verify():
                self._verification += 1
                self._verify(action)
            case Say():
                self._say(action.message)
            case Trace():
                pass
            case _:
                assert_never(action)

    def _say(self, message: Message) -> None:
        if isinstance(message, Refused):
            self.note(f"refuses {message.epoch}.{message.sequence}: {message.reason}")
        self.world.watch.see(Told(self, message))
        self.world.broker.publish(self, message)

    def _persist(self, memory: Memory) -> Event:
        self.point()
        before = self.disk.durable
        if not self.disk.write(memory):
            self.note("cannot write its plan")
            return NotPersisted(memory.fence, "no space left on device")
        if before is None or before.fence != memory.fence:
            self.note(f"persists {memory.fence[0]}.{memory.fence[1]}")
        self.world.watch.see(PersistedPlan(self, memory))
        self.point()
        return Persisted(memory.fence)

    # -- the load balancer ---------------------------------------------------------------

    def _exchange(
        self,
        steps: Sequence[Step],
        may_send: Callable[[], bool],
        *,
        counters: bool = False,
        number: Number | None = None,
    ) -> None:
        """Connect, ask at the last moment, send all steps and read back."""

        def send() -> None:
            if not may_send():
                self.feed(Overtaken())
                return
            if number is not None:
                self.world.watch.see(Sending(self, number))
            self.point()
            self.world.agenda.after(EXCHANGE_US, act)

        generation = self.generation

        def act() -> None:
            if not self.balancer.up:
                answer(NotShown("connection refused"), EXCHANGE_US)
            elif self.balancer.hung:
                self.balancer.late.append(lambda: self._take(steps, number, is_late=True))
                answer(NotShown("no answer within 500 ms"), ANSWER_WITHIN_US)
            else:
                self._take(steps, number, is_late=False)
                shown = self.balancer.shown(counters=counters)
                answer(Shown(shown), EXCHANGE_US)

        def answer(event: Event, delay_us: Duration) -> None:
            self.world.agenda.after(delay_us, self.ring, generation, self.feed, (event,))

        is_busy = self.world.rng.random() < BUSY_SHARE
        self.after(self.world.rng.randrange(BUSY_MAX_US) if is_busy else CONNECT_US, send)

    def _take(self, steps: Sequence[Step], number: Number | None, *, is_late: bool) -> None:
        if number is None:
            return
        words = ", ".join(map(str, steps))
        self.note(f"balancer does {words}{' late' if is_late else ''}")
        watch = self.world.watch
        before = {name: self.balancer.serving(name) for name in self.world.weather.cluster.services}
        for step in steps:
            watch.see(Stepping(self, step, number, is_late))
            self.balancer.take(step)
            watch.see(Stepped(self, step, before))
        watch.see(Followed(self, before))

    def _prepare(self, prepare: Prepare) -> None:
        if self.disk.full:
            self.feed(Prepared("no space left on device"))
            return
        if not prepare.keep:
            self.balancer.file = File(prepare.rules, prepare.closed)
            self.world.watch.see(PreparedFile(self, prepare.rules))
        self.feed(Prepared(""))

    # -- verification --------------------------------------------------------------------

    def _verify(self, verify: Verify) -> None:
        verification = self._verification
        outcomes = tuple(self._outcome(name, verify) for name in sorted(verify.rules))
        answered = all(outcome.confirmed for outcome in outcomes)

        def end() -> None:
            if verification == self._verification:
                self.feed(Verified(verify.number, outcomes))

        self.after(VERIFY_US if answered else VERIFY_WITHIN_US, end)

    def _outcome(self, service: str, verify: Verify) -> Outcome:
        """Send a request: the load balancer tries who is open until one answers."""
        if not self.balancer.up or self.balancer.hung:
            return Outcome(service, confirmed=False, detail="connection refused")
        open_ones = self.balancer.serving(service)
        self.world.rng.shuffle(open_ones)
        for node in open_ones:
            health = self.world.applications[service, node].health
            if health in (Health.WELL, Health.SLOW):
                confirmed = verify.rules[service][node].admission is Admission.SERVING
                return Outcome(service, confirmed=confirmed, detail=f"{service}: 200 from {node}")
        return Outcome(service, confirmed=False, detail=f"{service}: nobody answers")
