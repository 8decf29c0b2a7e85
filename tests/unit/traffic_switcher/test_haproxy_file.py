"""What haproxy.cfg says; that HAProxy accepts it, and what it does then, is for integration."""

from dataclasses import replace
from pathlib import PurePath

import pytest

from services.traffic_switcher.core.haproxy_file import (
    CONNECT_BALANCE_US,
    CONNECT_MIRROR_US,
    NOBODY,
    Place,
    mark_of,
    render,
    token_of,
)
from services.traffic_switcher.core.pace import DRAINED_AFTER_US
from shared.cluster import Cluster, Mode, Node, Protocol, VirtualIp
from shared.errors import ConfigError
from shared.instant import SECOND
from shared.rules import Rules, original
from tests.unit.traffic_switcher.lease_play import with_vips
from tests.unit.traffic_switcher.play import OUT, changed, cluster, service

PLACE = Place(socket=PurePath("/run/equipoise/haproxy.sock"), token=token_of(b"key"))
CLUSTER = cluster(
    service("shop"),
    service("books", mode=Mode.MIRROR, listen=8_081),
    service(
        "queue", protocol=Protocol.TCP, probe=replace(service("queue").probe, path=None), listen=1
    ),
)


def text(rules: Rules | None = None, of: Cluster = CLUSTER, **closed: str) -> str:
    """Return the file."""
    return render(of, "node-a", PLACE, rules or original(of), frozenset(closed.items()))


def part(whole: str, kind: str, name: str) -> str:
    """Return one section of the file."""
    found = whole.split(f"\n{kind} {name}\n")[1]
    lines = []
    for line in found.splitlines():
        if not line.startswith("    "):
            break
        lines.append(line)
    return "\n".join(lines)


def test_every_service_listens_at_this_nodes_address_and_knows_every_instance() -> None:
    assert "bind 10.0.0.1:8080" in part(text(), "frontend", "shop")
    backend = part(text(), "backend", "shop")
    assert "server node-a 10.0.0.1:9080 check weight 100" in backend
    assert "server node-b 10.0.0.2:9080 check weight 100" in backend


def test_a_restart_begins_with_the_rules_in_force() -> None:
    backend = part(text(changed(CLUSTER, {"shop": {"node-b": OUT}})), "backend", "shop")
    assert "server node-b 10.0.0.2:9080 check disabled" in backend
    assert "server node-b 10.0.0.2:9080 check disabled" in part(text(), "backend", "books")


def test_what_somebody_closed_stays_closed_over_a_restart() -> None:
    assert "server node-a 10.0.0.1:9080 check disabled" in part(
        text(shop="node-a"), "backend", "shop"
    )


def test_unsafe_requests_are_never_retried_once_sent() -> None:
    for name in ("shop", "books"):
        backend = part(text(), "backend", name)
        assert "http-request disable-l7-retry unless { method GET HEAD OPTIONS }" in backend


def test_a_lone_instance_is_not_marked_down_by_its_errors() -> None:
    assert "observe layer4" in part(text(), "backend", "shop")
    assert "observe" not in part(text(), "backend", "books")


def test_http_words_stay_out_of_tcp() -> None:
    backend = part(text(), "backend", "queue")
    assert "http" not in backend
    assert "mode tcp" in backend


def test_every_service_has_somewhere_to_wait() -> None:
    for name in CLUSTER.services:
        assert f"server {NOBODY} " in part(text(), "backend", name)


def test_there_is_no_user_no_group_and_no_name_to_look_up() -> None:
    words = text().split()
    assert not {"user", "group", "resolvers", "init-addr"} & {*words}


def test_the_command_line_is_for_its_owner_alone() -> None:
    assert "stats socket '/run/equipoise/haproxy.sock' mode 660 level admin" in text()


