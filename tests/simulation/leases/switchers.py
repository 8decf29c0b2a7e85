"""The switcher's cores and the order of its effects, each a point at which it can stand or end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from services.traffic_switcher.core.leases import (
    Beginning,
    deadline,
    decide,
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
    Closed,
    Event,
    FloorsNotPersisted,
    FloorsPersisted,
    GuardBroken,
    GuardShown,
    Heard,
    Leaving,
    Memory,
    NotAnswered,
    NotRenewed,
    NotStood,
    PlacesChanged,
    PlacesSeen,
    PlanInForce,
    Renewed,
    Stood,
    Tick,
)
from services.traffic_switcher.core.places import Place
from services.traffic_switcher.core.state import Say, Trace
from services.traffic_switcher.shell.renewing import renew
from shared.errors import SwitchError
from shared.instant import MILLISECOND, Duration, Instant
from shared.messages.leases import Grant, LeaseBeat, Term
from shared.messages.table import Message
from shared.messages.traffic import (
    Applied,
    Command,
    Drain,
    Failback,
    Failover,
    Plan,
    Recall,
    Recalled,
    Refused,
    Restore,
    Stage,
)
from shared.rules import digest
from tests.simulation.leases.processes import Process
from tests.simulation.leases.steps import SteppedClock, SteppedGuard

ADDRESS_US: Duration = MILLISECOND  # netlink, at the most
ASK_STREAM_US: Duration = 100 * MILLISECOND
ANSWER_US: Duration = 2 * MILLISECOND


@dataclass(eq=False)
class Disk:
    """What a switcher finds when it starts: what it wrote last, unless it was lost."""

    plan: Plan | None = None
    memory: Memory | None = None
    full: bool = False

    def lose(self) -> None:
        """Be empty, as a new machine's."""
        self.plan = self.memory = None


@dataclass(frozen=True, slots=True)
class Noticed:
    """An adapter has noticed something about the machine."""


