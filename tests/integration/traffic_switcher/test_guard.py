"""The guard in a real kernel: what neighbours see of an address that is leased, and is not.

Hosts a and b have both VIPs on their interface all the time, as a zombie would: only the guard
decides who answers. The client is a neighbour.
"""

from collections.abc import Iterator

import pytest

from services.traffic_switcher.adapters.ports import PERMIT_US
from shared.clock import SystemClock
from shared.errors import MachineError, SwitchError
from shared.instant import MILLISECOND, SECOND, Duration
from tests.eventually import PATIENCE_US
from tests.integration.traffic_switcher.namespaces import (
    WITHIN_MS,
    Host,
    RemoteGuard,
    Town,
    wait,
)

WEB, WEB6 = "10.78.0.201", "fd78::201"
API4 = "10.78.0.202"  # not managed here
VIPS = {"web": WEB, "web6": WEB6}
BOTH = (WEB, WEB6)
PORT = 8_080
# A kernel that counts 4 or 10 ms ticks ends a lease by as much early, and is asked in between.
TICK_US: Duration = 10 * MILLISECOND
SOON_MS = 20_000  # for what takes a millisecond and must come


class Node:
    """A host with a guard, which holds what it is told to."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.guard = RemoteGuard(host)
        self.hardware: str = host.ask("hardware", "eth0")

    def hold(self, *addresses: str, for_us: Duration = 2 * PATIENCE_US) -> None:
        assert self.host.ask("holds", addresses, for_us)


class Scene:
    """Two nodes and a client on one wire."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.client = town.host("client", "10.78.0.5/24", "fd78::5/64")
        vips = (f"{WEB}/24", f"{WEB6}/64")
        self.a = Node(town.host("a", "10.78.0.11/24", "fd78::11/64", *vips))
        self.b = Node(town.host("b", "10.78.0.12/24", "fd78::12/64", *vips))
        for name, node in (("a", self.a), ("b", self.b)):
            node.host.ask("guard", VIPS)
            node.host.ask("serves", PORT, name)
        self._wire_nodes()
        self._until(lambda: self.client.ask("pings", "10.78.0.11", WITHIN_MS))
        self._until(lambda: self.client.ask("pings", "fd78::12", WITHIN_MS))

    def _wire_nodes(self) -> None:
        """Give the nodes a network of their own, as the cluster's may be."""
        peer = ("peer", "name", "eth1", "netns", str(self.b.host.pid))
        self.a.host.ip("link", "add", "eth1", "type", "veth", *peer)
        for node, address in ((self.a, "10.77.0.11/24"), (self.b, "10.77.0.12/24")):
            node.host.ip("addr", "add", address, "dev", "eth1")
            node.host.ip("link", "set", "eth1", "up")

    def reset(self) -> None:
        """Close everything, and let the client forget who answered before."""
        for node in (self.a, self.b):
            for family in ("inet", "arp", "netdev", "ip", "ip6"):
                node.host.ask(
                    "nft", f"add table {family} equipoise\ndelete table {family} equipoise"
                )
            node.guard.stand()
        self.forget()

    def forget(self) -> None:
        self.client.ip("neigh", "flush", "dev", "eth0")

    def who_has(self, address: str, within_ms: int = WITHIN_MS) -> str | None:
        """Ask at link level; the hardware address of him who says that he has it."""
        if address == WEB:
            found = self.client.ask("asks_arp", "eth0", address, within_ms)
        else:
            found = self.client.ask("asks_neighbour", "eth0", "fd78::5", address, within_ms)
        return found if found is None else str(found)

    def point_at(self, node: Node, address: str) -> None:
        """Make the client send to this node, whoever says that he has the address."""
        self.client.ip(
            *(
                "neigh",
                "replace",
                address,
                "lladdr",
                node.hardware,
                "dev",
                "eth0",
                "nud",
                "permanent",
            )
        )

    def connects(self, name: str, address: str, within_ms: int = SOON_MS) -> bool:
        return bool(self.client.ask("opens", name, address, PORT, within_ms))

    def says(self, name: str, line: str, within_ms: int = SOON_MS) -> str:
        return str(self.client.ask("says", name, line, within_ms))

    @staticmethod
    def _until(condition: object) -> None:
        assert callable(condition)
        deadline = SystemClock().now() + PATIENCE_US
        while not condition():
            assert SystemClock().now() < deadline, "the wire between the hosts carries nothing"


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    town = Town.build()
    try:
        yield Scene(town)
    finally:
        town.end()


