"""The arbiter's core, driven as its shell drives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, assert_never

from services.arbiter.core import Past, decide, start
from services.arbiter.core.state import (
    SLEPT_US,
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
from shared.messages.facts import Incident, Situation
from shared.messages.health import Evidence, Heartbeat, Picture
from shared.messages.leases import LeaseBeat
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest
from shared.messages.table import Message
from shared.messages.traffic import Plan, Recalled
from tests.simulation.moments import Began, Decided, Ordered, Term, Told
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.broker import Broker
    from tests.simulation.world import World

# As in the arbiter's adapter that finds the plan in force, and in its shell.
ASK_WITHIN_US: Duration = 500 * MILLISECOND
ASK_EVERY_US: Duration = 200 * MILLISECOND
WAIT_FOR_OTHERS_US: Duration = 3 * SECOND
CATCH_UP_WITHIN_US: Duration = 2 * SECOND
STREAM_WITHIN_US: Duration = SECOND

# What invariants hear also when nothing followed from it.
OF_NOTE = (Evidence, Picture, Heartbeat, LeaseBeat, Tick, CaughtUp)

Found: TypeAlias = tuple[list[Plan], dict[str, Incident]]


@dataclass(eq=False)
class Search:
    """The look for the plan in force."""

    epoch_min: int
    answers: dict[str, Plan | None] = field(default_factory=dict)
    first_at: Instant | None = None
    round: int = 0
    is_reading: bool = False


class Arbiter(Process):
    """Decides; begins from the plan in force."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "arbiter", "witness")
        self.state: State | None = None
        self.awake_since: Instant = 0  # the last time that it woke from a sleep, or began
        self.term: Term = (0, 0)
        self.caught_up = True
        self.listening_since: Instant = 0  # by its own clock: it began, or caught up
        self.situation: Situation | None = None
        self._search: Search | None = None
        self._waiting: dict[int, Callable[[OperatorAnswer], None]] = {}
        self._tickets = 0

    def begin(self) -> None:
        self._look(0)

    def ended(self) -> None:
        self.state = None
        self._search = None
        self._waiting = {}

    def woke(self, slept_us: Duration) -> None:
        if slept_us > SLEPT_US and self.state is not None:
            self.awake_since = self.world.agenda.now
            self.caught_up = False

    # -- beginning -----------------------------------------------------------------------

    def _look(self, epoch_min: int) -> None:
        self.state = None
        self._search = Search(epoch_min)
        self._ask_all(self._search)

    def _ask_all(self, search: Search) -> None:
        if search is not self._search:
            return
        search.round += 1
        for node in self.world.weather.cluster.nodes:
            if node not in search.answers:
                self.world.broker.recall(self, node, lambda told: self._recalled(search, told))
        self.after(ASK_WITHIN_US, self._end_round, search, search.round)

    def _recalled(self, search: Search, recalled: Recalled) -> None:
        search.answers.setdefault(recalled.node, recalled.plan)
        if len(search.answers) == len(self.world.weather.cluster.nodes):
            self._end_round(search, search.round)

    def _end_round(self, search: Search, number: int) -> None:
        if search is not self._search or number != search.round or search.is_reading:
            return
        if search.answers and search.first_at is None:
            search.first_at = self.now
        complete = len(search.answers) == len(self.world.weather.cluster.nodes)
        waited = search.first_at is not None and self.now - search.first_at > WAIT_FOR_OTHERS_US
        if complete or waited:
            search.is_reading = True
            self.world.broker.read(self, recorded, lambda found: self._begin(search, found))
            self.after(STREAM_WITHIN_US, self._begin, search, None)
        else:
            self.after(ASK_EVERY_US, self._ask_all, search)

    def _begin(self, search: Search, found: Found | None) -> None:
        if search is self._search:
            self._search = None
            self.begin_from(search, found)

    def begin_from(self, search: Search, found: Found | None) -> None:
        """Begin with what was found; None is a stream that did not answer."""
        self.world.stream_unread |= found is None
        recorded, documents = found or ([], {})
        plans = [plan for plan in (*search.answers.values(), *recorded) if plan is not None]
        newest = max(plans, key=lambda plan: plan.number, default=None)
        names = newest.incidents if newest is not None else frozenset()
        past = Past(
            plans=tuple(plans),
            incidents={name: documents[name] for name in sorted(documents) if name in names},
            epoch_min=search.epoch_min,
            wall_us=self.world.wall_us,
        )
        self.state, actions = start(self.world.weather.cluster, "witness", past, self.now)
        self.note(f"begins with {_named(self.state.plan)}")
        self.awake_since, self.caught_up = self.world.agenda.now, True
        self.listening_since = self.now
        self.term = (self.generation, self.now)
        self.world.watch.see(Began(self, past, self.state))
        self._obey(actions)
        self.after(TICK_US, self._tick, self.state.begun_at)

    # -- deciding ------------------------------------------------------------------------

    def hear(self, message: Message) -> None:
        if self.state is not None:  # what is heard while looking is thrown away
            self.feed(message)  # type: ignore[arg-type]

    def feed(self, event: Event) -> None:
        """Give the core an event, and do what it wants."""
        before = self.state
        assert before is not None
        after, actions = decide(before, event, self.now)
        self.state = after
        if after.plan is not before.plan:
            self.note(f"decides {_named(after.plan)}: {after.plan.reason}")
        is_of_note = actions or after.plan is not before.plan or after.standing != before.standing
        if is_of_note or isinstance(event, OF_NOTE):
            self.world.watch.see(Decided(self, before, event, after, actions, self.now))
        self._obey(actions)

    def _tick(self, begun_at: Instant) -> None:
        if self.state is not None and self.state.begun_at == begun_at:
            self.feed(Tick(wall_us=self.world.wall_us))
            self.after(TICK_US, self._tick, begun_at)

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
                self._waiting.pop(action.ticket)(action.answer)
            case CatchUp():
                self._catch_up(action.sleep, self.world.agenda.now)
            case Adopt():
                self._look(action.epoch_min)
            case _:
                assert_never(action)

    def _say(self, message: Message) -> None:
        if isinstance(message, Situation):
            self.situation = message
        else:
            self.world.watch.see(Told(self, message))
        self.world.broker.publish(self, message)

    def _order(self, order: Order) -> None:
        for node in order.to:
            self.point()
            self.world.watch.see(Ordered(self, order.command, node))
            self.world.broker.publish(self, order.command, to=node)
        if self.state is not None:
            self.feed(Sent(number=order.command.plan.number))

    def _catch_up(self, sleep: int, asked_at: Instant) -> None:
        answered = False

        def told() -> None:
            nonlocal answered
            if answered or self.state is None:
                return
            answered = True
            if asked_at >= self.awake_since:  # else it is the answer to an earlier sleep
                self.caught_up, self.listening_since = True, self.now
            self.feed(CaughtUp(sleep=sleep))

        self.world.broker.echo(self, told)
        self.after(CATCH_UP_WITHIN_US, told)

    # -- people --------------------------------------------------------------------------

    def asked(self, request: OperatorRequest, reply: Callable[[OperatorAnswer], None]) -> None:
        """Handle a person's request."""
        if self.state is None:
            reply(OperatorAnswer(answer=Answer.NOT_LEADING, text="looks for the plan in force"))
            return
        self._tickets += 1
        self._waiting[self._tickets] = reply
        self.feed(Asked(ticket=self._tickets, request=request))


def recorded(broker: Broker) -> Found:
    """Read the last commands and the documents of incidents, as the stream has them now."""
    plans = [command.plan for _, command in sorted(broker.commands.items())]
    return plans, dict(broker.incidents)


def _named(plan: Plan) -> str:
    rules = ", ".join(
        f"{service}/{node} {rule.admission}{f' {rule.weight}' if rule.weight else ''}"
        for service, of_service in plan.services.items()
        for node, rule in of_service.items()
    )
    return f"{plan.epoch}.{plan.sequence} [{rules}]"
