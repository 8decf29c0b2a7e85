"""Hears the bus, keeps the view, reads the past in the background, and asks for people."""

import asyncio
from contextlib import suppress

from services.console.core.state import State
from services.console.core.view import (
    Action,
    Happening,
    Heard,
    Past,
    ReadPast,
    Tick,
    Unread,
    Wake,
    decide,
    start,
)
from shared.bus import Bus, Received
from shared.cluster import Cluster
from shared.errors import BusError
from shared.ground import Ground
from shared.instant import SECOND, Duration, Instant
from shared.messages.facts import (
    IncidentClosed,
    IncidentOpened,
    IncidentUpdated,
    LeaderChanged,
    NodeChanged,
    Readiness,
    ServiceChanged,
    Situation,
    VipChanged,
)
from shared.messages.health import Evidence, Picture, Presence
from shared.messages.leases import ClaimSeen, Held
from shared.messages.operator import OperatorAnswer, OperatorRequest
from shared.messages.table import BY_MESSAGE, Message
from shared.messages.traffic import (
    Applied,
    Drain,
    Drift,
    Failback,
    Failover,
    Measured,
    Refused,
    Restore,
)
from shared.telemetry import ROOT_KEY, Telemetry
from shared.trace import SpanKind

HEARD: tuple[type[Message], ...] = (
    Presence,  # not every beat: nobody is judged here
    Evidence,
    Picture,
    Failover,
    Failback,
    Drain,
    Restore,
    Applied,
    Drift,
    Refused,
    Measured,
    NodeChanged,
    ServiceChanged,
    Readiness,
    LeaderChanged,
    Situation,
    IncidentOpened,
    IncidentUpdated,
    IncidentClosed,
    OperatorRequest,
    Held,
    ClaimSeen,
    VipChanged,
)

# A hundred nodes say less in five seconds. What does not fit is dropped and counted: every full
# picture is said again within a second, and the stream keeps the events.
QUEUE_MAX = 4_096
TICK_US: Duration = SECOND  # how soon a bus that went or came back is noticed
PAST_INCIDENTS = 400  # each incident is said at least thrice
PAST_EVENTS = 1_000
PAST_BATCH = 50  # messages held at once: a plan of a hundred nodes is 0.1 MB
PAST_WITHIN_US: Duration = 30 * SECOND
ASK_WITHIN_US: Duration = 3 * SECOND  # an arbiter answers in milliseconds, an election takes 1 s


def heard_patterns(cluster: Cluster, member: str) -> list[str]:
    """Return what a console subscribes to: everything, but each plan only once.

    Every plan goes to every node: hearing all would be the square of the nodes, for all consoles
    the cube.
    """
    node = member if member in cluster.nodes else cluster.primary
    rows = {BY_MESSAGE[kind] for kind in HEARD}
    return sorted(
        {
            row.subject.replace("{to}", node) if "{to}" in row.subject else row.pattern
            for row in rows
        }
    )