@pytest.fixture
def scene(stage: Scene) -> Scene:
    stage.reset()
    return stage


@pytest.mark.parametrize("address", BOTH)
def test_nobody_says_that_he_has_an_address_that_is_not_leased(scene: Scene, address: str) -> None:
    assert scene.who_has(address) is None
    scene.a.hold(address)
    assert scene.who_has(address, SOON_MS) == scene.a.hardware
    scene.a.guard.close(address)
    scene.b.hold(address)
    assert scene.who_has(address, SOON_MS) == scene.b.hardware


@pytest.mark.parametrize("address", BOTH)
def test_who_still_sends_to_a_node_without_the_lease_gets_no_answer(
    scene: Scene, address: str
) -> None:
    scene.point_at(scene.a, address)
    assert not scene.client.ask("pings", address, WITHIN_MS)
    assert not scene.connects("early", address, WITHIN_MS)
    scene.a.hold(address)
    assert scene.client.ask("pings", address, SOON_MS)
    assert scene.connects("in time", address)
    assert scene.says("in time", "hello") == "a hello"
    scene.a.guard.close(address)
    assert scene.says("in time", "again", WITHIN_MS) == "silence"


@pytest.mark.parametrize("address", BOTH)
def test_nothing_leaves_from_an_address_that_is_not_leased(scene: Scene, address: str) -> None:
    client = "10.78.0.5" if address == WEB else "fd78::5"
    assert scene.a.host.ask("sends_from", address, client) == "EPERM"
    scene.a.hold(address)
    assert scene.a.host.ask("sends_from", address, client) == ""


@pytest.mark.parametrize("address", BOTH)
def test_even_the_node_itself_does_not_reach_an_address_without_its_lease(
    scene: Scene, address: str
) -> None:
    assert not scene.a.host.ask("opens", "own", address, PORT, WITHIN_MS)
    scene.a.hold(address)
    assert scene.a.host.ask("opens", "own", address, PORT, SOON_MS)


def test_other_addresses_of_the_node_are_none_of_the_guards_business(scene: Scene) -> None:
    for address in ("10.78.0.11", "fd78::11"):
        assert scene.client.ask("pings", address, SOON_MS)
        assert scene.connects(address, address)
        assert scene.says(address, "hello") == "a hello"


def test_a_woken_zombie_cannot_announce_from_a_packet_socket(scene: Scene) -> None:
    assert scene.a.guard.lacks == ""
    for leased in (False, True):
        if leased:
            scene.a.hold(WEB, WEB6)
        expected = ("", scene.a.hardware) if leased else ("ENOBUFS", None)
        within_ms = SOON_MS if leased else WITHIN_MS
        call = ("announces_arp", "eth0", WEB)
        assert _announcement(scene, WEB, within_ms, *call) == expected
        call6 = ("advertises", "eth0", "fd78::11", WEB6)
        assert _announcement(scene, WEB6, within_ms, *call6) == expected


def test_an_advertisement_is_judged_by_its_target_and_not_by_its_source(scene: Scene) -> None:
    words = ("advertises_by_kernel", "fd78::11", WEB6, "eth0")
    assert scene.a.host.ask(*words) == "EPERM"
    assert scene.a.host.ask("advertises_by_kernel", "fd78::11", "fd78::77", "eth0") == ""
    scene.a.hold(WEB6)
    assert scene.a.host.ask(*words) == ""


