"""Each rule of the lease protocol, taken out of the real source, gives two holders again."""

import pytest

from tests.simulation.leases.removals import REMOVALS, Removal, taken_out
from tests.simulation.leases.run import simulated
from tests.simulation.leases.without import hunt

SEEDS_MAX = 300  # from the one that is known to find it, should the cores have changed since


@pytest.mark.parametrize("removal", REMOVALS, ids=str)
def test_without_a_rule_there_are_two_holders(removal: Removal) -> None:
    seeds = range(removal.known_seed, removal.known_seed + SEEDS_MAX)
    found = hunt(removal, seeds, directed=True).found
    assert found is not None, f"nothing was found without {removal}"
    assert found.overlap is not None
    with_it = simulated(found.seed, removal.storm)
    assert not with_it.failure, with_it.told()


def test_every_rule_that_bounds_leases_is_tried() -> None:
    assert {removal.rule for removal in REMOVALS} == {1, 2, 3, 4, 7, 8}


def test_a_rule_is_put_back() -> None:
    before = simulated(5).trace
    with taken_out(REMOVALS[0]):
        pass
    assert simulated(5).trace == before
