"""Who looks after whom: everybody in a small cluster, enough and evenly in a large one."""

from collections import Counter

import pytest

from shared.cluster import Cluster
from shared.company import COMPANIONS_MAX, OBSERVERS_MAX, companions, observers
from tests.unit.arbiter.play import cluster_of, service


def of(nodes: int, services: int = 3) -> Cluster:
    return cluster_of(*(service(f"s{k}") for k in range(services)), nodes=nodes)


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_everybody_asks_every_instance_of_a_small_cluster(nodes: int) -> None:
    cluster = of(nodes)
    for node in cluster.nodes:
        assert observers(cluster, "s0", node) == tuple(cluster.nodes)


@pytest.mark.parametrize("nodes", [5, 6, 7, 20, 100])
def test_an_instance_of_a_large_one_is_asked_by_its_own_node_and_a_few_others(nodes: int) -> None:
    cluster = of(nodes)
    for node in cluster.nodes:
        for name in cluster.services:
            asking = observers(cluster, name, node)
            assert node in asking
            assert len(set(asking)) == len(asking) == OBSERVERS_MAX


def test_no_observer_has_much_more_to_ask_than_another() -> None:
    cluster = of(20, 20)
    asked = Counter(
        observer
        for name in cluster.services
        for node in cluster.nodes
        for observer in observers(cluster, name, node)
    )
    assert set(asked) == set(cluster.nodes)
    assert max(asked.values()) < 1.5 * OBSERVERS_MAX * 20


def test_the_instances_of_a_node_are_not_all_asked_by_the_same_few() -> None:
    cluster = of(20, 20)
    asking = {each for name in cluster.services for each in observers(cluster, name, "node-c")}
    assert len(asking) > 2 * OBSERVERS_MAX


@pytest.mark.parametrize("nodes", [2, 5, 8])
def test_all_members_of_a_small_cluster_beat_to_each_other(nodes: int) -> None:
    cluster = of(nodes)
    for member in cluster.members:
        assert {member, *companions(cluster, member)} == set(cluster.members)


@pytest.mark.parametrize("nodes", [9, 10, 33, 100])
def test_in_a_large_one_everybody_has_as_much_company_and_it_is_mutual(nodes: int) -> None:
    cluster = of(nodes)
    for member in cluster.members:
        company = companions(cluster, member)
        assert len(set(company)) == len(company) == COMPANIONS_MAX
        assert member not in company
        for other in company:
            assert member in companions(cluster, other)


def test_company_is_spread_over_the_file() -> None:
    cluster = of(100)
    places = [list(cluster.members).index(each) for each in companions(cluster, "node-050")]
    assert max(places) - min(places) > 40
