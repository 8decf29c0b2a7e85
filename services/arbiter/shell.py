"""Feeds the core with what is heard and with time, and carries out what it decides."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, assert_never, cast

from services.arbiter.adapters import other_arbiters
from services.arbiter.adapters.incident_spans import IncidentSpans
from services.arbiter.adapters.plans_in_force import found
from services.arbiter.core import decide, start, wakes_at
from services.arbiter.core.measures import Counts, counted, measures
from services.arbiter.core.own_readiness import own_readiness
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
from shared.bus import Received
from shared.errors import BusError, MachineError
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.health import Evidence, Heartbeat, Picture
from shared.messages.leases import ClaimSeen, Held, LeaseBeat
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest
from shared.messages.table import BY_MESSAGE, Message
from shared.messages.traffic import Applied, Drift, Measured, Recall, Recalled, Refused
from shared.runtime import Base

HEARD: tuple[type[Message], ...] = (
    Evidence,
    Picture,
    Heartbeat,
    LeaseBeat,
    Held,
    ClaimSeen,
    Applied,
    Measured,
    Refused,
    Drift,
)
# Two seconds of a hundred nodes' beats. What does not fit is dropped and counted: everything
# that matters is said again, by pictures every second and by commands until acknowledged.
QUEUE_MAX = 4_096
CATCH_UP_WITHIN_US: Duration = 2 * SECOND
TRACED_AFTER_S = 0.01
# Beats wake us a hundred times a second anyway. A tick that is half due is done beside one of them:
# none is ever later for it, and most need no wake-up of their own.
HALF_DUE_US: Duration = TICK_US // 2
ANSWER_WITHIN_S = 2.5  # less than a console waits, so that it hears why


@dataclass(frozen=True, slots=True)
class _Failed:
    """A task of ours has failed with a mistake of ours."""

    error: BaseException


class Arbiter:
    """One task owns the state; everything else puts events on its queue."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._queue: asyncio.Queue[Event | _Failed] = asyncio.Queue(QUEUE_MAX)
        self._state: State | None = None
        self._name = other_arbiters.name_of(base.settings.member)
        self._waiting: dict[int, asyncio.Future[OperatorAnswer]] = {}
        self._tickets = 0
        self._dropped = 0
        self._ordered: tuple[int, int] | None = None  # the newest plan
        self._spans = IncidentSpans(base.telemetry, base.settings.cluster.name, base.clock.wall())
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticked_at: Instant = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._counts = Counts()
        base.health.check(lambda: own_readiness(self._state, base.clock.now()))
        base.health.measure(lambda: measures(self._state, self._counts, base.clock.now()))

    async def run(self) -> None:
        """Find the plan in force, then decide until told to stop.

        Raises `MachineError` while another arbiter leads.
        """
        base = self._base
        # Ourselves too, before we answer: a second one may have been started under our name.
        await self._yield_to_a_leader(base.settings.cluster.members, above=(0, 0))
        for message in HEARD:
            await base.bus.subscribe(BY_MESSAGE[message].pattern, self._hear)
        await base.bus.answer("operator.*", self._answer)
        await base.bus.answer(f"recall.{self._name}", self._recall)
        if not await self._begin(epoch_min=0):
            return
        base.ready(epoch=self._owned().plan.epoch)
        self._await_tick()
        try:
            await self._loop()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            for task in self._tasks:
                task.cancel()

    async def _loop(self) -> None:
        while not self._base.stopping.is_set():  # a tick comes soon enough to notice
            event = await self._queue.get()
            if isinstance(event, _Failed):
                raise event.error
            await self._feed(event)
            if isinstance(event, Tick):
                self._await_tick()
            elif self._base.clock.now() - self._ticked_at >= HALF_DUE_US and self._queue.empty():
                await self._feed(Tick(wall_us=self._base.clock.wall()))
                self._await_tick()

    async def _feed(self, event: Event) -> None:
        state, actions = decide(self._owned(), event, self._base.clock.now())
        self._state = state
        for action in actions:
            await self._perform(action)

    async def _perform(self, action: Action) -> None:
        match action:
            case Order():
                await self._order(action)
            case Say():
                await self._say(action.message)
            case Reply():
                waiting = self._waiting.pop(action.ticket, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(action.answer)
            case CatchUp():
                self._spawn(self._catch_up(action.sleep))
            case Adopt():
                self._base.log.warning("begins_again", because="a switcher has a newer plan")
                others = self._base.settings.cluster.members.keys() - {self._base.settings.member}
                await self._yield_to_a_leader(others, above=self._owned().plan.number)
                await self._begin(epoch_min=action.epoch_min)
            case _:
                assert_never(action)
        self._counts = counted(self._counts, action)

    async def _order(self, order: Order) -> None:
        plan, begun_wall_us = order.command.plan, self._base.clock.wall()
        for node in order.to:
            await self._base.bus.publish(order.command, to=node)
        await self._base.clock.sleep(0)  # they are on their way before anybody is told of them
        if self._base.telemetry.enabled:  # later: what was published still waits to be written
            sent = (order, begun_wall_us, self._base.clock.wall())
            asyncio.get_running_loop().call_later(TRACED_AFTER_S, self._spans.sent, *sent)
        # Commands are repeated until acknowledged, twenty times a second.
        is_new, self._ordered = plan.number != self._ordered, plan.number
        (self._base.log.info if is_new else self._base.log.debug)(
            "ordered",
            command=type(order.command).__name__.lower(),
            epoch=plan.epoch,
            sequence=plan.sequence,
            to=",".join(order.to),
            incident=plan.incident,
            because=plan.reason,
        )
        await self._feed(Sent(number=plan.number))

    async def _say(self, message: Message) -> None:
        await self._base.bus.publish(message)
        self._spans.hear(message)
        row = BY_MESSAGE[type(message)]
        if row.kept:
            self._base.log.info("said", type=row.type, **_story(message))

    async def _yield_to_a_leader(self, members: Iterable[str], above: tuple[int, int]) -> None:
        bus, here = self._base.bus, self._base.settings.member
        found = await other_arbiters.leader(bus, members, here, above)
        if found is None:
            return
        there, plan = found
        raise MachineError(
            f"another arbiter leads: on {there}, with plan {plan.epoch}.{plan.sequence}. A cluster"
            f" has one, or nothing would be held: stop this one, on {here}, or that one"
        )

    async def _begin(self, epoch_min: int) -> bool:
        """Start from the plan in force; False when told to stop before it was found."""
        base = self._base
        cluster = base.settings.cluster
        base.log.info("looks_for_the_plan_in_force", nodes=",".join(cluster.nodes))
        looking = asyncio.ensure_future(
            found(base.bus, cluster, base.clock, base.settings.member, epoch_min)
        )
        stop = asyncio.ensure_future(base.stopping.wait())
        await asyncio.wait({looking, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not looking.done():
            looking.cancel()
            return False
        while not self._queue.empty():  # what was heard while looking is old by now
            self._queue.get_nowait()
        past = looking.result()
        self._state, actions = start(cluster, base.settings.member, past, base.clock.now())
        for action in actions:
            await self._perform(action)
        return True

    async def _catch_up(self, sleep: int) -> None:
        """Send ourselves a message: when it is back, all that was queued before it is here."""
        recall = Recall(asker=self._name)
        try:
            await self._base.bus.ask(recall, to=self._name, timeout_us=CATCH_UP_WITHIN_US)
        except BusError as error:
            # Without the bus nothing was queued there either; the next picture counts again.
            self._base.log.warning("slept_and_cannot_catch_up", because=str(error))
        await self._queue.put(CaughtUp(sleep=sleep))

    def _await_tick(self) -> None:
        """Tick when it is due, and before that if a lease ends that somebody waits for."""
        if self._alarm is not None:
            self._alarm.cancel()
        now = self._ticked_at = self._base.clock.now()
        end = wakes_at(self._state, now) if self._state is not None else None
        self._wake_at(min(now + TICK_US, end or now + TICK_US), now)

    def _wake_at(self, due: Instant, now: Instant) -> None:
        # Rounded up to the milliseconds that loops count in, lest it comes too early and again.
        delay_ms = max(-((now - due) // MILLISECOND), 1)
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(delay_ms * MILLISECOND / SECOND, self._tick)

    def _tick(self) -> None:
        clock = self._base.clock
        self._put(Tick(wall_us=clock.wall()))
        self._wake_at(clock.now() + TICK_US, clock.now())  # should the queue be full

    def _hear(self, received: Received) -> None:
        self._put(cast("Event", received.message))  # only what HEARD names is subscribed

    def _put(self, event: Event) -> None:
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._dropped += 1
            if self._dropped % QUEUE_MAX == 1:
                self._base.log.warning("events_dropped", so_far=self._dropped)

    async def _answer(self, received: Received) -> Message:
        """Answer a person, once the core has decided."""
        request = received.message
        assert isinstance(request, OperatorRequest)
        if self._state is None:
            text = "this arbiter is still looking for the plan in force: try again in a moment"
            return OperatorAnswer(answer=Answer.NOT_LEADING, text=text)
        self._tickets += 1
        ticket = self._tickets
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = waiting
        self._put(Asked(ticket=ticket, request=request))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer: OperatorAnswer = await waiting
        except TimeoutError:
            text = "the arbiter is too busy to answer; nothing is known to have been done"
            return OperatorAnswer(answer=Answer.NOT_LEADING, text=text)
        finally:
            self._waiting.pop(ticket, None)
        self._base.log.info(
            "asked", verb=request.verb, owner=request.owner, answer=answer.answer, text=answer.text
        )
        return answer

    async def _recall(self, received: Received) -> Message:
        assert isinstance(received.message, Recall)
        plan = self._state.plan if self._state is not None else None
        return Recalled(node=self._base.settings.member, plan=plan)

    def _owned(self) -> State:
        assert self._state is not None, "nothing is decided before the plan in force is found"
        return self._state

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._queue.put_nowait(_Failed(error))


def _story(message: Message) -> dict[str, object]:
    """Return the fields of a fact that a log line shows."""
    incident = getattr(message, "incident", None)
    document = incident if not isinstance(incident, str) else None
    fields = {
        "service": getattr(message, "service", None),
        "node": getattr(message, "node", None),
        "state": getattr(message, "after", None) or getattr(document, "state", None),
        "incident": getattr(document, "id", incident),
        "because": getattr(message, "reason", None) or getattr(document, "sentence", None),
    }
    return {name: value for name, value in fields.items() if value is not None}
