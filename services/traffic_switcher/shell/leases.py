"""Feeds the core of leases with what is heard and with time, and carries out what it decides.

The kernel and the disk are asked on the loop, on purpose: each takes a fraction of a millisecond,
and nothing may come between what the core decided and what is done. So is an address that is new
here. What takes longer, lists of links and requests, is done beside it and ends in an event.
Nothing here waits for the load balancer.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, assert_never

from services.traffic_switcher.adapters.lease_story import LeaseStory
from services.traffic_switcher.adapters.ports import Guard, Machine
from services.traffic_switcher.core.leases import (
    Beginning,
    deadline,
    decide,
    draining,
    is_over,
    start,
)
from services.traffic_switcher.core.leases.actions import (
    Action,
    Announce,
    Ask,
    Beat,
    CloseGuard,
    DropAddress,
    ForgetFlows,
    HandOver,
    HoldBack,
    Keep,
    LetGo,
    Look,
    LookAround,
    PassOn,
    PersistFloors,
    Renew,
    Stand,
    TakeAddress,
)
from services.traffic_switcher.core.leases.state import (
    AddressTaken,
    Answered,
    BalancerChanged,
    Claimed,
    Closed,
    Event,
    FloorsNotPersisted,
    FloorsPersisted,
    GuardBroken,
    GuardShown,
    Heard,
    Leaving,
    Memory,
    NotAnnounced,
    NotAnswered,
    NotRenewed,
    NotStood,
    PlacesChanged,
    PlacesSeen,
    PlanInForce,
    Renewed,
    State,
    Stood,
    Tick,
)
from services.traffic_switcher.core.measures import LeaseCounts, lease_counted, lease_measures
from services.traffic_switcher.core.readiness import lease_readiness
from services.traffic_switcher.core.state import Say, Trace
from services.traffic_switcher.shell.hands import Hands
from services.traffic_switcher.shell.renewing import renew
from services.traffic_switcher.shell.spans import record
from shared.bus import Received
from shared.cluster import Service
from shared.errors import MachineError, StateError, SwitchError
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.leases import Grant
from shared.messages.table import Message
from shared.messages.traffic import Plan
from shared.runtime import Base

# Beats are answered one by one, 20 a second; what does not fit is dropped, and comes again.
WAITING_MAX = 1_000
# A leaving node has closed its guard by then; this is for the words and the addresses.
LEAVE_WITHIN_US: Duration = 300 * MILLISECOND
BEING_STOPPED = "this switcher is being stopped"
# uvloop counts whole milliseconds, rounded, from when its turn began. Whoever is woken too early
# finds nothing to do, and again, until it is time.
ALARM_EARLY_US: Duration = 1_500
Gentle: TypeAlias = HandOver | Keep | Announce | HoldBack | PassOn | LetGo


class Store(Protocol):
    """Where floors and epoch are persisted."""

    def remembered(self) -> tuple[Memory | None, tuple[str, ...]]:
        """Return what is certain, and what was wrong with what is not."""

    def write(self, content: Memory) -> None:
        """Return only when it is safe; raise `StateError` if it is not."""


class Requests(Protocol):
    """Who sends real requests through a VIP."""

    async def through(self, vip: str, services: Sequence[Service]) -> str:
        """Return "" as soon as one of the services is answered there, else why none is."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A task of ours has failed with a mistake of ours."""

    error: BaseException


