"""Feeds the core with what is heard and with time, and carries out what it decides.

Writing the plan blocks the loop on purpose: nothing may happen before it is on the disk, and it
takes less than handing it to a thread and back (docs/decisions/0013). What waits for HAProxy or
for an answer is a task of its own, which ends in an event.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from services.traffic_switcher.adapters.driver import Driver
from services.traffic_switcher.adapters.story import Story
from services.traffic_switcher.core import coalesced, deadline, decide, is_current, start
from services.traffic_switcher.core.measures import Counts, counted, measures
from services.traffic_switcher.core.readiness import readiness
from services.traffic_switcher.core.state import (
    Action,
    Apply,
    Commanded,
    Event,
    Memory,
    NotPersisted,
    NotShown,
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
from services.traffic_switcher.shell.spans import record
from shared.bus import Received
from shared.cluster import Service
from shared.errors import BusError, StateError, SwitchError
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.table import Message
from shared.messages.traffic import (
    Drain,
    Failback,
    Failover,
    Plan,
    Recall,
    Recalled,
    Restore,
)
from shared.rules import Rules
from shared.runtime import Base

# A burst is a few. What does not fit is dropped, said, and comes again: commands are repeated.
COMMANDS_MAX = 1_000
FOLLOW_EVERY_US: Duration = 100 * MILLISECOND  # whether the bus is back
ASK_STREAM_AGAIN_US: Duration = SECOND


class Store(Protocol):
    """Where the plan is persisted."""

    def read(self) -> tuple[Memory | None, tuple[str, ...]]:
        """Return what was persisted, and what was wrong with what could not be used."""

    def write(self, memory: Memory) -> None:
        """Return only when it is safe; raise `StateError` if it is not."""


class Told(Protocol):
    """Who is told of plans."""

    def __call__(self, plan: Plan, *, is_failover: bool) -> None:
        """Hear of one that was persisted."""


class Requests(Protocol):
    """Who sends real requests through the load balancer."""

    async def verify(self, services: Sequence[Service], rules: Rules) -> tuple[Outcome, ...]:
        """Send one to each service and judge the answers."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A task of ours has failed with a mistake of ours."""

    error: BaseException


