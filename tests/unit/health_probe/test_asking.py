"""When probes are due."""

from itertools import pairwise

from services.health_probe.core.asking import (
    IN_FLIGHT_MAX,
    PAUSE_US,
    ask,
    begin,
    confirmation_at,
    offset_us,
    take_slot,
)
from services.health_probe.core.events import Target
from shared.instant import MILLISECOND, SECOND
from tests.unit.health_probe.observed import World, cluster, service

EVERY = 100 * MILLISECOND
NODES = ("a", "b")


def test_two_observers_of_an_instance_are_half_an_interval_apart() -> None:
    for name in ("shop", "orders", "mail"):
        one, two = (offset_us(node, NODES, (name, "a"), EVERY) for node in NODES)
        assert (one - two) % EVERY == EVERY // 2


def test_three_observers_share_the_interval_evenly() -> None:
    nodes = ("a", "b", "c")
    offsets = sorted(offset_us(node, nodes, ("shop", "b"), EVERY) for node in nodes)
    gaps = [(after - before) % EVERY for before, after in pairwise([*offsets, offsets[0]])]
    assert max(gaps) - min(gaps) <= 2


def test_the_instances_of_a_large_cluster_do_not_come_in_bursts() -> None:
    nodes = tuple(f"n{number}" for number in range(10))
    services = [service(f"s{number}", port=8000 + number) for number in range(20)]
    world = World(cluster(*services, nodes=nodes), observer="n3")
    world.run(2 * SECOND)
    asked = [at // (10 * MILLISECOND) for at, _ in world.asks if at >= world.now - SECOND]
    assert len(asked) == 10 * len(world.state.instances)
    assert max(asked.count(slot) for slot in set(asked)) < 40  # 8 if it were perfect


def test_slots_do_not_drift() -> None:
    world = World()
    world.run(10 * SECOND)
    for node in NODES:
        asked = [at for at, each in world.asks if each.target == Target("shop", node)]
        assert {after - before for before, after in pairwise(asked)} == {EVERY}


def test_the_first_slot_comes_within_an_interval() -> None:
    for now in (0, 1, EVERY - 1, EVERY, 12_345_678):
        slots = begin(EVERY, 70 * MILLISECOND, now)
        assert now < slots.slot_at <= now + EVERY
        assert slots.slot_at % EVERY == 70 * MILLISECOND


def test_a_slot_is_passed_over_while_a_probe_is_under_way() -> None:
    slots = ask(begin(EVERY, 0, 0), SECOND, 0)
    after, due = take_slot(slots, EVERY)
    assert not due
    assert after.slot_at == 2 * EVERY


def test_a_late_slot_is_used_and_the_next_is_on_the_grid() -> None:
    after, due = take_slot(begin(EVERY, 0, 0), EVERY + 30 * MILLISECOND)
    assert due
    assert after.slot_at == 2 * EVERY


def test_slots_of_a_pause_are_passed_over() -> None:
    after, due = take_slot(begin(EVERY, 0, 0), EVERY + PAUSE_US)
    assert not due
    assert after.slot_at == 2 * EVERY + PAUSE_US


def test_only_so_many_probes_of_an_instance_are_under_way() -> None:
    slots = begin(EVERY, 0, 0)
    for now in range(10):
        slots = ask(slots, SECOND, now)
    assert len(slots.asked) == IN_FLIGHT_MAX
    assert confirmation_at(slots, 1, 100) is None