def _announcement(scene: Scene, address: str, within_ms: int, *call: str) -> tuple[str, str | None]:
    """Let a announce; what it was told, and whom the client heard."""
    scene.client.begin_asking("hears_announced", "eth0", address, within_ms)
    scene.client.listening()
    told = str(scene.a.host.ask(*call))
    return told, scene.client.answer()


@pytest.mark.parametrize("address", BOTH)
def test_a_frozen_owner_stops_answering_when_its_lease_ends(scene: Scene, address: str) -> None:
    clock, lease_us = SystemClock(), SECOND
    scene.a.hold(address, for_us=lease_us)
    ends_at = clock.now() + lease_us
    scene.a.host.freeze()
    try:
        assert scene.who_has(address, SOON_MS) == scene.a.hardware
        asked_at = clock.now()
        while scene.who_has(address) is not None:
            assert asked_at <= ends_at
            asked_at = clock.now()
    finally:
        scene.a.host.wake()
    assert scene.a.guard.shows() == {}


def test_a_permit_that_has_run_out_renews_nothing(scene: Scene) -> None:
    scene.a.hold(WEB)
    guard = scene.a.guard
    guard.permit(77)
    wait(PERMIT_US + TICK_US)
    before = guard.shows()
    assert not guard.renew(77, {WEB: 30 * SECOND, WEB6: 30 * SECOND})
    after = guard.shows()
    assert set(after) == {WEB}
    assert after[WEB] <= before[WEB]


def test_a_renewal_that_the_kernel_took_too_long_for_is_done_again_with_what_is_left(
    scene: Scene,
) -> None:
    # The clock leaps between the commit and the look at it: the processor was taken away.
    lease_us, lost_us = 10 * SECOND, 2 * SECOND
    assert scene.a.host.ask("holds", [WEB], lease_us, [lost_us])
    assert 0 < scene.a.guard.shows()[WEB] <= lease_us - lost_us


def test_a_machine_that_is_always_too_late_ends_with_a_closed_guard(scene: Scene) -> None:
    scene.a.hold(WEB)
    assert not scene.a.host.ask("holds", [WEB], 10 * SECOND, [30 * MILLISECOND] * 20)
    assert scene.a.guard.shows() == {}


def test_a_vip_that_is_held_elsewhere_is_reached_through_a_node_that_forwards(scene: Scene) -> None:
    container = scene.town.lonely("container")
    a, b = scene.a.host, scene.b.host
    peer = ("peer", "name", "eth0", "netns", str(container.pid))
    a.ip("link", "add", "inner", "type", "veth", *peer)
    a.ip("addr", "add", "10.99.0.1/24", "dev", "inner")
    a.ip("link", "set", "inner", "up")
    container.ip("addr", "add", "10.99.0.2/24", "dev", "eth0")
    container.ip("link", "set", "eth0", "up")
    container.ip("route", "add", "default", "via", "10.99.0.1")
    b.ip("route", "add", "10.99.0.0/24", "via", "10.78.0.11")
    a.ip("addr", "del", f"{WEB}/24", "dev", "eth0")  # held elsewhere: its address is not here
    a.ask("set", "ipv4/ip_forward", "1")
    try:
        scene.b.hold(WEB)
        Scene._until(lambda: container.ask("pings", "10.99.0.1", WITHIN_MS))
        assert container.ask("opens", "through", WEB, PORT, SOON_MS)
        assert str(container.ask("says", "through", "hello", SOON_MS)) == "b hello"
        # A neighbour who believes that a has it is not served by a, not even by forwarding.
        scene.point_at(scene.a, WEB)
        assert not scene.client.ask("pings", WEB, WITHIN_MS)
    finally:
        a.ask("set", "ipv4/ip_forward", "0")
        a.ip("addr", "add", f"{WEB}/24", "dev", "eth0")
        a.ip("link", "del", "inner")
        b.ip("route", "del", "10.99.0.0/24")


