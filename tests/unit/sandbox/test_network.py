"""Who is where on the sandbox's two networks, and what a kernel is told in netlink."""

import pytest
from hypothesis import given, strategies as st

from services.sandbox import netlink
from services.sandbox.cuts import Way, ways
from services.sandbox.faults import Condition
from services.sandbox.network import (
    CLIENT,
    WITNESS,
    Wire,
    asker,
    client_side,
    hardware,
    node_names,
    ports,
    vips,
)
from services.sandbox.observers.__main__ import suspicious
from services.sandbox.observers.observations import Look
from services.sandbox.options import NODES_MAX, Weak, parse
from services.sandbox.parts import WEAKENED

NODES = node_names(NODES_MAX)


def test_nodes_are_on_both_networks_the_witness_and_the_client_on_one() -> None:
    where: dict[str, set[tuple[str, str]]] = {}
    for port in ports(node_names(2)):
        where.setdefault(port.member, set()).add((port.wire.value, port.inside))
    both = {("cluster", "eth0"), ("clients", "eth1")}
    assert where == {
        "node-a": both,
        "node-b": both,
        WITNESS: {("cluster", "eth0")},
        CLIENT: {("clients", "eth0")},
    }


def test_no_two_of_the_largest_cluster_share_an_address_or_a_cable() -> None:
    found = list(ports(NODES))
    taken = [port.address for port in found]
    taken += [vip.address for vip in vips(NODES, ipv6=True).values()]
    taken += [asker(number) for number in range(16)]
    assert len(set(taken)) == len(taken)
    assert len({port.outside for port in found}) == len(found)
    assert all(len(port.outside) < 16 for port in found)  # as long as names of interfaces may be
    assert len({hardware(port.address) for port in found}) == len(found)


def test_virtual_ips_are_on_the_clients_network_and_at_home_on_two_nodes() -> None:
    found = vips(NODES)
    assert {vip.home for vip in found.values()} == {"node-a", "node-b"}
    assert all(vip.address.startswith(Wire.CLIENTS.prefix) for vip in found.values())
    assert set(vips(NODES, ipv6=True)) - set(found) == {"web6"}
    assert client_side(NODES)["node-a"] == "10.78.0.11"


@given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=40))))
def test_attributes_that_are_written_are_read(pairs: list[tuple[int, bytes]]) -> None:
    content = b"".join(netlink.attribute(kind, value) for kind, value in pairs)
    assert list(netlink.attributes(content)) == pairs
    packed = netlink.nested(7, content)
    assert list(netlink.attributes(packed)) == [(7, content)]


@given(st.lists(st.tuples(st.integers(16, 2_000), st.binary(max_size=40))))
def test_messages_that_are_written_are_read(pairs: list[tuple[int, bytes]]) -> None:
    content = b"".join(netlink.message(kind, 0, 1, value) for kind, value in pairs)
    assert [(each.kind, each.content) for each in netlink.messages(content)] == pairs


@given(st.binary(max_size=200))
def test_torn_netlink_ends_and_raises_nothing(content: bytes) -> None:
    assert sum(1 for _ in netlink.attributes(content)) <= 50
    assert sum(1 for _ in netlink.messages(content)) <= 13


def test_a_cut_both_ways_is_made_of_the_two_simple_ones() -> None:
    assert set(ways(Way.BOTH)) == {Way.IN, Way.OUT}
    assert (ways(Way.IN), ways(Way.OUT)) == ((Way.IN,), (Way.OUT,))


@pytest.mark.parametrize(
    ("states", "frozen", "dead"),
    [({}, False, True), ({"1": "T", "2": "T"}, True, False), ({"1": "T", "2": "S"}, False, False)],
)
def test_a_member_is_frozen_if_all_of_it_is(
    states: dict[str, str], *, frozen: bool, dead: bool
) -> None:
    found = Condition(carrier={}, dropped={}, processes=states)
    assert (found.frozen, found.dead) == (frozen, dead)


def test_two_who_hold_the_same_are_stared_at() -> None:
    def look(node: str, *held: str) -> Look:
        both = frozenset(held)
        return Look(node=node, begin_at=0, end_at=1, open=both, present=both)

    assert not suspicious([look("node-a", "web"), look("node-b", "api")])
    assert suspicious([look("node-a", "web"), look("node-b", "api", "web")])


def test_only_who_asks_for_it_by_name_weakens_a_sandbox() -> None:
    assert parse([]).weak is None
    assert parse(["--weak", "no-guard"]).weak is Weak.NO_GUARD
    assert {weak for _, weak in WEAKENED} == set(Weak)
    assert all(module.startswith("tests.") for module in WEAKENED.values())


def test_the_help_does_not_offer_to_weaken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    assert "--weak" not in capsys.readouterr().out