class Switcher(Process):
    """Holds what it is granted, as its shell would: one effect after another."""

    def begin(self) -> None:
        machine = self.machine
        self.node = machine.name
        self.incarnation = f"{self.world.rng.getrandbits(64):016x}"
        self.plan: Plan | None = machine.disk.plan
        self.guard = SteppedGuard(self)
        self.clock = SteppedClock(self)
        self._due_at: Instant | None = None
        beginning = Beginning(
            node=self.node,
            incarnation=self.incarnation,
            memory=machine.disk.memory,
            plan=self.plan,
        )
        self.state = start(self.world.weather.cluster, beginning, self.now)
        self._ask_stream()
        self.feed(Tick())
        self.noticed()

    def _ask_stream(self) -> None:
        """Read our own last command, again and again until it is here."""
        world = self.world
        if self.plan is None and (recorded := world.stream.plans.get(self.node)) is not None:
            seat = world.switchers[self.node]
            world.network.send(world.arbiter.machine.name, seat, Restore(plan=recorded))
        if self.plan is None:
            self.after(ASK_STREAM_US, self._ask_stream)

    # -- what comes ----------------------------------------------------------------------

    def hear(self, message: object) -> None:
        """Handle a message, or what the machine's adapters notice."""
        match message:
            case Grant():
                self.feed(Heard(message))
            case Failover() | Failback() | Drain() | Restore():
                self.commanded(message)
            case Recall():
                self.publish(Recalled(node=self.node, plan=self.plan))
            case Noticed():
                self.noticed()
            case _:
                raise AssertionError(f"nobody sends {message} to a switcher")

    def noticed(self) -> None:
        """Be told by the adapters what ails the machine, or no longer does."""
        machine = self.machine
        self.feed(BalancerChanged(machine.balancer))
        self.feed(PlacesChanged())
        if machine.leaving:
            self.feed(Leaving(machine.leaving))
            machine.leaving = ""

    def commanded(self, command: Command) -> None:
        """Hear a plan: persist it if it is newer than all before, then act on it, then say so."""
        plan, disk = command.plan, self.machine.disk
        if self.plan is not None and plan.number < self.plan.number:
            self._refuse(plan, self.plan.number)
            return
        if self.plan is None or plan.number > self.plan.number:
            self.point()
            if disk.full:
                self.note("cannot write plan {}", plan.number)
                return
            disk.plan = plan
            self.note("persists plan {}", plan.number)
            self.point()
            self.plan = plan
            self.feed(PlanInForce(plan))
        self._applied(plan)

    def _refuse(self, plan: Plan, fence: tuple[int, int]) -> None:
        self.publish(
            Refused(
                node=self.node,
                epoch=plan.epoch,
                sequence=plan.sequence,
                fence_epoch=fence[0],
                fence_sequence=fence[1],
                reason="older than the plan in force here",
            )
        )

    def _applied(self, plan: Plan) -> None:
        self.publish(
            Applied(
                node=self.node,
                boot_id=self.incarnation,
                epoch=plan.epoch,
                sequence=plan.sequence,
                stage=Stage.VERIFIED,
                digest=digest(plan.services),
                incident=plan.incident,
                detail="",
            )
        )

    # -- deciding ------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Give the core an event, carry out what it wants, then what came of that."""
        events = [event]
        while events:
            self.point()  # between hearing and reading the clock
            self.state, actions = decide(self.state, events.pop(0), self.now)
            for action in actions:
                self.point()
                came = self._perform(action)
                if came is not None:
                    events.append(came)
        if self.state.leaving and is_over(self.state):
            self.world.faults.ends(self)
        self._alarm()

    def _alarm(self) -> None:
        due_at = deadline(self.state)
        if self._due_at is None or due_at < self._due_at:
            self._due_at = due_at
            self.after(max(due_at - self.now, 1), self._rung, due_at)

    def _rung(self, due_at: Instant) -> None:
        if due_at != self._due_at:
            return
        self._due_at = None
        self.feed(Tick())

    # -- effects -------------------------------------------------------------------------

    def _perform(self, action: Action) -> Event | None:
        match action:
            case Stand() | Look() | Renew() | CloseGuard() | HandOver() | Keep():
                return self._at_the_guard(action)
            case PersistFloors():
                return self._persist(action.memory)
            case Beat():
                self._beat(action.beat)
            case Say():
                self.publish(action.message)
            case LookAround() | TakeAddress() | Ask():
                self._later(action)
            case DropAddress() | ForgetFlows() | Announce() | Trace():
                pass
            case HoldBack() | PassOn() | LetGo():
                pass  # frames, which never decide who holds
            case _:
                assert_never(action)
        return None

    def _at_the_guard(
        self, action: Stand | Look | Renew | CloseGuard | HandOver | Keep
    ) -> Event | None:
        try:
            return self._guarded(action)
        except SwitchError as error:
            return NotStood(str(error)) if isinstance(action, Stand) else GuardBroken(str(error))

    def _guarded(self, action: Stand | Look | Renew | CloseGuard | HandOver | Keep) -> Event | None:
        guard = self.guard
        event: Event | None = None
        match action:
            case Stand():
                guard.stand()
                event = Stood()
            case Look():
                shown = guard.shows()
                ours = {vip: shown[a] for vip, a in self._addresses() if a in shown}
                event = GuardShown(ours, self.now)
            case Renew():
                event = self._renew(action)
            case CloseGuard():
                guard.close(self._address(action.vip), drain_us=action.drain_us)
                event = Closed(action.vip)
            case HandOver():
                guard.hand_over(self._address(action.vip), to=action.to, for_us=action.for_us)
            case Keep():
                guard.keep(self._address(action.vip))
        return event

    def _renew(self, action: Renew) -> Event:
        """Let the shell's own function do it, over a kernel and a clock that let it be struck."""
        token = self.world.rng.getrandbits(32)
        of_addresses = {self._address(vip): end for vip, end in action.ends.items()}
        done = renew(self.guard, self.clock, token, of_addresses)
        renewed = {vip: end for vip, end in action.ends.items() if self._address(vip) in done}
        return Renewed(renewed) if renewed else NotRenewed()

    def _addresses(self) -> list[tuple[str, str]]:
        return [(vip.name, vip.address) for vip in self.world.weather.cluster.vips.values()]

    def _address(self, vip: str) -> str:
        return self.world.weather.cluster.vips[vip].address

    def _persist(self, memory: Memory) -> Event:
        if self.machine.disk.full:
            return FloorsNotPersisted("no space left on device")
        self.machine.disk.memory = memory
        self.world.watch.persisted(self.node, memory.floors)
        self.point()
        return FloorsPersisted()

    def _beat(self, beat: LeaseBeat) -> None:
        for vip, hold in beat.vips.items():
            self.world.watch.said(self.node, vip, hold.floor)
        self.note("beats {}: {}", beat.number, Shown(beat))
        self.publish(beat)

    def publish(self, message: Message) -> None:
        """Send something to the arbiter."""
        self.world.network.send(self.node, self.world.arbiter, message)

    def _later(self, action: LookAround | TakeAddress | Ask) -> None:
        """Begin what takes its time; it ends in an event."""
        match action:
            case LookAround():
                began_at = self.now
                self.after(ADDRESS_US, self._looked_around, began_at)
            case TakeAddress():
                self.after(ADDRESS_US, self.feed, AddressTaken(action.vip, action.term))
            case Ask():
                self.after(ANSWER_US, self._answered, action.vip, action.term)

    def _looked_around(self, began_at: Instant) -> None:
        self.feed(PlacesSeen(self._places(), began_at))

    def _places(self) -> dict[str, Place]:
        unfit = self.machine.unfit
        return {
            name: Place(interface="eth1", carrier=not unfit, ours=True, unfit=unfit)
            for name in self.world.weather.cluster.vips
        }

    def _answered(self, vip: str, term: Term) -> None:
        is_open = self.machine.kernel.is_open(self._address(vip))
        came = Answered if is_open and not self.machine.balancer else NotAnswered
        self.feed(came(vip, term, ""))


class Shown:
    """A beat as people read it, when they do."""

    def __init__(self, beat: LeaseBeat) -> None:
        self._beat = beat

    def __format__(self, _: str) -> str:
        beat = self._beat
        vips = "; ".join(
            f"{name} {hold.term} rest {hold.rest_us / MILLISECOND:.1f} floor {hold.floor}"
            f"{' ' + hold.unfit if hold.unfit else ''}"
            for name, hold in beat.vips.items()
        )
        return f"epoch {beat.epoch}; {vips} {beat.balancer} {beat.leaving}".rstrip()