class Console:
    """One member's console: everything it knows is in one state, owned by one loop."""

    def __init__(self, ground: Ground, *, version: str) -> None:
        self._clock, self._log, self._stopping = ground.clock, ground.log, ground.stopping
        self._bus: Bus | None = None
        self._telemetry = Telemetry()
        self._queue: asyncio.Queue[Happening] = asyncio.Queue(QUEUE_MAX)
        self._dropped = 0
        self._news = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None
        settings = ground.settings
        self._cluster, self._member = settings.cluster, settings.member
        self._state = start(
            settings.cluster,
            member=settings.member,
            version=version,
            trace_ui=settings.trace_ui,
            now=ground.clock.now(),
        )

    @property
    def state(self) -> State:
        """All that is known at this moment."""
        return self._state

    @property
    def stopping(self) -> bool:
        """Whether those who follow should be let go."""
        return self._stopping.is_set()

    def now(self) -> Instant:
        """Return the clock that ages are counted by."""
        return self._clock.now()

    def wall(self) -> int:
        """Return the time of day, for people."""
        return self._clock.wall()

    async def hear(self, bus: Bus, telemetry: Telemetry) -> None:
        """Begin to hear, as soon as there is a bus."""
        self._telemetry = telemetry
        for pattern in heard_patterns(self._cluster, self._member):
            await bus.subscribe(pattern, self._hear)
        self._bus = bus

    async def run(self) -> None:
        """Take in one happening after another until told to stop."""
        ticking = asyncio.create_task(self._tick())
        ending = asyncio.create_task(self._end())
        try:
            while not self._stopping.is_set():
                await self._take(await self._queue.get())
        finally:
            for task in (ticking, ending, self._reading):
                if task is not None:
                    task.cancel()
            await self._wake()

    async def news(self, number: int, within_us: Duration) -> bool:
        """Wait for an event after a numbered one; False when none came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_us / SECOND), self._news:
                await self._news.wait_for(
                    lambda: self._state.newest > number or self._stopping.is_set()
                )
        return self._state.newest > number

    async def ask(self, request: OperatorRequest) -> OperatorAnswer:
        """Carry a wish to the leading arbiter; raise `BusError` if nobody answers."""
        if self._bus is None:
            raise BusError("the bus has not been reached yet")
        begun_wall_us = self._clock.wall()
        answer = await self._bus.ask(request, timeout_us=ASK_WITHIN_US)
        if not isinstance(answer, OperatorAnswer):
            raise BusError(f"the arbiter answered with a {type(answer).__name__}")
        self._log.info("asked", verb=request.verb.value, owner=request.owner, answer=answer.answer)
        self._trace(request, answer, begun_wall_us)
        return answer

    def _trace(self, request: OperatorRequest, answer: OperatorAnswer, begun_wall_us: int) -> None:
        """Add what a person asked for to the trace of the incident that it became."""
        if answer.incident is None:
            return
        verb = request.verb.value
        self._telemetry.record(
            name=f"ask {verb}",
            incident=answer.incident,
            begin_wall_us=begun_wall_us,
            end_wall_us=self._clock.wall(),
            parent=ROOT_KEY,
            key=f"ask/{self._state.member}/{verb}/{begun_wall_us}",
            attributes={
                "equipoise.verb": verb,
                "equipoise.owner": request.owner,
                "equipoise.answer": answer.answer.value,
            },
            kind=SpanKind.SERVER,  # of the person at the other end of its HTTP
        )

    def _hear(self, received: Received) -> None:
        try:
            self._queue.put_nowait(Heard(message=received.message, envelope=received.envelope))
        except asyncio.QueueFull:
            self._dropped += 1

    async def _take(self, event: Happening) -> None:
        self._state, actions = decide(self._state, event, self._clock.now())
        for action in actions:
            await self._perform(action)

    async def _perform(self, action: Action) -> None:
        match action:
            case ReadPast():
                assert self._bus is not None
                self._reading = asyncio.create_task(self._read_past(self._bus))
            case Wake():
                await self._wake()

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _end(self) -> None:
        await self._stopping.wait()
        await self._queue.put(self._now_tick())

    def _now_tick(self) -> Tick:
        return Tick(bus=self._bus is not None and self._bus.connected)

    async def _tick(self) -> None:
        while True:
            await self._queue.put(self._now_tick())
            if self._dropped:
                self._log.warning("dropped", messages=self._dropped, because="the queue was full")
                self._dropped = 0
            await self._clock.sleep(TICK_US)

    async def _read_past(self, bus: Bus) -> None:
        """Read incidents first: events belong to them."""
        try:
            async with asyncio.timeout(PAST_WITHIN_US / SECOND):
                await self._read(bus, "incident.*", PAST_INCIDENTS)
                await self._read(bus, ">", PAST_EVENTS)
        except (BusError, TimeoutError) as error:
            self._log.info("past_unread", because=str(error) or "the stream did not answer in time")
            await self._queue.put(Unread())
            return
        await self._queue.put(Past(heard=(), done=True))

    async def _read(self, bus: Bus, pattern: str, limit: int) -> None:
        batch: list[Heard] = []
        async for received in bus.past(pattern, limit=limit):
            batch.append(Heard(message=received.message, envelope=received.envelope))
            if len(batch) >= PAST_BATCH:
                await self._queue.put(Past(heard=tuple(batch), done=False))
                batch = []
        await self._queue.put(Past(heard=tuple(batch), done=False))
