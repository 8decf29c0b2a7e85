"""The real services say of themselves what docs/metrics.md promises, and what they lack."""

import http.client
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.sandbox.supervisor import Stage
from shared.health.exposition import PREFIX
from shared.health.server import socket_of
from shared.instant import SECOND
from shared.measures import Kind
from tests.e2e.running import RunningSandbox, wait_until
from tests.metrics import BY_PROGRAM, EVERY

pytestmark = pytest.mark.sandbox

WITHIN_US = 30 * SECOND
OF_NODES = ("console", "health_probe", "heartbeat", "traffic_switcher")
PLACES = (
    *((node, program) for node in ("node-a", "node-b") for program in OF_NODES),
    ("witness", "arbiter"),
    ("witness", "heartbeat"),
)
NODES = ("node-a", "node-b")
# Nobody asked for an override; shares need two of the balancers' pictures, a second apart.
MAY_BE_EMPTY = {"override_expires_timestamp_seconds", "node_share_ratio"}

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


class Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def get(running: RunningSandbox, member: str, program: str, target: str) -> tuple[int, str]:
    path = socket_of(running.folder / member, program)
    with closing(Connection(path)) as connection:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def scraped(running: RunningSandbox, member: str, program: str) -> Samples:
    status, text = get(running, member, program, "/metrics")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[PREFIX + name, frozenset(labels.items())]


def until_value(
    running: RunningSandbox, place: tuple[str, str], wanted: float, name: str, **labels: str
) -> None:
    wait_until(
        lambda: value(scraped(running, *place), name, **labels) == wanted,
        f"{name} {labels} of {'/'.join(place)} is {wanted}",
        WITHIN_US,
    )


@pytest.mark.parametrize("place", PLACES, ids="/".join)
def test_every_service_is_ready_and_measures_what_is_written(
    sandbox: RunningSandbox, place: tuple[str, str]
) -> None:
    wait_until(lambda: get(sandbox, *place, "/readyz?verbose")[0] == 200, "it is ready", WITHIN_US)
    assert get(sandbox, *place, "/livez")[0] == 200
    found = scraped(sandbox, *place)
    written = (*BY_PROGRAM[EVERY], *BY_PROGRAM[place[1]])
    for metric in written:
        end = "_count" if metric.kind is Kind.HISTOGRAM else ""
        labels = [labels for name, labels in found if name == PREFIX + metric.name + end]
        assert labels or metric.name in MAY_BE_EMPTY, metric.name
        assert all({key for key, _ in each} == set(metric.labels) for each in labels)
    ours = {name for name, _ in found if name.startswith(PREFIX)}
    ends = ("", "_bucket", "_sum", "_count", "_created")
    assert ours <= {PREFIX + metric.name + end for metric in written for end in ends}
    assert ("process_start_time_seconds", frozenset()) in found


def test_all_members_have_one_configuration_and_the_bus(sandbox: RunningSandbox) -> None:
    hashes = set()
    for place in PLACES:
        found = scraped(sandbox, *place)
        assert value(found, "bus_connected") == 1
        hashes |= {labels for name, labels in found if name == f"{PREFIX}config_info"}
    assert len(hashes) == 1


def test_the_arbiter_shows_the_cluster_as_it_is(sandbox: RunningSandbox) -> None:
    arbiter = ("witness", "arbiter")
    for vip in ("web", "api"):
        until_value(sandbox, arbiter, 1, "vip_holders", vip=vip)
    until_value(sandbox, arbiter, 1, "plan_settled")
    found = scraped(sandbox, *arbiter)
    for node in NODES:
        assert value(found, "node_state", node=node, state="up") == 1
        assert 0 <= value(found, "node_silence_seconds", node=node) < 2
        assert 0.05 < value(found, "lease_length_seconds", node=node) <= 1
        assert value(found, "node_share_wanted_ratio", service="shop", node=node) == 0.5
        assert value(found, "takeover_ready", service="shop", node=node) in (0, 1)
    share = (f"{PREFIX}node_share_ratio", frozenset({("service", "shop"), ("node", "node-a")}))
    wait_until(
        lambda: 0.3 < scraped(sandbox, *arbiter).get(share, 0) < 0.7,
        "node-a serves its share",
        WITHIN_US,
    )
    held = [
        value(scraped(sandbox, node, "traffic_switcher"), "vip_held", vip="web", node=node)
        for node in NODES
    ]
    assert sum(held) == 1


def test_probes_and_beats_are_counted(sandbox: RunningSandbox) -> None:
    probes = scraped(sandbox, "node-a", "health_probe")
    assert value(probes, "probe_results_total", service="shop", node="node-b", result="ok") > 0
    count = value(probes, "probe_duration_seconds_count", service="shop", node="node-b")
    total_s = value(probes, "probe_duration_seconds_sum", service="shop", node="node-b")
    assert 0 < total_s / count < 1
    beats = scraped(sandbox, "node-a", "heartbeat")
    assert value(beats, "heartbeats_sent_total", way="bus") > 0
    assert value(beats, "heartbeats_received_total", node="node-b") > 0
    assert value(beats, "heartbeat_silence_seconds", observer="node-a", node="node-b") < 2


def test_a_killed_load_balancer_is_a_failed_check_with_its_reason(sandbox: RunningSandbox) -> None:
    switcher = ("node-b", "traffic_switcher")
    sandbox.control.hold("node-b/haproxy")
    sandbox.control.send("node-b/haproxy", "KILL", everyone=True)
    try:
        wait_until(
            lambda: (
                "[-]haproxy failed: " in get(sandbox, *switcher, "/readyz")[1]
                and "[-]balancer failed: dead" in get(sandbox, *switcher, "/readyz")[1]
            ),
            "the switcher says that it has no load balancer",
            WITHIN_US,
        )
        status, text = get(sandbox, *switcher, "/readyz?verbose")
        assert status == 503
        assert "[+]bus ok" in text
        assert value(scraped(sandbox, *switcher), "check_passed", check="haproxy") == 0
        until_value(sandbox, switcher, 0, "vip_held", vip="api", node="node-b")
        until_value(sandbox, ("witness", "arbiter"), 1, "vip_holders", vip="api")
        until_value(
            sandbox, ("node-a", "traffic_switcher"), 1, "vip_held", vip="api", node="node-a"
        )
    finally:
        sandbox.control.release("node-b/haproxy")
    sandbox.control.until_stage("node-b/haproxy", Stage.READY, WITHIN_US)
    wait_until(lambda: get(sandbox, *switcher, "/readyz")[0] == 200, "all is well", WITHIN_US)


def test_what_was_decided_is_counted(sandbox: RunningSandbox) -> None:
    arbiter = ("witness", "arbiter")
    before = scraped(sandbox, *arbiter)
    opened = {"cause": "refused", "outcome": "opened"}
    failovers = value(before, "decisions_total", verdict="failover")
    sandbox.control.hold("node-b/shop")
    sandbox.control.send("node-b/shop", "KILL", everyone=True)
    try:
        until_value(
            sandbox,
            arbiter,
            value(before, "incidents_total", **opened) + 1,
            "incidents_total",
            **opened,
        )
        until_value(
            sandbox,
            arbiter,
            value(before, "failover_duration_seconds_count", phase="total") + 1,
            "failover_duration_seconds_count",
            phase="total",
        )
        found = scraped(sandbox, *arbiter)
        assert value(found, "decisions_total", verdict="failover") > failovers
        assert value(found, "service_instances", service="shop", state="out") == 1
    finally:
        sandbox.control.release("node-b/shop")