def test_rules_do_not_change_the_structure_but_anything_else_does() -> None:
    mark = mark_of(CLUSTER, "node-a", PLACE)
    assert f"description '{mark}'" in text(changed(CLUSTER, {"shop": {"node-b": OUT}}))
    assert mark_of(CLUSTER, "node-b", PLACE) != mark
    assert mark_of(CLUSTER, "node-a", replace(PLACE, token="other")) != mark
    moved = {**CLUSTER.services, "shop": service("shop", listen=8_090)}
    assert mark_of(replace(CLUSTER, services=moved), "node-a", PLACE) != mark


def test_addresses_of_the_sixth_version_are_in_brackets() -> None:
    nodes = (Node(name="node-a", address="fd00::1"), Node(name="node-b", address="fd00::2"))
    of = cluster(service("shop"), nodes=nodes)
    assert "bind [fd00::1]:8080" in text(of=of)
    assert "server node-b [fd00::2]:9080 check" in text(of=of)


@pytest.mark.parametrize("path", ["/a'b", "/a b # c", '/"x"', "/$HOME", "/a\\b"])
def test_a_path_is_one_word_whatever_is_in_it(path: str) -> None:
    probe = replace(service("shop").probe, path=path)
    quoted = path.replace("'", "'\\''")
    assert f"uri '{quoted}' ver" in text(of=cluster(service("shop", probe=probe)))


def test_a_path_with_control_characters_is_refused() -> None:
    probe = replace(service("shop").probe, path="/a\n    server evil 10.0.0.9:1")
    with pytest.raises(ConfigError, match="control characters"):
        text(of=cluster(service("shop", probe=probe)))


def test_an_instance_drains_longer_than_a_connection_attempt_lasts() -> None:
    assert max(CONNECT_BALANCE_US, CONNECT_MIRROR_US) < DRAINED_AFTER_US


@pytest.mark.parametrize(("drain_s", "rests"), [(1, "900ms"), (30, "27000ms"), (0, "30000ms")])
def test_a_clients_connection_rests_for_less_than_its_vip_may_drain(
    drain_s: int, rests: str
) -> None:
    of = with_vips(replace(CLUSTER, policy=replace(CLUSTER.policy, drain_us=drain_s * SECOND)))
    shop = replace(of.services["shop"], vips=("web",))
    of = replace(of, services={**of.services, "shop": shop})
    assert f"timeout http-keep-alive {rests}\n" in part(text(of=of), "frontend", "shop")
    assert "timeout http-keep-alive 30000ms\n" in part(text(of=of), "frontend", "books")


def test_every_node_listens_at_every_vip_of_a_service_also_where_it_is_not() -> None:
    vips = {
        "web": VirtualIp(name="web", address="10.0.0.200", prefix=24, home="node-b"),
        "six": VirtualIp(name="six", address="fd00::200", prefix=64, home="node-b"),
    }
    services = {
        **CLUSTER.services,
        "shop": replace(CLUSTER.services["shop"], vips=("web", "six")),
        "queue": replace(CLUSTER.services["queue"], vips=("six",)),
    }
    whole = text(of=replace(CLUSTER, vips=vips, services=services))
    assert binds(whole, "shop") == [
        "bind 10.0.0.1:8080",
        "bind 10.0.0.200:8080 transparent",
        "bind [fd00::200]:8080 transparent",
    ]
    assert binds(whole, "queue") == ["bind 10.0.0.1:1", "bind [fd00::200]:1 transparent"]
    assert binds(whole, "books") == ["bind 10.0.0.1:8081"]


def test_haproxy_itself_answers_at_a_socket_of_its_own() -> None:
    alive = part(text(), "frontend", "_alive")
    assert "bind 'unix@/run/equipoise/haproxy-alive.sock' mode 660" in alive
    assert "http-request return status 200" in alive
    assert "backend" not in alive


def binds(whole: str, service_name: str) -> list[str]:
    """Return where a service is listened for."""
    lines = part(whole, "frontend", service_name).splitlines()
    return [line.strip() for line in lines if line.strip().startswith("bind ")]
