"""Looks for a planted bug: by simulation, or by the test that is named for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module

from tests.planted.planting import Bug, planted
from tests.simulation.run import simulated
from tests.simulation.weather import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How a bug was found, if it was."""

    by: str  # an invariant, an assertion of a core, a test; "" nobody
    seeds: int = 0  # that it took
    failure: str = ""


def simulate(bug: Bug, seeds: Iterable[int], storm: frozenset[Fault] | None) -> Catch:
    """Run seeds with the bug in place until one fails; no storm is any weather."""
    count = 0
    with planted(bug):
        for count, seed in enumerate(seeds, 1):
            failure = simulated(seed, storm).failure
            if failure:
                return Catch(by=_finder(failure), seeds=count, failure=failure)
    return Catch(by="", seeds=count)


def _finder(failure: str) -> str:
    first = failure.split("\n", 1)[0]
    return "an assertion in the core" if " in a core:" in first else first.split(":", 1)[0]


def try_test(bug: Bug) -> Catch:
    """Run the one test that must fail with the bug in place, and only then."""
    module, name = bug.caught_by.split(":")
    test = getattr(import_module(module), name)
    test()
    with planted(bug):
        try:
            test()
        except Exception as error:  # noqa: BLE001 - a test may fail in any way
            return Catch(by=bug.caught_by, failure=str(error))
    return Catch(by="")