class LeaseKeeper:
    """One task owns the state; everything else puts events on its queue."""

    def __init__(
        self,
        base: Base,
        *,
        machine: Machine,
        store: Store,
        requests: Requests,
        persisted: Plan | None,
    ) -> None:
        self._base = base
        self._cluster = base.settings.cluster
        self._machine = machine
        self._store = store
        self._requests = requests
        self._addresses = {name: vip.address for name, vip in self._cluster.vips.items()}
        self._names = {address: name for name, address in self._addresses.items()}
        self._hands = Hands(machine.addresses, self._addresses, base.clock, base.log)
        self._guard: Guard | None = None
        self._queue: asyncio.Queue[Event | _Failed] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: Instant | None = None
        self._story = LeaseStory(base.log)
        self._state = self._begin(persisted)
        self._counts = LeaseCounts()
        base.health.check(lambda: lease_readiness(self._state))
        base.health.measure(lambda: lease_measures(self._state, self._counts, base.clock.now()))

    def plan_in_force(self, plan: Plan, *, is_failover: bool) -> None:
        """Hear of a plan that was persisted."""
        self._put(PlanInForce(plan, is_failover))

    async def run(self) -> None:
        """Hold what is granted until told to stop, then let go of it."""
        await self._feed(Tick())
        self._listen()
        self._keep(self._hands.work(lambda: self._put(PlacesChanged()), self._put))
        self._keep(self._machine.balancer.run(lambda why: self._put(BalancerChanged(why))))
        self._keep(self._machine.farewells.run(self._story.farewells))
        await self._base.bus.subscribe(f"grant.{self._base.settings.member}", self._hear)
        self._keep(self._wake_at_end())
        try:
            while not self._base.stopping.is_set():
                await self._turn()
            await self._leave()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._machine.announcer.close()
            self._machine.newcomers.close()
            await self._hands.close()

    # -- events --------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Wait for an event; time is one, when something is due."""
        self._set_alarm()
        event = await self._queue.get()
        if isinstance(event, _Failed):
            raise event.error
        await self._feed(event)

    def _set_alarm(self) -> None:
        due_at = deadline(self._state)
        if due_at == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        wait_us = max(due_at - self._base.clock.now(), 0)
        self._alarm_at = due_at
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later((wait_us + ALARM_EARLY_US) / SECOND, self._rung)

    def _rung(self) -> None:
        self._alarm_at = None
        self._put(Tick())

    async def _feed(self, event: Event) -> None:
        """Let an event happen, and what follows from it at once, in order."""
        waiting = deque([event])
        if isinstance(event, PlacesSeen):
            self._story.seen(event.places)
        while waiting:
            now = self._base.clock.now()
            self._state, actions = decide(self._state, waiting.popleft(), now)
            for action in actions:
                followed = await self._perform(action)
                if followed is not None:
                    waiting.append(followed)
        self._machine.farewells.bid(self._addresses[name] for name in draining(self._state))
        self._machine.balancer.turn()

    def _hear(self, received: Received) -> None:
        if not isinstance(received.message, Grant):
            return
        if self._queue.qsize() >= WAITING_MAX:
            self._base.log.warning("grant_dropped", because=f"{WAITING_MAX} are waiting")
            return
        self._put(Heard(received.message))

    def _put(self, event: Event | _Failed) -> None:
        self._queue.put_nowait(event)

    def _listen(self) -> None:
        try:
            self._machine.announcer.listen(self._claimed)
        except SwitchError as error:
            self._base.log.warning("claims_not_heard", because=str(error))

    def _claimed(self, address: str, hardware: str, interface: str) -> None:
        if self._queue.qsize() < WAITING_MAX:
            self._put(Claimed(self._names[address], hardware, interface))

    # -- actions -------------------------------------------------------------------------

    async def _perform(  # noqa: C901, PLR0912 - the table of actions
        self, action: Action
    ) -> Event | None:
        match action:
            case Stand() | Look() | Renew() | CloseGuard():
                return self._at_guard(action)
            case HandOver() | Keep() | Announce() | HoldBack() | PassOn() | LetGo():
                return self._try(action)
            case TakeAddress():
                return self._take(action)
            case DropAddress() | ForgetFlows() | LookAround():
                self._hands.wish(action)
            case PersistFloors():
                return self._persist(action.memory)
            case Beat():
                await self._say(action.beat)
            case Ask():
                self._ask(action)
            case Say():
                await self._say(action.message)
                self._counts = lease_counted(self._counts, action.message)
            case Trace():
                record(self._base, action)
            case _:
                assert_never(action)
        return None

    def _at_guard(self, action: Stand | Look | Renew | CloseGuard) -> Event:
        try:
            return self._commit(action)
        except (SwitchError, MachineError) as error:
            return NotStood(str(error)) if isinstance(action, Stand) else GuardBroken(str(error))

    def _commit(self, action: Stand | Look | Renew | CloseGuard) -> Event:
        if self._guard is None:
            self._guard = self._machine.guard()
        match action:
            case Stand():
                self._guard.stand()
                self._story.lacks(self._guard.lacks)
                return Stood()
            case Look():
                at = self._base.clock.now()
                rests = self._guard.shows()
                self._story.lacks(self._guard.lacks)
                # Others can add to our sets; an address that is none of ours opens nothing.
                ours = {n: rests[a] for a, n in self._names.items() if a in rests}
                return GuardShown(ours, at)
            case Renew():
                return self._renew(self._guard, action.ends)
            case CloseGuard():
                self._guard.close(self._addresses[action.vip], drain_us=action.drain_us)
                return Closed(action.vip)
            case _:
                assert_never(action)

    def _renew(self, guard: Guard, ends: Mapping[str, int]) -> Event:
        of_addresses = {self._addresses[name]: end for name, end in ends.items()}
        done = renew(guard, self._base.clock, secrets.randbits(32), of_addresses)
        renewed = {name: end for name, end in ends.items() if self._addresses[name] in done}
        return Renewed(renewed) if renewed else NotRenewed()

    def _try(self, action: Gentle) -> Event | None:
        """Do what makes a move gentler or faster; without it the VIP is held all the same."""
        try:
            self._do_if_possible(action)
        except (SwitchError, MachineError) as error:
            self._story.done(type(action).__name__, action.vip, str(error))
            return NotAnnounced(action.vip) if isinstance(action, Announce) else None
        self._story.done(type(action).__name__, action.vip, "")
        return None

    def _do_if_possible(self, action: Gentle) -> None:
        address = self._addresses[action.vip]
        assert self._guard is not None
        match action:
            case HandOver():
                self._guard.hand_over(address, to=action.to, for_us=action.for_us)
            case Keep():
                self._guard.keep(address)
            case HoldBack():
                self._machine.newcomers.hold_back(address, action.interface)
            case PassOn():
                self._machine.newcomers.pass_on(address, action.hardware)
            case LetGo():
                self._machine.newcomers.let_go(address)
            case Announce():
                # This process may have been stopped since it was decided.
                if self._is_held(action.vip):
                    self._machine.announcer.announce(address, action.interface)
            case _:
                assert_never(action)

    def _take(self, action: TakeAddress) -> Event | None:
        """Put it there at once, unless something else that was wished must come before it."""
        interface = self._state.vips[action.vip].place.interface
        address = self._addresses[action.vip]
        put = self._machine.addresses.put
        if self._hands.is_idle and interface and put(address, interface, action.valid_us):
            return AddressTaken(action.vip, action.term)
        self._hands.wish(action)
        return None

    def _is_held(self, name: str) -> bool:
        return self._base.clock.now() < self._state.vips[name].ends_at

    def _persist(self, memory: Memory) -> Event:
        try:
            self._store.write(memory)
        except StateError as error:
            self._story.persisted(str(error))
            return FloorsNotPersisted(str(error))
        self._story.persisted("")
        return FloorsPersisted()

    async def _say(self, message: Message) -> None:
        self._story.said(message)
        await self._base.bus.publish(message)

    # -- requests through a VIP ----------------------------------------------------------

    def _ask(self, action: Ask) -> None:
        before = self._asking.get(action.vip)
        if before is not None:
            before.cancel()
        self._asking[action.vip] = self._spawn(self._answer(action))

    async def _answer(self, action: Ask) -> None:
        services = [s for _, s in sorted(self._cluster.services.items()) if action.vip in s.vips]
        if not services:
            self._put(Answered(action.vip, action.term, "no service is reached through it"))
            return
        why = await self._requests.through(self._addresses[action.vip], services)
        if why:
            self._put(NotAnswered(action.vip, action.term, why))
        else:
            self._put(Answered(action.vip, action.term, "a request through it was answered"))

    # -- beginning, leaving --------------------------------------------------------------

    def _begin(self, persisted: Plan | None) -> State:
        memory, complaints = self._store.remembered()
        for complaint in complaints:
            self._base.log.error(
                "leases_unreadable", because=complaint, so="joins as a new holder of VIPs"
            )
        beginning = Beginning(
            node=self._base.settings.member,
            incarnation=secrets.token_hex(8),
            memory=memory,
            plan=persisted,
        )
        return start(self._cluster, beginning, self._base.clock.now())

    async def _leave(self) -> None:
        """Let go of everything, say so, and see that it is so."""
        await self._feed(Leaving(BEING_STOPPED))
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN_US / SECOND):
                while not (is_over(self._state) and self._hands.is_idle):
                    await self._turn()

    async def _wake_at_end(self) -> None:
        await self._base.stopping.wait()
        self._put(Tick())

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        _ = self._spawn(coroutine)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._put(_Failed(error))
