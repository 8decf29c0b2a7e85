"""The arbiter's core and the order of its effects, each a point at which it can stand or end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from services.arbiter.core import Past, decide, start, wakes_at
from services.arbiter.core.state import (
    TICK_US,
    Action,
    Adopt,
    Asked,
    CatchUp,
    CaughtUp,
    Event,
    Order,
    Reply,
    Say,
    Sent,
    State,
    Tick,
)
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.leases import Grant
from shared.messages.operator import OperatorRequest
from shared.messages.table import Message
from shared.messages.traffic import Command, Plan, Recall, Recalled
from tests.simulation.leases.processes import Process

ASK_EVERY_US: Duration = 200 * MILLISECOND
# The real one gives the others 3 s; beginning with less knowledge sooner is as possible and worse.
WAIT_FOR_OTHERS_US = (50 * MILLISECOND, 300 * MILLISECOND, 3 * SECOND)
CATCH_UP_US: Duration = 2 * MILLISECOND

Number: TypeAlias = tuple[int, int]


@dataclass(eq=False)
class Stream:
    """What the bus server keeps on its disk: the last command to each node.

    It is where an arbiter begins from, together with what the switchers say. It loses nothing:
    that epochs never repeat rests on it.
    """

    plans: dict[str, Plan] = field(default_factory=dict)

    def holder(self, vip: str) -> str | None:
        """Return where the newest plan has a VIP."""
        newest = max(self.plans.values(), key=lambda plan: plan.number, default=None)
        return newest.vips[vip].holder if newest is not None else None


class Arbiter(Process):
    """Decides and grants, as its shell would: one effect after another."""

    def begin(self) -> None:
        self.state: State | None = None
        self._due_at: Instant | None = None
        self._tickets = 0
        self._look(0)

    # -- beginning -----------------------------------------------------------------------

    def _look(self, epoch_min: int) -> None:
        """Look for the plan in force: ask every switcher, and read the stream."""
        self.state = None
        self._epoch_min = epoch_min
        self._told: dict[str, Plan | None] = {}
        self._began_at: Instant | None = None
        self._wait_us = self.world.rng.choice(WAIT_FOR_OTHERS_US)
        self._ask_all(self._told)

    def _ask_all(self, told: dict[str, Plan | None]) -> None:
        if told is not self._told or self.state is not None:
            return
        if self._is_enough():
            self._begin_from()
            return
        for node, seat in sorted(self.world.switchers.items()):
            if node not in told:
                self.world.network.send(self.machine.name, seat, Recall(asker=self.name))
        self.after(ASK_EVERY_US, self._ask_all, told)

    def _recalled(self, recalled: Recalled) -> None:
        if self.state is not None:
            return
        if self._began_at is None:
            self._began_at = self.now
        self._told.setdefault(recalled.node, recalled.plan)
        if self._is_enough():
            self._begin_from()

    def _is_enough(self) -> bool:
        if len(self._told) == len(self.world.switchers):
            return True
        return self._began_at is not None and self.now - self._began_at > self._wait_us

    def _begin_from(self) -> None:
        self.point()
        recorded = self.world.stream.plans.values()
        plans = tuple(plan for plan in (*self._told.values(), *recorded) if plan is not None)
        past = Past(
            plans=plans, incidents={}, epoch_min=self._epoch_min, wall_us=self.world.wall_us
        )
        self.state, actions = start(self.world.weather.cluster, "witness", past, self.now)
        self.note("begins with plan {}", self.state.plan.number)
        self._obey(actions)
        self.after(TICK_US, self._tick, self.state.begun_at)
        self._alarm()

    # -- what comes ----------------------------------------------------------------------

    def hear(self, message: object) -> None:
        """Handle a message; while it looks, it hears nothing else."""
        match message:
            case Recalled():
                self._recalled(message)
            case _ if self.state is None:
                pass
            case OperatorRequest():
                self._tickets += 1
                self.feed(Asked(ticket=self._tickets, request=message))
            case _:
                self.feed(message)  # type: ignore[arg-type]

    def _tick(self, begun_at: Instant) -> None:
        if self.state is not None and self.state.begun_at == begun_at:
            self.feed(Tick(wall_us=self.world.wall_us))
            self.after(TICK_US, self._tick, begun_at)

    # -- deciding ------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Give the core an event, and carry out what it wants."""
        if self.state is None:
            return
        self.point()  # between hearing and reading the clock
        before = self.state
        self.state, actions = decide(before, event, self.now)
        if self.state.plan.vips is not before.plan.vips:
            self.world.watch.planned(before.plan, self.state.plan)
        self._obey(actions)
        self._alarm()

    def _alarm(self) -> None:
        """Wake exactly when a lease has certainly ended."""
        if self.state is None:
            return
        due_at = wakes_at(self.state, self.now)
        if due_at is not None and (self._due_at is None or due_at < self._due_at):
            self._due_at = due_at
            self.after(max(due_at - self.now, 1), self._rung, due_at)

    def _rung(self, due_at: Instant) -> None:
        if due_at == self._due_at:
            self._due_at = None
            self.feed(Tick(wall_us=self.world.wall_us))

    def _obey(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self.point()
            self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case Order():
                self._order(action)
            case Say():
                self._say(action.message)
            case Reply():
                self.note("answers: {}", action.answer.text)
            case CatchUp():
                self.after(CATCH_UP_US, self.feed, CaughtUp(sleep=action.sleep))
            case Adopt():
                self.note("begins again: a switcher has a newer plan")
                self._look(action.epoch_min)
            case _:
                assert_never(action)

    def _order(self, order: Order) -> None:
        plan = order.command.plan
        self.note("orders plan {}: {}; {}", plan.number, plan.reason, Placed(plan))
        for node in order.to:
            self.point()
            self._record(node, order.command)
            self.world.network.send(self.machine.name, self.world.switchers[node], order.command)
        self.feed(Sent(number=plan.number))

    def _record(self, node: str, command: Command) -> None:
        """Let the stream keep it: it is beside us, and takes what we say in order."""
        recorded = self.world.stream.plans.get(node)
        if recorded is None or recorded.number < command.plan.number:
            self.world.stream.plans[node] = command.plan

    def _say(self, message: Message) -> None:
        if isinstance(message, Grant):
            self.note("grants {} {}", message.node, Granted(message))
            self.world.network.send(self.machine.name, self.world.switchers[message.node], message)


class Placed:
    """Where a plan has the VIPs, as people read it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __format__(self, _: str) -> str:
        return ", ".join(f"{v} {p.holder} {p.term}" for v, p in self._plan.vips.items())


class Granted:
    """A grant, as people read it."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant

    def __format__(self, _: str) -> str:
        grant = self._grant
        vips = ", ".join(f"{vip} {term}" for vip, term in grant.vips.items()) or "nothing"
        length_ms = grant.length_us / MILLISECOND
        return f"beat {grant.number} epoch {grant.epoch}: {vips} for {length_ms:.0f} ms"