@pytest.mark.parametrize("address", BOTH)
def test_while_draining_open_connections_live_and_new_ones_do_not(
    scene: Scene, address: str
) -> None:
    scene.a.hold(address)
    scene.point_at(scene.a, address)
    assert scene.connects("old", address)
    assert scene.says("old", "one") == "a one"
    scene.a.guard.close(address, drain_us=600 * MILLISECOND)
    assert scene.a.guard.shows() == {}
    assert scene.says("old", "two") == "a two"
    assert not scene.connects("new", address, WITHIN_MS)
    assert not scene.client.ask("pings", address, WITHIN_MS)
    scene.forget()
    scene.client.ip("neigh", "del", address, "dev", "eth0")
    assert scene.who_has(address) is None
    scene.point_at(scene.a, address)
    wait(400 * MILLISECOND)
    assert scene.says("old", "three", WITHIN_MS) == "silence"


def test_a_lease_ends_the_draining_that_was_before_it(scene: Scene) -> None:
    scene.a.hold(WEB)
    scene.point_at(scene.a, WEB)
    assert scene.connects("drained", WEB)
    scene.a.guard.close(WEB, drain_us=30 * SECOND)
    scene.a.hold(WEB, for_us=SECOND)
    assert scene.says("drained", "one") == "a one"
    wait(SECOND)
    assert scene.says("drained", "two", WITHIN_MS) == "silence"


@pytest.mark.parametrize(
    ("address", "previous"),
    [(WEB, "10.78.0.11"), (WEB, "10.77.0.11"), (WEB6, "fd78::11")],
    ids=["by the clients' network", "by the cluster's network", "IPv6"],
)
def test_an_open_connection_outlives_a_move(scene: Scene, address: str, previous: str) -> None:
    a, b = scene.a, scene.b
    a.hold(address)
    scene.point_at(a, address)
    assert scene.connects("old", address)
    assert scene.says("old", "one") == "a one"
    a.guard.close(address, drain_us=PATIENCE_US)
    b.guard.hand_over(address, to=previous, for_us=PATIENCE_US)
    b.hold(address)
    scene.point_at(b, address)
    assert scene.says("old", "two") == "a two"
    assert scene.connects("new", address)
    assert scene.says("new", "hello") == "b hello"
    assert scene.says("old", "three") == "a three"
    # Kept: what belongs to nobody is answered by a reset, so that its client tries anew.
    b.guard.keep(address)
    assert scene.says("old", "four") == "ECONNRESET"
    assert scene.says("new", "again") == "b again"


def test_handing_over_ends_by_itself(scene: Scene) -> None:
    a, b = scene.a, scene.b
    a.hold(WEB)
    scene.point_at(a, WEB)
    assert scene.connects("left", WEB)
    a.guard.close(WEB, drain_us=5 * SECOND)
    b.guard.hand_over(WEB, to="10.78.0.11", for_us=200 * MILLISECOND)
    b.hold(WEB)
    scene.point_at(b, WEB)
    wait(200 * MILLISECOND)
    assert scene.says("left", "late") == "ECONNRESET"


def test_two_addresses_are_handed_over_and_kept_each_for_itself(scene: Scene) -> None:
    guard = scene.b.guard
    guard.hand_over(WEB, to="10.78.0.11", for_us=SECOND)
    guard.hand_over(WEB, to="10.78.0.5", for_us=SECOND)  # somebody else, after all
    guard.hand_over(WEB6, to="fd78::11", for_us=SECOND)
    assert "dup to 10.78.0.5" in scene.b.host.ask("nft", "list table ip equipoise")
    guard.keep(WEB)
    guard.keep(WEB)
    tables = scene.b.host.ask("nft", "list tables")
    assert "table ip equipoise" not in tables
    assert "table ip6 equipoise" in tables
    guard.keep(WEB6)
    assert "table ip6 equipoise" not in scene.b.host.ask("nft", "list tables")
    assert guard.shows() == {}


