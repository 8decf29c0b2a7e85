"""Three hundred seeds of the lease protocol, each its own weather: never two holders."""

from collections import Counter

import pytest

from shared.instant import MILLISECOND
from tests.simulation.leases.clocks import Agenda, MachineClock
from tests.simulation.leases.run import simulated
from tests.simulation.leases.weather import Fault

SEEDS = 300
CASES = 20  # so that a failure names its seeds, and the tests can be spread


@pytest.mark.parametrize("case", range(CASES))
def test_no_address_ever_has_two_holders_and_each_is_held_again(case: int) -> None:
    outcomes = [simulated(seed) for seed in range(case, SEEDS, CASES)]
    failed = [outcome for outcome in outcomes if outcome.failure]
    assert not failed, f"{len(failed)} seeds failed; the first:\n{failed[0].told()}"
    faults = sum((outcome.world.record.faults for outcome in outcomes), Counter[str]())
    takings = sum(outcome.world.record.counts["takings"] for outcome in outcomes)
    # Without faults and without VIPs that go from node to node nothing was tried.
    assert len(faults) > len(Fault) // 2, f"hardly any fault was injected: {faults}"
    assert takings > 50


def test_a_seed_replays_exactly() -> None:
    first, second = simulated(11), simulated(11)
    assert first.trace == second.trace
    assert first.told() == second.told()
    assert simulated(12).trace != first.trace


def test_in_calm_weather_nothing_moves_and_nothing_fails() -> None:
    for seed in range(5):
        outcome = simulated(seed, frozenset())
        assert not outcome.failure
        vips = outcome.world.weather.cluster.vips
        assert outcome.world.record.counts["takings"] == len(vips)


def test_a_frozen_step_lets_the_others_go_on() -> None:
    agenda = Agenda()
    done: list[str] = []

    def stand() -> None:
        agenda.run(agenda.now + 10 * MILLISECOND)
        done.append("wakes")

    agenda.after(1, stand)
    agenda.after(5, done.append, "other")
    agenda.run(20 * MILLISECOND)
    assert done == ["other", "wakes"]
    assert agenda.now == 20 * MILLISECOND


def test_clocks_that_differ_by_six_per_cent_do() -> None:
    agenda = Agenda()
    slow = MachineClock(agenda, ahead_us=7, rate=970_000)
    fast = MachineClock(agenda, ahead_us=0, rate=1_030_000)
    agenda.run(1_000_000)
    assert (slow.now(), fast.now()) == (970_007, 1_030_000)
    assert slow.true(970_007) == fast.true(1_030_000) == 1_000_000
    assert slow.lasts(97) == 100
