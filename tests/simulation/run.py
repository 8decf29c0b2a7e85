"""One seed, from beginning to end, as a result that can be shown."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from tests.simulation.invariants import Violation
from tests.simulation.weather import Fault
from tests.simulation.world import World

COMMAND = "python -m tests.simulation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a seed ended."""

    seed: int
    world: World
    failure: str  # "" or which invariant, and how it was broken

    @property
    def trace(self) -> str:
        """A hash of everything that happened: equal for equal runs."""
        record = self.world.record
        return f"{record.hash:08x}-{self.world.agenda.steps}-{self.world.agenda.now}"

    def told(self) -> str:
        """Return what is needed to mend it: the seed, the command, the last lines, the rule."""
        return (
            f"seed {self.seed}\n{self.world.record.told()}\n{self.failure}\n"
            f"replay with: {COMMAND} --replay {self.seed}"
        )


def simulated(seed: int, storm: frozenset[Fault] | None = None) -> Outcome:
    """Run a seed; a core that fails an assertion of its own has failed as well."""
    world = World(seed, storm)
    try:
        world.run()
    except Violation as violation:
        return Outcome(seed=seed, world=world, failure=str(violation))
    except Exception as error:  # noqa: BLE001 - whatever a core raises is a finding
        last = traceback.format_exc()
        return Outcome(seed=seed, world=world, failure=f"{error!r} in a core:\n{last}")
    return Outcome(seed=seed, world=world, failure="")