def test_nothing_is_handed_over_to_where_no_network_is(scene: Scene) -> None:
    with pytest.raises(SwitchError, match=r"192\.0\.2\.1 is in no network of this machine"):
        scene.b.guard.hand_over(WEB, to="192.0.2.1", for_us=SECOND)
    with pytest.raises(SwitchError, match=r"not handed over to 10\.77\.0\.11: another version"):
        scene.b.guard.hand_over(WEB6, to="10.77.0.11", for_us=SECOND)


FOREIGN = """table ip nat {
  chain PREROUTING { type nat hook prerouting priority dstnat; tcp dport 99 redirect to :98; }
}
table inet filter { set equipoise { type ipv4_addr; elements = { 10.78.0.201 }; }; }
"""


def test_tables_of_others_are_never_touched(scene: Scene) -> None:
    host = scene.a.host
    host.ask("nft", FOREIGN)
    try:
        before = [host.ask("nft", f"list table {t}") for t in ("ip nat", "inet filter")]
        scene.a.guard.stand()
        scene.a.hold(WEB, WEB6)
        scene.a.guard.hand_over(WEB, to="10.78.0.12", for_us=SECOND)
        scene.a.guard.keep(WEB)
        scene.a.guard.close(WEB, drain_us=SECOND)
        scene.a.guard.stand()
        assert before == [host.ask("nft", f"list table {t}") for t in ("ip nat", "inet filter")]
    finally:
        host.ask("nft", "delete table ip nat\ndelete table inet filter")


@pytest.mark.parametrize("family", ["inet", "arp", "netdev", "ip", "ip6"])
def test_a_table_of_somebody_else_that_has_our_name_is_refused(scene: Scene, family: str) -> None:
    host = scene.b.host
    host.ask("nft", f"add table {family} equipoise\ndelete table {family} equipoise")
    host.ask("nft", f'table {family} equipoise {{ comment "my own"; }}')
    with pytest.raises(SwitchError) as refusal:
        scene.b.guard.stand()
    assert f"table {family} equipoise is not ours" in str(refusal.value)
    assert "its comment is 'my own'" in str(refusal.value)
    assert f"nft delete table {family} equipoise" in str(refusal.value)
    assert "my own" in host.ask("nft", f"list table {family} equipoise")


def test_a_flushed_rule_set_is_noticed_and_mended_by_standing_again(scene: Scene) -> None:
    guard = scene.a.guard
    scene.a.hold(WEB)
    scene.a.host.ask("nft", "flush ruleset")
    with pytest.raises(SwitchError, match="table inet equipoise was removed by somebody else"):
        guard.shows()
    guard_error = "table inet equipoise was removed|No such file"
    with pytest.raises(SwitchError, match=guard_error):
        scene.a.hold(WEB)
    with pytest.raises(SwitchError):
        guard.close(WEB)
    guard.stand()
    assert guard.shows() == {}
    scene.a.hold(WEB)
    assert scene.who_has(WEB, SOON_MS) == scene.a.hardware


@pytest.mark.parametrize(
    "change",
    [
        "flush chain inet equipoise arriving",
        "flush chain arp equipoise leaving",
        f"delete element inet equipoise managed4 {{ {WEB} }}",
        "add element arp equipoise managed4 { 10.78.0.11 }",
        "insert rule inet equipoise arriving accept",
        "delete table arp equipoise",
        "delete table inet equipoise",
    ],
)
def test_whatever_somebody_else_changes_in_our_tables_is_noticed(scene: Scene, change: str) -> None:
    scene.a.hold(WEB, WEB6)
    scene.a.host.ask("nft", change)
    with pytest.raises(SwitchError, match=r"(changed|removed) by somebody else"):
        scene.a.guard.shows()


