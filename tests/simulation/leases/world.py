"""A cluster made of a seed, run through a storm, healed, and expected to hold every VIP."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from shared.instant import HOUR, MILLISECOND, SECOND, Duration
from shared.messages.operator import OperatorRequest
from tests.simulation.leases.arbiters import Arbiter, Stream
from tests.simulation.leases.clocks import Agenda, MachineClock
from tests.simulation.leases.faults import Faults
from tests.simulation.leases.kernel import Kernel
from tests.simulation.leases.network import Network
from tests.simulation.leases.processes import Seat
from tests.simulation.leases.record import Record
from tests.simulation.leases.switchers import Disk, Noticed, Switcher
from tests.simulation.leases.watch import Violation, Watch
from tests.simulation.leases.weather import Fault, Weather, drawn

CALM_US: Duration = 1_500 * MILLISECOND  # before the storm: everybody begins, every VIP is held
START_WITHIN_US: Duration = 50 * MILLISECOND
HEAL_WITHIN_US: Duration = 3 * SECOND
HOLDS_FOR_US: Duration = 500 * MILLISECOND  # and no renewal may be missing in that time
LOOK_EVERY_US: Duration = 20 * MILLISECOND
AHEAD_MAX_US: Duration = 1_000 * HOUR
WALL_AT_START_US = 1_700_000_000 * SECOND


@dataclass(eq=False)
class Machine:
    """What a process is on: a clock, a kernel, a disk, and what ails it."""

    name: str
    clock: MachineClock
    kernel: Kernel = field(init=False)
    disk: Disk = field(default_factory=Disk)
    powered: bool = True
    unfit: str = ""  # its VIPs' interface
    balancer: str = ""
    leaving: str = ""

    @property
    def ailing(self) -> str:
        """Why it cannot hold anything, "" it can."""
        return self.unfit or self.balancer or self.leaving


class World:
    """All there is."""

    def __init__(self, seed: int, storm: frozenset[Fault] | None = None) -> None:
        self.rng = Random(seed)
        self.weather: Weather = drawn(self.rng, storm)
        cluster = self.weather.cluster
        self.agenda = Agenda()
        self.record = Record()
        self.stream = Stream()
        self.machines = {name: self._machine(name) for name in cluster.members}
        self.network = Network(self)
        self.watch = Watch(self)
        self.faults = Faults(self)
        self.switchers = {
            node: Seat(self, "switcher", self.machines[node], Switcher) for node in cluster.nodes
        }
        assert cluster.witness is not None
        self.arbiter = Seat(self, "arbiter", self.machines[cluster.witness.name], Arbiter)
        self.seats = (self.arbiter, *self.switchers.values())

    def _machine(self, name: str) -> Machine:
        ahead_us = self.rng.randrange(AHEAD_MAX_US)
        clock = MachineClock(self.agenda, ahead_us=ahead_us, rate=self.weather.rates[name])
        machine = Machine(name=name, clock=clock)
        machine.kernel = Kernel(self, machine, self.weather.ticks_us.get(name, MILLISECOND))
        return machine

    @property
    def wall_us(self) -> int:
        """The time of day, which everybody knows well enough."""
        return WALL_AT_START_US + self.agenda.now

    def run(self) -> None:
        """Let the storm blow over, and see that every VIP is held again."""
        for seat in self.seats:
            self.agenda.after(self.rng.randrange(START_WITHIN_US), seat.start)
        self.agenda.run(CALM_US)
        self._converge("at the beginning")
        self.faults.blow()
        self.agenda.run(self.agenda.now + self.weather.storm_us)
        self.faults.calm()
        self._converge("after the storm")

    def _converge(self, when: str) -> None:
        """Wait until every VIP is held, and see that it stays so."""
        limit = self.agenda.now + HEAL_WITHIN_US
        while not self.agenda.stopped and (dark := self._dark()):
            if self.agenda.now >= limit:
                raise Violation(f"{when} nobody holds {', '.join(dark)} within 3 s")
            self.agenda.run(self.agenda.now + LOOK_EVERY_US)

    def _dark(self) -> list[str]:
        """Return the VIPs that no fit node holds."""
        return [
            name
            for name, vip in sorted(self.weather.cluster.vips.items())
            if not any(
                self.machines[node].kernel.is_open(vip.address) and not self.machines[node].ailing
                for node in self.weather.cluster.nodes
            )
        ]

    # -- what others do ------------------------------------------------------------------

    def ask(self, request: OperatorRequest) -> None:
        """Let a person ask the arbiter."""
        self.record.note(
            self.agenda.now, "somebody", "{} {} to {}", request.verb, request.vip, request.to
        )
        self.network.send("somebody", self.arbiter, request)

    def tell_unfit(self, machine: Machine) -> None:
        """Let the switcher's adapters notice what ails its machine, or no longer does."""
        self.switchers[machine.name].deliver(Noticed())
