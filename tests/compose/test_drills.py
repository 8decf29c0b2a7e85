"""The sandbox's drills, and some that only an engine can play, on the cluster of the compose file.

Findings fail; times are only told. What was injected is proved by the kernel or the engine, what
clients lost and who held the virtual IPs is seen from outside, restoration is asked of HAProxy.
"""

import os
import signal
from dataclasses import replace

import pytest

from services.sandbox.audit import audit_orders
from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.drill import Aim, of_nodes
from services.sandbox.drills.catalogue.nodes import Freeze
from services.sandbox.drills.names import Name
from services.sandbox.drills.report import DrillResult
from services.sandbox.network import WITNESS
from shared.instant import SECOND
from tests.compose import catalogue
from tests.compose.cluster import LABEL, PROJECT
from tests.compose.conftest import FIGURES, RESULTS
from tests.compose.playing import Running
from tests.compose.seeing import holders

pytestmark = [pytest.mark.compose, pytest.mark.timeout(240)]

ARBITER, SWITCHER = "equipoise-arbiter", "equipoise-traffic_switcher"
PROBE = "equipoise-health_probe"
SHOP_B = Aim(service="shop", node="node-b")
A, B = Aim(node="node-a"), Aim(node="node-b")


def with_switcher(node: str) -> Aim:
    return replace(SHOP_B, also=f"{node}/traffic_switcher")


def check(running: Running, play: DrillResult, *services: str) -> None:
    """Fail for what was found; then look at the incident's trace."""
    RESULTS.append(play)
    assert play["findings"] == []
    assert play["ok"]
    assert play["restored"]
    assert play["vip_overlap_ms"] == 0
    assert play["requests"]["doubled"] == play["requests"]["lost"] == 0
    if services:
        assert play["incident"] is not None
        trace = running.trace(play["incident"], set(services))
        roots = [span for span in trace["spans"] if not span["references"]]
        assert len(roots) == 1, "an incident is one span, and all others are below it"


@pytest.mark.parametrize(
    ("name", "aim", "services"),
    [
        (Name.KILL_INSTANCE, SHOP_B, (ARBITER, SWITCHER, PROBE)),
        (Name.KILL_SWITCHER_MEANWHILE, with_switcher("node-a"), (ARBITER, SWITCHER, PROBE)),
        (Name.HANG_INSTANCE, Aim(service="orders", node="node-a"), (ARBITER, SWITCHER, PROBE)),
        (Name.KILL_BALANCER, B, (ARBITER, SWITCHER)),
        (Name.HANG_BALANCER, A, (ARBITER, SWITCHER)),
        (Name.CUT_NODE, B, (ARBITER, SWITCHER)),
        (Name.KILL_NODE, B, (ARBITER, SWITCHER)),
        (Name.KILL_NODE, A, (ARBITER, SWITCHER)),
        (Name.PLANNED_FAILOVER, A, (ARBITER, SWITCHER)),
    ],
    ids=lambda value: getattr(value, "target", None),
)
def test_what_fails_is_survived_and_undone(
    cluster: Running, name: Name, aim: Aim, services: tuple[str, ...]
) -> None:
    check(cluster, cluster.play(DRILLS[name], aim), *services)


def test_a_node_whose_containers_are_all_paused_is_lost_and_wakes_without_a_vip(
    cluster: Running,
) -> None:
    drill = Freeze(lasts_us=4 * SECOND)  # longer than any lease; the sandbox's lasts 10 s
    check(cluster, cluster.play(drill, B), ARBITER, SWITCHER)


def test_a_node_that_the_engine_disconnects_comes_back_with_another_interface(
    cluster: Running,
) -> None:
    drill = catalogue.Disconnect(composed=cluster.composed, seeing=cluster.seeing)
    check(cluster, cluster.play(drill, B), ARBITER, SWITCHER)


def test_each_of_ours_that_is_killed_is_started_again_and_nothing_stays_different(
    cluster: Running,
) -> None:
    drill = catalogue.kill_ours(
        "node-b/traffic_switcher", "node-b/heartbeat", f"{WITNESS}/arbiter", f"{WITNESS}/nats"
    )
    check(cluster, cluster.play(drill, Aim()))


@pytest.mark.parametrize("node", ["node-b", "node-a"])
def test_a_pod_whose_network_was_started_anew_moves_into_it(cluster: Running, node: str) -> None:
    """The engine starts the owner again at once; its siblings are left in a network of nobody."""
    restart = catalogue.Restart(
        name=catalogue.Name.KILL_NETWORK,
        what="kill -9 of the container that holds the network of",
        restart=lambda aim: os.kill(cluster.composed.pid(aim.node), signal.SIGKILL),
        hits=of_nodes,
    )
    check(cluster, cluster.play(restart, Aim(node=node)))


def test_compose_restarts_everything_under_load(cluster: Running) -> None:
    restart = catalogue.Restart(
        name=catalogue.Name.RESTART_ALL,
        what="docker compose restart",
        restart=lambda _: cluster.composed.restart_all(),
        hits=catalogue.everything,
    )
    check(cluster, cluster.play(restart, Aim()))


def test_down_under_load_leaves_no_address_anywhere_and_up_serves_again(cluster: Running) -> None:
    composed = cluster.composed
    cluster.until_serving()
    vips = {vip.address for vip in composed.cluster.vips.values()}
    assert all(holders(address) for address in vips), "before, each is held"
    scene = cluster.scene()
    scene.clients.since(0)  # from now on it has the file open, which goes with the client
    begin_at = cluster.clock.now()
    composed.compose("down", "--timeout", "5")
    FIGURES["down, s"] = (cluster.clock.now() - begin_at) / SECOND
    assert composed.engine.containers(all=True, filters={"label": f"{LABEL}={PROJECT}"}) == []
    assert [found for address in vips for found in holders(address)] == []
    begin_at = cluster.clock.now()
    composed.compose("up", "--detach")
    composed.tie()
    cluster.seeing.plug()
    cluster.seeing.look_again()
    cluster.until_serving()
    FIGURES["up again to serving, s"] = (cluster.clock.now() - begin_at) / SECOND
    records = scene.clients.since(0)
    audit = audit_orders(records, cluster.seeing.journals())
    assert records
    assert (audit.doubled, audit.missing) == ((), ())
    check(cluster, cluster.play(DRILLS[Name.KILL_INSTANCE], SHOP_B), ARBITER, SWITCHER, PROBE)
