"""Every planted bug is caught: a test that cannot fail proves nothing."""

import pytest

from tests.planted.bugs import BUGS
from tests.planted.hunt import simulate, try_test
from tests.planted.planting import Bug, planted
from tests.simulation.invariants import ALL
from tests.simulation.lost_nodes import OF_NODES
from tests.simulation.run import simulated

SEEDS_MAX = 20  # most are found by the first one


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    if ":" in bug.caught_by:
        catch = try_test(bug)
    else:
        seeds = range(bug.first_seed, bug.first_seed + SEEDS_MAX)
        catch = simulate(bug, seeds, bug.storm)
    assert catch.by == bug.caught_by, f"planting '{bug}' was caught by {catch.by or 'nobody'}"


def test_a_bug_is_taken_out_again() -> None:
    before = simulated(3).trace
    with planted(BUGS[0]):
        pass
    assert simulated(3).trace == before


def test_at_least_the_invariants_that_matter_most_have_a_bug_of_their_own() -> None:
    caught = {bug.caught_by for bug in BUGS}
    # An incident's phases are sums of what the same function cuts; a foreign cause of a step is
    # found as a step that nobody ordered; both are tried by unit tests of their own.
    spared = {"AddsUp", "Caused", "Innocent"}
    assert {kind.__name__ for kind in (*ALL, *OF_NODES)} - caught <= spared
