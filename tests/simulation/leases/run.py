"""One seed, from beginning to end, as a result that can be shown."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from shared.instant import SECOND
from tests.simulation.leases.watch import Overlap, Violation
from tests.simulation.leases.weather import Fault
from tests.simulation.leases.world import World

COMMAND = "python -m tests.simulation.leases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a seed ended."""

    seed: int
    world: World
    failure: str  # "" or what was broken

    @property
    def overlap(self) -> Overlap | None:
        """Two holders, if there were."""
        return self.world.watch.overlap

    @property
    def trace(self) -> str:
        """What is equal for equal runs, and hardly for others."""
        agenda = self.world.agenda
        return f"{self.world.rng.getrandbits(32):08x}-{agenda.steps}-{agenda.now}"

    def told(self) -> str:
        """Return the last second, what was broken, and how to see it again."""
        end = self.world.watch.overlap
        since = (end.since if end is not None else self.world.agenda.now) - SECOND
        rates = ", ".join(
            f"{name} {(rate - 1_000_000) / 10_000:+.1f} %"
            for name, rate in self.world.weather.rates.items()
        )
        return (
            f"seed {self.seed}; clocks: {rates}\n{self.world.record.told(since)}\n"
            f"{self.failure}\nreplay with: {COMMAND} --replay {self.seed}"
        )


def simulated(seed: int, storm: frozenset[Fault] | None = None) -> Outcome:
    """Run a seed; a core that fails an assertion of its own has failed as well."""
    world = World(seed, storm)
    try:
        world.run()
    except Violation as violation:
        failure = str(violation)
    except Exception as error:  # noqa: BLE001 - whatever a core raises is a finding
        failure = f"{error!r} in a core:\n{traceback.format_exc()}"
    else:
        failure = str(world.watch.overlap or world.watch.broken)
    return Outcome(seed=seed, world=world, failure=failure)