class Switcher:
    """One task owns the state; everything else puts events on its queue."""

    def __init__(
        self,
        base: Base,
        *,
        driver: Driver,
        store: Store,
        requests: Requests,
    ) -> None:
        self._base = base
        self._node = base.settings.member
        self._driver = driver
        self._store = store
        self._requests = requests
        self._told: Told | None = None
        # Its length is bounded: by COMMANDS_MAX, and because everything else is under way once.
        self._queue: asyncio.Queue[Event | _Failed] = asyncio.Queue()
        self._is_ready = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._verification: asyncio.Task[None] | None = None
        self._story = Story(base.log)
        self._state = self._begin()
        self._counts = Counts()
        base.health.check(lambda: readiness(self._state, base.clock.now()))
        base.health.measure(lambda: measures(self._state, self._counts))

    @property
    def plan(self) -> Plan | None:
        """The newest persisted plan."""
        return self._state.memory.plan

    def tell(self, told: Told) -> None:
        """Tell somebody of every plan as soon as it is persisted."""
        self._told = told

    async def run(self) -> None:
        """Follow the newest plan until told to stop; traffic stays as it is then."""
        bus = self._base.bus
        await bus.subscribe(f"command.{self._node}", self._hear)
        await bus.answer(f"recall.{self._node}", self._recall)
        self._spawn(self._follow_bus())
        self._spawn(self._wake_at_end())
        try:
            await self._feed((Tick(),))
            while not self._base.stopping.is_set():
                await self._feed(await self._next())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- events --------------------------------------------------------------------------

    async def _next(self) -> tuple[Event, ...]:
        """Wait for an event, or until something is due; take all that is there."""
        due_at = deadline(self._state)
        wait_s = None if due_at is None else max(due_at - self._base.clock.now(), 0) / SECOND
        try:
            async with asyncio.timeout(wait_s):
                found = [await self._queue.get()]
        except TimeoutError:
            return (Tick(),)
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        for event in found:
            if isinstance(event, _Failed):
                raise event.error
        return coalesced(e for e in found if not isinstance(e, _Failed))

    async def _feed(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self._story.heard(self._state, event)
            self._say_ready(event)
            self._state, actions = decide(self._state, event, self._base.clock.now())
            for action in actions:
                await self._perform(action)

    def _hear(self, received: Received) -> None:
        if not isinstance(received.message, Failover | Failback | Drain | Restore):
            return
        if self._queue.qsize() >= COMMANDS_MAX:
            self._base.log.warning("command_dropped", because=f"{COMMANDS_MAX} are waiting")
            return
        self._put(Commanded(received.message))

    def _put(self, event: Event | _Failed) -> None:
        self._queue.put_nowait(event)

    async def _recall(self, received: Received) -> Message:
        assert isinstance(received.message, Recall)
        return Recalled(node=self._node, plan=self.plan)

    # -- actions -------------------------------------------------------------------------

    async def _perform(self, action: Action) -> None:
        match action:
            case Persist():
                await self._feed((self._persist(action.memory),))
            case Say():
                self._story.said(action.message)
                await self._base.bus.publish(action.message)
                self._counts = counted(self._counts, action.message)
            case Trace():
                record(self._base, action)
            case Read():
                self._launch(action)
                await self._base.clock.sleep(0)  # it is asked before the disk is waited for
            case Apply() | Prepare() | Verify():
                self._launch(action)
            case _:
                assert_never(action)

    def _launch(self, action: Read | Apply | Prepare | Verify) -> None:
        """Begin what takes its time."""
        match action:
            case Read():
                self._spawn(self._read(action))
            case Apply():
                self._spawn(self._apply(action))
            case Prepare():
                self._spawn(self._prepare(action))
            case Verify():
                if self._verification is not None:
                    self._verification.cancel()
                self._verification = asyncio.ensure_future(self._verify(action))
                self._keep(self._verification)
            case _:
                assert_never(action)

    def _persist(self, memory: Memory) -> Event:
        try:
            self._store.write(memory)
        except StateError as error:
            return NotPersisted(memory.fence, str(error))
        is_new = memory.fence > self._state.memory.fence
        if self._told is not None and memory.plan is not None and is_new:
            received = self._state.received
            self._told(memory.plan, is_failover=received is None or received.is_failover)
        return Persisted(memory.fence)

    async def _read(self, action: Read) -> None:
        try:
            self._put(Shown(await self._driver.read(counters=action.counters)))
        except SwitchError as error:
            self._put(NotShown(str(error)))

    async def _apply(self, action: Apply) -> None:
        def may_send() -> bool:
            return is_current(self._state, action.number)

        try:
            installation = await self._driver.apply(action.steps, may_send)
        except SwitchError as error:
            self._put(NotShown(str(error)))
            return
        self._put(Overtaken() if installation is None else Shown(installation))

    async def _prepare(self, action: Prepare) -> None:
        try:
            await self._driver.prepare(action.rules, action.closed, keep=action.keep)
        except SwitchError as error:
            self._put(Prepared(str(error)))
            return
        self._put(Prepared(""))

    async def _verify(self, action: Verify) -> None:
        cluster = self._base.settings.cluster
        services = tuple(cluster.services[name] for name in sorted(action.rules))
        outcomes = await self._requests.verify(services, action.rules)
        self._put(Verified(action.number, outcomes))

    # -- tasks ---------------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.ensure_future(coroutine))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._put(_Failed(error))

    async def _wake_at_end(self) -> None:
        await self._base.stopping.wait()
        self._put(Tick())

    async def _follow_bus(self) -> None:
        """Read our own last command whenever the bus is there again: one may have been missed."""
        has_asked = False
        while True:
            if not self._base.bus.connected:
                has_asked = False
            elif not has_asked:
                has_asked = await self._ask_stream()
            wait_us = FOLLOW_EVERY_US if has_asked else ASK_STREAM_AGAIN_US
            await self._base.clock.sleep(wait_us)

    async def _ask_stream(self) -> bool:
        try:
            received = await self._base.bus.last(f"command.{self._node}")
        except BusError:
            return False
        if received is not None:
            self._hear(received)
        return True

    # -- beginning -----------------------------------------------------------------------

    def _say_ready(self, event: Event) -> None:
        """Commands are heard from the start; ready is when HAProxy's file is there as well."""
        if not self._is_ready and isinstance(event, Prepared) and not event.detail:
            self._is_ready = True
            epoch, sequence = self._state.memory.fence
            self._base.ready(epoch=epoch, sequence=sequence)

    def _begin(self) -> State:
        memory, complaints = self._store.read()
        for complaint in complaints:
            after = "joins as a new member" if memory is None else "uses the other copy"
            self._base.log.error("plan_unreadable", because=complaint, so=after)
        settings = self._base.settings
        return start(
            settings.cluster, self._node, self._base.boot_id, memory, self._base.clock.now()
        )
