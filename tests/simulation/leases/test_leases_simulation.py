"""Three hundred seeds of the lease protocol, each its own weather: never two holders."""

from collections import Counter

import pytest

from services.arbiter.core.leases import bound_us, length_for
from shared.cluster import FailbackMode, VirtualIp
from shared.instant import MILLISECOND, SECOND, Duration
from tests.simulation.leases.clocks import Agenda, MachineClock
from tests.simulation.leases.run import simulated
from tests.simulation.leases.weather import WITNESS, Fault
from tests.simulation.leases.world import World

SEEDS = 300
SETTLED_US: Duration = 8 * SECOND  # by then it is known how regularly everybody beats
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


def settled(seed: int) -> World:
    """Return a world whose VIPs are all at home, and in which whatever befalls them is known."""
    world = World(seed, frozenset())
    for seat in world.seats:
        seat.start()
    world.agenda.run(SETTLED_US)
    world.faults.blow()
    return world


def holder(world: World, vip: VirtualIp) -> str | None:
    """Return whose guard is open."""
    machines = world.machines
    nodes = world.weather.cluster.nodes
    return next((node for node in nodes if machines[node].kernel.is_open(vip.address)), None)


@pytest.mark.parametrize("seed", range(4))
def test_a_holder_that_beats_and_hears_nothing_is_replaced_soon_after_its_last_lease(
    seed: int,
) -> None:
    world = settled(seed)
    vip = world.weather.cluster.vips["web"]
    heartbeat = world.weather.cluster.heartbeat
    assert holder(world, vip) == vip.home
    lease_us = heartbeat.lease_us or length_for(2 * heartbeat.every_us, heartbeat.every_us)
    cut_at = world.agenda.now
    world.network.cut.add((WITNESS, vip.home))
    while holder(world, vip) in (None, vip.home):
        world.agenda.run(world.agenda.now + MILLISECOND)
        # The beats that show the last answer, that leave it open, and that settle it; a clock that
        # runs slowly here, and the ways to and fro.
        limit_us = (bound_us(lease_us) + 3 * heartbeat.every_us) * 104 // 100 + 20 * MILLISECOND
        assert world.agenda.now - cut_at < limit_us, world.record.told(cut_at)
    taker = holder(world, vip)
    world.agenda.run(world.agenda.now + 3 * SECOND)
    assert holder(world, vip) == taker  # it does not go back to who cannot be told so
    world.network.calm()
    world.agenda.run(world.agenda.now + 3 * SECOND)
    is_automatic = world.weather.cluster.policy.failback is FailbackMode.AUTOMATIC
    assert holder(world, vip) == (vip.home if is_automatic else taker)
    assert world.watch.overlap is None


@pytest.mark.parametrize("seed", [4, 6])  # whose leases are as long as their beats want
def test_a_node_that_misses_an_answer_now_and_then_keeps_its_address(seed: int) -> None:
    world = settled(seed)
    vip = world.weather.cluster.vips["web"]
    takings = world.record.counts["takings"]
    every_us = world.weather.cluster.heartbeat.every_us
    for _ in range(40):
        world.network.cut.add((WITNESS, vip.home))
        world.agenda.run(world.agenda.now + every_us // 2)  # one answer, or none
        world.network.calm()
        world.agenda.run(world.agenda.now + 3 * every_us)
    assert world.record.counts["takings"] == takings


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
