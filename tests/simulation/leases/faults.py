"""Injects what the weather wants, and heals it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from services.traffic_switcher.core.leases.pace import PERMIT_US
from shared.instant import MILLISECOND, Duration, Instant
from shared.messages.operator import OperatorRequest, Verb
from tests.simulation.leases.processes import Ended, Process, Seat
from tests.simulation.leases.steps import COMMIT
from tests.simulation.leases.weather import WITNESS, Fault

if TYPE_CHECKING:
    from tests.simulation.leases.world import World

FREEZE_MAX_US: Duration = 1_400 * MILLISECOND  # longer than the longest lease
PERMIT_SCALE_US: Duration = 2 * PERMIT_US
RESTART_MIN_US: Duration = 3 * MILLISECOND
RESTART_MAX_US: Duration = 900 * MILLISECOND
LASTS_MIN_US: Duration = 30 * MILLISECOND
LASTS_MAX_US: Duration = 1_200 * MILLISECOND
HEARD_US: Duration = 1_500 * MILLISECOND  # late messages and leases included
POWERLESS_MAX_US: Duration = 1_500 * MILLISECOND


class Faults:
    """Blows until it is calm."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._every = dict(world.weather.every)
        self.blowing = False
        self._calm_since: Instant = 0
        # Points until the next strike of each kind: counted, so that a calm run draws nothing.
        self._strikes: dict[Fault, int] = {}
        self._aimed: dict[tuple[str, str], Duration] = {}  # at a node's next such point

    def blow(self) -> None:
        """Begin the storm."""
        self.blowing = True
        for fault in sorted(self._every):
            if fault in STRIKES:
                self._strikes[fault] = self._wait(fault)
            else:
                self._again(fault)

    def calm(self) -> None:
        """End it: everything is healed, at once."""
        world = self._world
        self.blowing = False
        self._calm_since = world.agenda.now
        self._aimed.clear()
        world.network.calm()
        for machine in world.machines.values():
            machine.kernel.broken = False
            machine.disk.full = False
            machine.unfit = machine.balancer = machine.leaving = ""
            machine.powered = True
        if Fault.KERNEL in self._every:
            # A switcher that saw its guard removed again and again leaves it alone for a minute.
            for seat in world.switchers.values():
                seat.kill(0)
        for seat in world.seats:
            if seat.process is not None:
                seat.process.wake()
            seat.start()

    @property
    def is_long_quiet(self) -> bool:
        """Whether whatever was wrong is long over, and heard of."""
        begins = self._calm_since == 0 and not self.blowing
        return begins or (not self.blowing and self._world.agenda.now - self._calm_since > HEARD_US)

    def _wait(self, fault: Fault) -> int:
        return 1 + int(self._rng.expovariate(1 / self._every[fault]))

    def _again(self, fault: Fault) -> None:
        self._world.agenda.after(self._wait(fault) * MILLISECOND, self._inject, fault)

    def _inject(self, fault: Fault) -> None:
        if not self.blowing:
            return
        self._again(fault)
        self._count(fault)
        INJECTIONS[fault](self)

    def _count(self, fault: Fault) -> None:
        self._world.record.faults[fault] += 1

    # -- between two steps ---------------------------------------------------------------

    def strike_us(self, process: Process, place: str) -> Duration:
        """Return for how long a process stands still at a point; it may also be killed there."""
        if not self.blowing:
            return 0
        if self._aimed and (process.machine.name, place) in self._aimed:
            return self._aimed_us(process.machine.name, place)
        is_arbiter = process.machine.name == WITNESS
        if not is_arbiter and self._due(Fault.SWITCHER_DIES):
            process.seat.kill(self._restart_us())
            return 0
        if self._due(Fault.ARBITER_STRIKE if is_arbiter else Fault.SWITCHER_STRIKE):
            return self._strike_us()
        return 0

    def _strike_us(self) -> Duration:
        """Draw a freeze: around what a permit lives, a little less than that, or long."""
        kind = self._rng.random()
        if kind < 0.35:
            return self._rng.randrange(PERMIT_SCALE_US)
        if kind < 0.6:
            return PERMIT_US - self._rng.randrange(MILLISECOND, 9 * MILLISECOND)
        return self._rng.randrange(FREEZE_MAX_US)

    def _due(self, fault: Fault) -> bool:
        if fault not in self._strikes:
            return False
        self._strikes[fault] -= 1
        if self._strikes[fault] > 0:
            return False
        self._strikes[fault] = self._wait(fault)
        self._count(fault)
        return True

    # -- draws ---------------------------------------------------------------------------

    def _restart_us(self) -> Duration:
        """Return how long a supervisor takes: at once more often than late."""
        span = RESTART_MAX_US - RESTART_MIN_US
        return RESTART_MIN_US + int(span * self._rng.random() ** 3)

    def _lasts_us(self) -> Duration:
        return self._rng.randrange(LASTS_MIN_US, LASTS_MAX_US)

    def _node(self) -> str:
        return self._rng.choice(tuple(self._world.weather.cluster.nodes))

    def _switcher(self) -> Seat:
        return self._world.switchers[self._node()]

    def ends(self, process: Process) -> None:
        """Let a process that was told to stop end, and be started again."""
        process.note("has let go, and ends")
        process.seat.kill(self._restart_us())
        raise Ended

    def _note(self, who: str, text: str, *values: object) -> None:
        self._world.record.note(self._world.agenda.now, who, text, *values)

    def _for_a_while(self, change: Callable[[], None], undo: Callable[[], None]) -> None:
        change()
        self._world.agenda.after(self._lasts_us(), undo)

    # -- each fault ----------------------------------------------------------------------

    def _late(self) -> None:
        network = self._world.network

        def change() -> None:
            network.late = self._rng.choice((0.1, 0.4, 0.8))

        self._for_a_while(change, lambda: setattr(network, "late", 0.0))

    def _doubled(self) -> None:
        network = self._world.network

        def change() -> None:
            network.doubled = self._rng.choice((0.1, 0.5))

        self._for_a_while(change, lambda: setattr(network, "doubled", 0.0))

    def _lost(self) -> None:
        network = self._world.network

        def change() -> None:
            network.lost = self._rng.choice((0.1, 0.3, 0.7))

        self._for_a_while(change, lambda: setattr(network, "lost", 0.0))

    def _cut(self) -> None:
        node = self._node()
        self._sever(*self._rng.choice((((node, WITNESS),), ((WITNESS, node),))))

    def _isle(self) -> None:
        node = self._node()
        self._sever((node, WITNESS), (WITNESS, node))

    def _sever(self, *ways: tuple[str, str]) -> None:
        network = self._world.network
        for source, target in ways:
            self._note("network", "{} no longer reaches {}", source, target)
        self._for_a_while(
            lambda: network.cut.update(ways), lambda: network.cut.difference_update(ways)
        )

    def _freeze(self, seat: Seat) -> None:
        if seat.process is not None:
            seat.process.freeze(self._rng.randrange(PERMIT_SCALE_US, FREEZE_MAX_US))

    def _files_lost(self) -> None:
        """Lose the files of a switcher; it is noticed at its next start, which is now."""
        seat = self._switcher()
        self._note(seat.name, "loses its files")
        seat.machine.disk.lose()
        self._world.watch.lost(seat.machine.name)
        seat.kill(self._restart_us())

    def _disk_full(self) -> None:
        disk = self._world.machines[self._node()].disk
        self._for_a_while(lambda: setattr(disk, "full", True), lambda: setattr(disk, "full", False))

    def _power(self) -> None:
        machine = self._world.machines[self._node()]
        if not machine.powered:
            return
        self._note(machine.name, "loses power")
        machine.powered = False
        machine.kernel.power_off()
        seat = self._world.switchers[machine.name]
        seat.kill(0)

        def back() -> None:
            machine.powered = True
            seat.start()

        self._world.agenda.after(self._rng.randrange(POWERLESS_MAX_US), back)

    def _unfit(self) -> None:
        machine = self._world.machines[self._node()]
        what, word = self._rng.choice(
            (("unfit", "no carrier"), ("balancer", "dead: refused"), ("leaving", "told to stop"))
        )
        self._note(machine.name, "{}: {}", what, word)

        def tell() -> None:
            self._world.tell_unfit(machine)

        def change() -> None:
            setattr(machine, what, word)
            tell()

        def undo() -> None:
            setattr(machine, what, "")
            tell()

        self._for_a_while(change, undo)

    def _kernel(self) -> None:
        kernel = self._world.machines[self._node()].kernel
        self._for_a_while(
            lambda: setattr(kernel, "broken", True), lambda: setattr(kernel, "broken", False)
        )

    def _people(self) -> None:
        self._move(self._vip(), self._node())

    def _vip(self) -> str:
        return self._rng.choice(tuple(self._world.weather.cluster.vips))

    def _move(self, vip: str, to: str) -> None:
        """Let somebody who sees where a VIP is ask for it to be elsewhere."""
        cluster = self._world.weather.cluster
        home = cluster.vips[vip].home
        if self._world.stream.holder(vip) == to:
            to = self._rng.choice([name for name in cluster.nodes if name != to])
        self._world.ask(
            OperatorRequest(
                verb=Verb.FAILBACK if to == home else Verb.FAILOVER,
                node=None,
                service=None,
                owner="somebody",
                reason="to see what happens",
                vip=vip,
                to=None if to == home else to,
                force=self._rng.random() < 0.5,
            )
        )

    # -- several at the worst moment for each other ---------------------------------------

    def _relapse(self) -> None:
        """Let a node release, say so late, die, and be back before that is heard."""
        node = self._node()
        machine, seat = self._world.machines[node], self._world.switchers[node]
        way, late = (node, WITNESS), self._world.network.late_ways
        late[way] = 0.9
        machine.unfit = "no carrier"
        machine.disk.full = self._rng.random() < 0.3
        loses = Fault.FILES_LOST in self._every
        self._world.tell_unfit(machine)

        def die() -> None:
            late.pop(way, None)
            machine.unfit, machine.disk.full = "", False
            if loses:
                machine.disk.lose()
                self._world.watch.lost(node)
            seat.kill(self._rng.randrange(RESTART_MIN_US, 10 * RESTART_MIN_US))

        self._world.agenda.after(self._rng.randrange(2 * MILLISECOND, 40 * MILLISECOND), die)

    def _succession(self) -> None:
        """Let the arbiter be new, and soon after that a node cut off."""
        arbiter = self._world.arbiter
        arbiter.kill(self._rng.randrange(RESTART_MIN_US, 20 * RESTART_MIN_US))
        self._world.agenda.after(self._rng.randrange(LASTS_MAX_US) // 3, self._isle)

    def _overtaken(self) -> None:
        """Move a VIP to and fro while what the arbiter says to a node is late; then a new arbiter.

        The late grants are those of the arbiter before, and the plan comes after them.
        """
        node, world = self._node(), self._world
        others = [name for name in world.weather.cluster.nodes if name != node]
        vip = self._vip()
        way, late = (WITNESS, node), world.network.late_ways
        late[way] = self._rng.choice((0.5, 0.8))
        self._move(vip, node)
        moment = self._rng.randrange(60) * MILLISECOND
        world.agenda.after(moment, self._move, vip, self._rng.choice(others))
        moment += self._rng.randrange(60) * MILLISECOND
        world.agenda.after(moment, world.arbiter.kill, self._rng.randrange(RESTART_MIN_US) + 1)

        def be_punctual() -> None:
            late.pop(way, None)

        world.agenda.after(moment + self._lasts_us() // 3, be_punctual)

    def _last_renewal(self) -> None:
        """Let a holder stand still within a renewal that is its last: cut off, and frozen after."""
        node = self._world.stream.holder(self._vip()) or self._node()
        self._aimed[node, COMMIT] = self._rng.randrange(PERMIT_US // 2, PERMIT_US)

    def _aimed_us(self, node: str, place: str) -> Duration:
        if place == COMMIT:
            ways, cut = ((node, WITNESS), (WITNESS, node)), self._world.network.cut
            cut.update(ways)
            self._world.agenda.after(FREEZE_MAX_US, lambda: cut.difference_update(ways))
            self._aimed[node, ""] = FREEZE_MAX_US
        return self._aimed.pop((node, place))

    def kill_switcher(self) -> None:
        """Kill a switcher, frozen or not."""
        self._switcher().kill(self._restart_us())

    def kill_arbiter(self) -> None:
        """Kill the arbiter, frozen or not."""
        self._world.arbiter.kill(self._restart_us())

    def freeze_switcher(self) -> None:
        """Freeze a switcher; its kernel goes on."""
        self._freeze(self._switcher())

    def freeze_arbiter(self) -> None:
        """Freeze the arbiter."""
        self._freeze(self._world.arbiter)


STRIKES = (Fault.SWITCHER_STRIKE, Fault.SWITCHER_DIES, Fault.ARBITER_STRIKE)
INJECTIONS: dict[Fault, Callable[[Faults], None]] = {
    Fault.LATE: Faults._late,
    Fault.DOUBLED: Faults._doubled,
    Fault.LOST: Faults._lost,
    Fault.CUT: Faults._cut,
    Fault.ISLE: Faults._isle,
    Fault.SWITCHER_FREEZE: Faults.freeze_switcher,
    Fault.SWITCHER_KILL: Faults.kill_switcher,
    Fault.ARBITER_FREEZE: Faults.freeze_arbiter,
    Fault.ARBITER_KILL: Faults.kill_arbiter,
    Fault.FILES_LOST: Faults._files_lost,
    Fault.DISK_FULL: Faults._disk_full,
    Fault.POWER: Faults._power,
    Fault.UNFIT: Faults._unfit,
    Fault.KERNEL: Faults._kernel,
    Fault.PEOPLE: Faults._people,
    Fault.RELAPSE: Faults._relapse,
    Fault.SUCCESSION: Faults._succession,
    Fault.OVERTAKEN: Faults._overtaken,
    Fault.LAST_RENEWAL: Faults._last_renewal,
}
