"""Two hundred seeds, each its own weather; invariants at every step, convergence at the end."""

from collections import Counter

import pytest

from tests.simulation.run import simulated
from tests.simulation.weather import Fault

SEEDS = 200
CASES = 20  # so that a failure names its seeds, and the tests can be spread


@pytest.mark.parametrize("case", range(CASES))
def test_every_invariant_holds_in_any_weather_and_all_comes_back(case: int) -> None:
    outcomes = [simulated(seed) for seed in range(case, SEEDS, CASES)]
    failed = [outcome for outcome in outcomes if outcome.failure]
    assert not failed, f"{len(failed)} seeds failed; the first:\n{failed[0].told()}"
    faults = sum((outcome.world.record.faults for outcome in outcomes), Counter[str]())
    plans = sum(outcome.world.record.counts["plans"] for outcome in outcomes)
    # Ten one-sided weathers together still have most kinds; without plans nothing was tried.
    assert len(faults) > len(Fault) // 2, f"hardly any fault was injected: {faults}"
    assert plans > 50
