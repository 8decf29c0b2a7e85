"""Runs the simulation until it finds a bug."""

from dataclasses import dataclass

from tests.planted.planting import Bug, planted
from tests.simulation.run import simulated


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How a bug was found, if it was."""

    seeds: int  # that it took
    failure: str  # "" it was not found

    @property
    def by(self) -> str:
        """Return what found it: an invariant, or an assertion of a core."""
        first = self.failure.split("\n", 1)[0]
        return "an assertion in the core" if " in a core:" in first else first.split(":", 1)[0]


def hunted(bug: Bug, seeds_max: int, *, any_weather: bool = False) -> Catch:
    """Run seeds with the bug in place until one fails."""
    storm = None if any_weather else bug.storm
    with planted(bug):
        for count, seed in enumerate(range(seeds_max), 1):
            outcome = simulated(seed, storm)
            if outcome.failure:
                return Catch(seeds=count, failure=outcome.failure)
    return Catch(seeds=seeds_max, failure="")