def test_what_others_change_elsewhere_does_not_matter(scene: Scene) -> None:
    scene.a.hold(WEB)
    scene.a.host.ask("nft", "table inet docker { chain x { drop; }; }")
    try:
        assert set(scene.a.guard.shows()) == {WEB}
        scene.a.hold(WEB, WEB6)
        assert set(scene.a.guard.shows()) == {WEB, WEB6}
    finally:
        scene.a.host.ask("nft", "delete table inet docker")


def test_the_guard_of_packet_sockets_follows_a_renamed_interface(scene: Scene) -> None:
    host = scene.b.host
    host.ip("link", "set", "eth0", "down")
    host.ip("link", "set", "eth0", "name", "lan7")
    host.ip("link", "set", "lan7", "up")
    try:
        host.ask("leap", SECOND)  # it looks once a second
        assert scene.b.guard.shows() == {}
        assert '"lan7"' in host.ask("nft", "list table netdev equipoise")
    finally:
        host.ip("link", "set", "lan7", "down")
        host.ip("link", "set", "lan7", "name", "eth0")
        host.ip("addr", "replace", "fd78::12/64", "dev", "eth0", "nodad")
        host.ip("addr", "replace", f"{WEB6}/64", "dev", "eth0", "nodad")
        host.ip("link", "set", "eth0", "up")


def test_a_kernel_without_the_hook_of_packet_sockets_guards_all_else(stage: Scene) -> None:
    stage.a.host.ask("guard", VIPS, lacks="hook egress")
    try:
        stage.reset()
        assert stage.a.guard.lacks == (
            "what packet sockets send is not guarded: nftables refuses: Operation not supported"
        )
        assert stage.who_has(WEB) is None
        stage.a.hold(WEB, WEB6)
        assert stage.who_has(WEB, SOON_MS) == stage.a.hardware
        stage.a.guard.close(WEB)
        assert set(stage.a.guard.shows()) == {WEB6}
        assert stage.who_has(WEB) is None
    finally:
        stage.a.host.ask("guard", VIPS)


def test_an_interface_that_is_named_is_guarded_as_soon_as_it_is_there(stage: Scene) -> None:
    host = stage.b.host
    host.ask("guard", VIPS, interface="later0")
    try:
        stage.reset()
        assert stage.b.guard.lacks == ""
        host.ip("link", "add", "later0", "type", "veth", "peer", "name", "later1")
        host.ask("leap", SECOND)  # it looks once a second
        assert stage.b.guard.shows() == {}
        assert '"later0"' in host.ask("nft", "list table netdev equipoise")
        host.ip("link", "del", "later0")
        host.ask("leap", SECOND)
        stage.b.hold(WEB)
        assert set(stage.b.guard.shows()) == {WEB}
    finally:
        host.ask("guard", VIPS)


def test_who_has_no_right_is_told_so_at_once() -> None:
    # Root of a user namespace that does not own the network namespace it is in.
    powerless = Host.begin("unshare", "--user", "--map-root-user")
    try:
        with pytest.raises(MachineError, match="run it as root with CAP_NET_ADMIN"):
            powerless.ask("nft", "list tables")
    finally:
        powerless.end()


def test_a_guard_that_was_never_made_does_not_pass_for_one(stage: Scene) -> None:
    stage.a.host.ask("guard", VIPS)
    with pytest.raises(SwitchError, match="does not stand: it was never made"):
        stage.a.guard.shows()


@pytest.mark.parametrize("change", ["add", "delete"])
def test_what_others_open_or_close_is_shown_at_the_next_look(scene: Scene, change: str) -> None:
    scene.a.hold(WEB)
    assert set(scene.a.guard.shows()) == {WEB}
    changed = API4 if change == "add" else WEB
    words = f"{changed} timeout 5s" if change == "add" else changed
    scene.a.host.ask("nft", f"{change} element inet equipoise lease4 {{ {words} }}")
    expected = {WEB, API4} if change == "add" else set[str]()
    for _ in range(2):  # also when nothing has changed since
        assert set(scene.a.guard.shows()) == expected
