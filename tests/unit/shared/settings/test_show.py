"""What is shown loads again, and says where each value comes from."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.cluster import Cluster
from shared.settings import show
from shared.settings.reference import MINIMAL
from tests.unit.shared.settings.samples import KEY, VALID, changed, examined

SAMPLES = {
    "valid": VALID,
    "minimal": MINIMAL,
    "full": (Path(__file__).parents[4] / "deploy" / "equipoise.yaml").read_text(),
    "ipv6": MINIMAL.replace("10.0.0.", "fd00::"),
    "fast": MINIMAL + "heartbeat: {profile: fast, every: 50ms, lease: 250ms}\n",
    "no-vips-for-one": changed("limit: 600/s", "vips: []"),
    "odd": changed("otlp: http://127.0.0.1:4318", "trace-ui: 'http://[::1]/{trace_id}#a'")
    .replace("expect: 200-299", "expect: 200")
    .replace("node-b", "no")
    .replace("header: X-Version", "header: '*'"),
}


def cluster_of(text: str, directory: Path, **environ: str) -> Cluster:
    report = examined(text, directory, **environ)
    assert report.settings is not None, report.text()
    return report.settings.cluster


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_shown_means_the_same(sample: str, tmp_path: Path) -> None:
    report = examined(SAMPLES[sample], tmp_path)
    for origins in (False, True):
        shown = examined(show.as_yaml(report, origins=origins), tmp_path)
        assert shown.findings == (), shown.text()
        assert shown.settings == report.settings


def test_variables_are_in_what_is_shown(tmp_path: Path) -> None:
    report = examined(VALID, tmp_path, EQUIPOISE_POLICY__RAMP="1500ms")
    text = show.as_yaml(report, origins=True)
    assert "  ramp: 1500ms                          # EQUIPOISE_POLICY__RAMP\n" in text
    assert "  drain: 30s                            # default\n" in text
    assert "cluster: shop                           # equipoise.yaml:2\n" in text
    assert cluster_of(text, tmp_path).policy.ramp_us == 1_500_000


def test_what_a_profile_stands_for_is_written_out(tmp_path: Path) -> None:
    text = show.as_yaml(examined(MINIMAL + "heartbeat: {profile: fast}\n", tmp_path))
    assert "heartbeat:\n  profile: fast\n  every: 20ms\n  lease: 120ms\n" in text


def test_the_vips_of_each_service_are_written_out(tmp_path: Path) -> None:
    shown = show.as_json(examined(VALID, tmp_path))
    assert shown["services.orders.vips"] == {"value": ["web"], "origin": "default"}
    assert shown["vips.web.address"]["value"] == "10.0.0.100/24"
    assert "vips" not in show.as_yaml(examined(MINIMAL, tmp_path))


def test_every_default_is_visible(tmp_path: Path) -> None:
    text = show.as_yaml(examined(MINIMAL, tmp_path))
    for line in ("every: 50ms", "failback: automatic", "moves: 6 per 10m", "timeout: auto"):
        assert line in text
    assert "servers: ['nats://10.0.0.13:4222']" in text


def test_the_keys_content_is_never_shown(tmp_path: Path) -> None:
    report = examined(VALID, tmp_path)
    text = show.as_yaml(report, origins=True)
    assert "key: cluster.key                        # equipoise.yaml:3; its content: ***\n" in text
    assert KEY.decode() not in text + str(show.as_json(report))


def test_as_json_each_value_has_its_origin(tmp_path: Path) -> None:
    shown = show.as_json(examined(VALID, tmp_path, EQUIPOISE_LOG_LEVEL="debug"))
    assert shown["nodes.node-a.capacity"] == {"value": 100, "origin": "equipoise.yaml:7"}
    assert shown["nodes.node-b.capacity"] == {"value": 100, "origin": "default"}
    assert shown["telemetry.log.level"] == {"value": "debug", "origin": "EQUIPOISE_LOG_LEVEL"}
    assert shown["bus.servers"]["value"] == ["nats://10.0.0.13:4222"]


def test_a_balanced_services_home_is_not_shown_since_it_has_no_effect(tmp_path: Path) -> None:
    shown = show.as_json(examined(VALID, tmp_path))
    assert "services.shop.home" not in shown
    assert shown["services.orders.home"]["value"] == "node-b"
    cluster = cluster_of(VALID, tmp_path)
    assert replace(cluster, configuration="").services["shop"].home == "node-a"
