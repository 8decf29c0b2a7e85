"""Loading: what services get, and what they are told when there is nothing to get."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shared.cluster import FailbackMode, Identity, Mode, Node, Probe, Protocol, VirtualIp
from shared.errors import ConfigError
from shared.instant import HOUR, MILLISECOND, MINUTE, SECOND
from shared.settings.findings import Code
from shared.settings.load import examine, examine_text, load, load_text
from shared.settings.reference import MINIMAL
from tests.unit.shared.settings.samples import KEY, NAME, VALID, changed, examined, key_in

AS_NODE_A = {"EQUIPOISE_NODE": "node-a"}


def written(directory: Path, text: str) -> Path:
    path = key_in(directory) / NAME
    path.write_text(text, encoding="utf-8")
    return path


def codes(text: str, directory: Path, **environ: str) -> list[Code]:
    return [finding.code for finding in examined(text, directory, **environ).findings]


def test_a_service_gets_the_cluster_and_itself(tmp_path: Path) -> None:
    settings = load(written(tmp_path, VALID), AS_NODE_A)
    assert settings.member == "node-a"
    assert settings.key == KEY
    assert settings.otlp_endpoint == "http://127.0.0.1:4318"
    assert (settings.run_directory, settings.state_directory) == (
        Path("/run/equipoise"),
        Path("/var/lib/equipoise"),
    )
    cluster = settings.cluster
    assert (cluster.name, cluster.primary) == ("shop", "node-a")
    assert cluster.members["witness"] == Node(name="witness", address="10.0.0.13")
    shop, orders = cluster.services["shop"], cluster.services["orders"]
    assert (shop.mode, shop.protocol, shop.limit_per_s) == (Mode.BALANCE, Protocol.HTTP, 600)
    assert shop.identity == Identity(path="/version", header="X-Version", every_us=30 * SECOND)
    assert (orders.mode, orders.home, orders.probe.path) == (Mode.MIRROR, "node-b", None)


def test_the_minimal_file_means_the_documented_defaults(tmp_path: Path) -> None:
    cluster = load(written(tmp_path, MINIMAL), AS_NODE_A).cluster
    assert len(MINIMAL.splitlines()) <= 15
    assert cluster.bus_servers == ("nats://10.0.0.13:4222",)
    assert {node.capacity for node in cluster.nodes.values()} == {100}
    assert cluster.services["shop"].probe == Probe(
        path="/healthz",
        expect=((200, 299),),
        every_us=100 * MILLISECOND,
        timeout_us=None,
        fall=2,
        rise=3,
    )
    assert (cluster.heartbeat.every_us, cluster.heartbeat.port) == (50 * MILLISECOND, 8643)
    policy = cluster.policy
    assert policy.failback is FailbackMode.AUTOMATIC
    assert (policy.after_us, policy.ramp_us) == (10 * SECOND, 10 * SECOND)
    assert (policy.drain_us, policy.override_max_us) == (30 * SECOND, 4 * HOUR)
    assert policy.forget_us == HOUR
    assert (policy.moves_max, policy.moves_window_us) == (6, 10 * MINUTE)


def test_without_a_witness_the_bus_is_on_the_first_node_in_either_family(tmp_path: Path) -> None:
    text = MINIMAL.replace("witness: {address: 10.0.0.13}\n", "")
    text = text.replace("10.0.0.11", "FD00::11").replace("10.0.0.12", "fd00:0::12")
    cluster = load(written(tmp_path, text), AS_NODE_A).cluster
    assert cluster.bus_servers == ("nats://[fd00::11]:4222",)
    assert cluster.nodes["node-b"].address == "fd00::12"


def test_a_mirror_without_home_is_at_home_on_the_first_node(tmp_path: Path) -> None:
    text = changed("    home: node-b\n", "")
    settings = load(written(tmp_path, text), AS_NODE_A)
    assert settings.cluster.services["orders"].home == "node-a"


def test_empty_sections_are_their_defaults(tmp_path: Path) -> None:
    text = MINIMAL + "policy:\n  # ramp: 1s\nheartbeat: ~\ntelemetry:\n  log:\nbus:\n"
    with_empty = load(written(tmp_path, text), AS_NODE_A).cluster
    assert with_empty == load(written(tmp_path, MINIMAL), AS_NODE_A).cluster


def test_an_empty_witness_is_not_no_witness(tmp_path: Path) -> None:
    text = MINIMAL.replace("witness: {address: 10.0.0.13}\n", "witness:\n")
    (finding,) = examined(text, tmp_path).findings
    assert (finding.code, finding.path) == (Code.MISSING, "witness.address")


def test_an_alias_repeats_a_whole_value(tmp_path: Path) -> None:
    text = MINIMAL.replace("probe: {", "probe: &how {")
    text += "  other:\n    listen: 81\n    port: 8081\n    probe: *how\n"
    services = load(written(tmp_path, text), AS_NODE_A).cluster.services
    assert services["other"].probe == services["shop"].probe


@pytest.mark.parametrize("name", ["on", "no", "yes", "y", "off", "true", "false"])
def test_names_that_yaml_1_1_reads_as_truth_are_names(name: str, tmp_path: Path) -> None:
    text = VALID.replace("node-b", name)
    cluster = load(written(tmp_path, text), AS_NODE_A).cluster
    assert list(cluster.nodes) == ["node-a", name]
    assert cluster.services["orders"].home == name


# The hash of the meaning.


def hash_of(text: str, directory: Path, **environ: str) -> str:
    settings = examined(text, directory, **environ).settings
    assert settings is not None
    return settings.cluster.configuration


def test_the_hash_is_of_the_meaning_not_of_the_writing(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"another key, another key")
    (tmp_path / "other").chmod(0o600)
    same = [
        "# a comment\n" + VALID,
        changed("every: 50ms", "every: 50ms # default"),
        changed("heartbeat:\n  every: 50ms\n", ""),
        changed("moves: 6 per 10m", "moves: 6 per 600s"),
        changed("cluster: shop\n", "").replace("policy:\n", "cluster: shop\npolicy:\n"),
        changed("level: info", "level: debug"),
        changed("key: cluster.key", "key: other"),
        changed("expect: 200-299", "expect: 250-299,200-249"),
    ]
    assert {hash_of(text, tmp_path) for text in same} == {hash_of(VALID, tmp_path)}
    assert hash_of(VALID, tmp_path, EQUIPOISE_NODE="node-b", EQUIPOISE_LOG_LEVEL="debug") == (
        hash_of(VALID, tmp_path)
    )


def test_the_order_of_services_means_nothing_and_that_of_nodes_decides_ties(
    tmp_path: Path,
) -> None:
    start, shop, orders = VALID.partition("  shop:\n")[0], "  shop:\n", "  orders:\n"
    of_shop = VALID.partition(shop)[2].partition(orders)[0]
    of_orders, heartbeat, rest = VALID.partition(orders)[2].partition("heartbeat:\n")
    swapped = start + orders + of_orders + shop + of_shop + heartbeat + rest
    assert hash_of(swapped, tmp_path) == hash_of(VALID, tmp_path)
    nodes = "  node-c: {address: 10.0.0.15}\n  node-d: {address: 10.0.0.16}\n"
    swapped_nodes = "  node-d: {address: 10.0.0.16}\n  node-c: {address: 10.0.0.15}\n"
    hashes = {
        hash_of(VALID.replace("witness:\n", further + "witness:\n"), tmp_path)
        for further in (nodes, swapped_nodes)
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cluster: shop", "cluster: web"),
        ("capacity: 100", "capacity: 50"),
        ("mode: balance", "mode: mirror"),
        ("limit: 600/s", "limit: 601/s"),
        ("expect: 200-299", "expect: 200-298"),
        ("every: 50ms", "every: 51ms"),
        ("ramp: 10s", "ramp: 9s"),
        ("moves: 6 per 10m", "moves: 5 per 10m"),
        ("header: X-Version", "header: Version"),
        ("nats://10.0.0.13:4222", "nats://10.0.0.13:4223"),
    ],
)
def test_another_meaning_has_another_hash(old: str, new: str, tmp_path: Path) -> None:
    assert hash_of(changed(old, new), tmp_path) != hash_of(VALID, tmp_path)


# Who we are.


def test_a_service_must_be_a_member(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    with pytest.raises(ConfigError, match="there is no member named 'node-c'") as raised:
        load(path, {"EQUIPOISE_NODE": "node-c"})
    assert "members in this file: node-a, node-b, witness" in str(raised.value)
    assert "EQUIPOISE_NODE:1:1: error" in str(raised.value)
    with pytest.raises(ConfigError, match="EQUIPOISE_NODE is not set"):
        load(path, {})
    assert load(path, {"EQUIPOISE_NODE": "witness"}).member == "witness"


@pytest.mark.parametrize(
    ("text", "where"),
    [("", None), (" 0.0.0.0:9631 ", ("0.0.0.0", 9631)), ("[::1]:9", ("::1", 9))],
)
def test_health_is_answered_where_a_variable_says(
    text: str, where: tuple[str, int] | None, tmp_path: Path
) -> None:
    path = written(tmp_path, VALID)
    assert load(path, {**AS_NODE_A, "EQUIPOISE_HEALTH": text}).health_at == where
    assert load(path, {**AS_NODE_A, "EQUIPOISE_API_LISTEN": text}).api_at == where


@pytest.mark.parametrize("text", ["9631", ":9631", "localhost:9631", "10.0.0.1:0", "::1:99999"])
def test_a_wrong_place_for_health_is_named(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    with pytest.raises(ConfigError, match="an address and a port from 1 to 65535") as raised:
        load(path, {**AS_NODE_A, "EQUIPOISE_HEALTH": text})
    assert "EQUIPOISE_HEALTH:1:1: error" in str(raised.value)


def test_a_person_need_not_be_a_member(tmp_path: Path) -> None:
    settings = examine(written(tmp_path, VALID), {}).settings
    assert settings is not None
    assert settings.member == ""
    assert codes(VALID, tmp_path, EQUIPOISE_NODE="node-c") == [Code.MEMBER]


# The key.


def test_the_key_is_read_without_the_line_break_and_never_printed(tmp_path: Path) -> None:
    settings = load(written(tmp_path, VALID), AS_NODE_A)
    assert settings.key == KEY
    assert KEY.decode() not in repr(settings)
    assert replace(settings, key=b"").key == b""


@pytest.mark.parametrize(
    ("content", "mode", "text", "mend"),
    [
        (b"too short\n", 0o600, "holds 9 bytes; a key has 16 to 4096", "head -c 32 /dev/urandom"),
        (b"x" * 5000, 0o600, "holds more than 4096 bytes", "head -c 32 /dev/urandom"),
        (KEY, 0o644, "is open to every user of this machine", "chmod o-rwx"),
    ],
)
def test_a_bad_key_is_an_error_for_everyone(
    content: bytes, mode: int, text: str, mend: str, tmp_path: Path
) -> None:
    path = written(tmp_path, VALID)
    key = tmp_path / "cluster.key"
    key.write_bytes(content)
    key.chmod(mode)
    for report in (examine(path, {}), examine(path, AS_NODE_A, for_member=True)):
        (finding,) = report.findings
        assert (finding.code, finding.path) == (Code.KEY_FILE, "key")
        assert text in finding.text
        assert mend in finding.help
        assert finding.place.line == 3


def test_a_missing_key_stops_a_service_and_warns_a_person(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    (tmp_path / "cluster.key").unlink()
    with pytest.raises(ConfigError, match=r"cluster\.key.*EQ-C040") as raised:
        load(path, AS_NODE_A)
    assert f"head -c 32 /dev/urandom | base64 > {tmp_path}/cluster.key" in str(raised.value)
    report = examine(path, {})
    assert [finding.code for finding in report.findings] == [Code.KEY_UNSEEN]
    assert report.settings is not None
    assert report.settings.key == b""


def test_a_directory_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (finding,) = examined(changed("key: cluster.key", "key: keys"), tmp_path).findings
    assert finding.code is Code.KEY_FILE
    assert "is a directory" in finding.text
    assert "Docker makes one where the file that is to be mounted is not there" in finding.help


def test_the_command_of_the_help_makes_a_good_key(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    (tmp_path / "cluster.key").unlink()
    (finding,) = examine(path, {}).findings
    command = finding.help.removeprefix("make one with: ")
    subprocess.run(["/bin/sh", "-c", command], check=True, timeout=10)
    assert len(load(path, AS_NODE_A).key) == 44


def test_an_absolute_path_of_a_key_is_taken_as_it_is(tmp_path: Path) -> None:
    key_in(tmp_path)
    text = changed("key: cluster.key", f"key: {tmp_path}/cluster.key")
    assert load_text(text, NAME, AS_NODE_A, directory=Path("/elsewhere")).key == KEY


# Files that are no configuration at all.


def test_a_missing_file_says_so_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "none.yaml", AS_NODE_A)
    assert str(raised.value) == (
        f"{tmp_path}/none.yaml: error: there is no such file [EQ-C001]\n"
        "  = help: name another with --config or EQUIPOISE_CONFIG\n\n"
        f"{tmp_path}/none.yaml: 1 error; nothing was changed"
    )
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (b"cluster: \xff\n", Code.FILE, "it is not UTF-8: byte 9 is 0xff"),
        (b"# " + b"x" * (1 << 20), Code.SIZE, "1048576 is the most"),
        (b"- a\n- b\n", Code.SHAPE, "must be a mapping, got a list"),
        (b"just text\n", Code.SHAPE, "must be a mapping, got 'just text'"),
    ],
)
def test_other_files_are_refused(content: bytes, code: Code, text: str, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    (finding,) = examine(path, {}).findings
    assert finding.code is code
    assert text in finding.text


def test_a_directory_is_no_file_and_a_nul_is_no_path(tmp_path: Path) -> None:
    for path in (tmp_path, Path("a\0b")):
        (finding,) = examine(path, {}).findings
        assert finding.code is Code.FILE
        assert "\0" not in finding.report()


def test_an_empty_file_lacks_all_that_is_required(tmp_path: Path) -> None:
    findings = examined("", tmp_path).findings
    assert {finding.path for finding in findings} == {
        "version", "cluster", "key", "nodes", "services",
    }  # fmt: skip
    assert {finding.code for finding in findings} == {Code.MISSING}


def test_a_byte_order_mark_and_windows_line_ends_are_borne(tmp_path: Path) -> None:
    path = key_in(tmp_path) / NAME
    path.write_bytes(b"\xef\xbb\xbf" + VALID.replace("\n", "\r\n").encode())
    assert examine(path, {}).findings == ()


def test_a_tampered_key_path_is_refused(tmp_path: Path) -> None:
    (finding,) = examined(changed("cluster.key", '"a\\0b"'), tmp_path).findings
    assert (finding.code, finding.path) == (Code.TEXT, "key")


def test_directories_come_from_the_environment(tmp_path: Path) -> None:
    environ = {**AS_NODE_A, "EQUIPOISE_RUN_DIR": "/tmp/run", "EQUIPOISE_STATE_DIR": "/tmp/state"}
    settings = load(written(tmp_path, VALID), environ)
    assert settings.run_directory == Path("/tmp/run")
    assert settings.state_directory == Path("/tmp/state")


def test_warnings_reach_the_service_that_logs_them(tmp_path: Path) -> None:
    settings = load(written(tmp_path, changed("every: 50ms", "every: 20ms")), AS_NODE_A)
    (warning,) = settings.warnings
    assert warning.startswith(f"{tmp_path}/{NAME}:34:10: warning: heartbeat.every: beats every")


def test_a_hundred_nodes_and_two_hundred_services_are_the_limit(tmp_path: Path) -> None:
    def with_counts(nodes: int, services: int) -> str:
        listed = [f"  n{i}: {{address: 10.0.{i // 250}.{i % 250 + 1}}}\n" for i in range(nodes)]
        offered = [
            f"  s{i}: {{protocol: tcp, listen: {1000 + i}, port: {2000 + i}}}\n"
            for i in range(services)
        ]
        return (
            "version: 1\ncluster: big\nkey: cluster.key\nnodes:\n"
            f"{''.join(listed)}services:\n{''.join(offered)}"
        )

    assert codes(with_counts(100, 20), tmp_path) == []
    assert codes(with_counts(10, 200), tmp_path) == []
    assert codes(with_counts(101, 2), tmp_path) == [Code.COUNT]
    assert codes(with_counts(3, 201), tmp_path) == [Code.COUNT]
    settings = load(written(tmp_path, with_counts(100, 200)), {"EQUIPOISE_NODE": "n0"})
    (warning, *_) = [text for text in settings.warnings if "instances" in text]
    assert "200 services on 100 nodes are 20000 instances; up to 2000 has been measured" in warning


def test_importing_settings_reads_no_environment_and_costs_no_yaml() -> None:
    program = (
        "import os, sys\n"
        "class Watched(dict):\n"
        "    def _seen(self, *key):\n"
        "        if 'settings' in sys._getframe(1).f_code.co_filename: os._exit(9)\n"
        "        return dict.get(self, *key)\n"
        "    __getitem__ = get = __contains__ = __iter__ = keys = items = _seen\n"
        "import shared.settings\n"
        "assert not {'yaml', 'pydantic'} & set(sys.modules)\n"
        "os.environ = Watched(os.environ)\n"
        "import shared.settings.load, shared.settings.show, shared.settings.reference\n"
        "os._exit(7)\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, timeout=60, check=False)
    assert done.returncode == 7


def test_text_and_file_are_read_alike(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    assert load(path, AS_NODE_A) == load_text(VALID, NAME, AS_NODE_A, directory=tmp_path)
    assert examine_text(VALID, str(path), {}, directory=tmp_path).findings == ()


def test_the_files_vips_are_the_clusters(tmp_path: Path) -> None:
    api = "  api: {address: 'FD00:0::100/64', home: node-b, interface: eth1}\n"
    text = VALID + api + "  zeta: {address: 10.0.0.102/24, home: node-b}\n"
    text = text.replace("limit: 600/s", "vips: [zeta, web]")
    settings = load(written(tmp_path, text), AS_NODE_A)
    assert settings.cluster.vips == {
        "web": VirtualIp(name="web", address="10.0.0.100", prefix=24, home="node-a"),
        "api": VirtualIp(
            name="api", address="fd00::100", prefix=64, home="node-b", interface="eth1"
        ),
        "zeta": VirtualIp(name="zeta", address="10.0.0.102", prefix=24, home="node-b"),
    }
    services = settings.cluster.services
    assert services["shop"].vips == ("web", "zeta"), "in the file's order: it means nothing"
    assert services["orders"].vips == ("web", "api", "zeta"), "all, by default"


def test_a_service_may_be_reached_on_the_nodes_own_addresses_alone(tmp_path: Path) -> None:
    text = changed("listen: 5432", "listen: 5432\n    vips: []")
    services = load(written(tmp_path, text), AS_NODE_A).cluster.services
    assert (services["orders"].vips, services["shop"].vips) == ((), ("web",))


@pytest.mark.parametrize(
    ("heartbeat", "every_ms", "lease_ms"),
    [
        ("every: 50ms", 50, None),
        ("every: 50ms\n  lease: 300ms", 50, 300),
        ("every: 50ms\n  lease: auto", 50, None),
        ("profile: fast", 20, 120),
        ("profile: fast\n  lease: auto", 20, None),
        ("profile: fast\n  every: 25ms", 25, 120),
        ("profile: fast\n  every: 50ms\n  lease: 250ms", 50, 250),
        ("profile: default\n  lease: 1s", 50, 1000),
    ],
)
def test_a_profile_sets_what_is_not_written_out(
    heartbeat: str, every_ms: int, lease_ms: int | None, tmp_path: Path
) -> None:
    text = changed("every: 50ms", heartbeat)
    beats = load(written(tmp_path, text), AS_NODE_A).cluster.heartbeat
    assert beats.every_us == every_ms * 1000
    assert beats.lease_us == (None if lease_ms is None else lease_ms * 1000)


def test_vips_and_leases_are_part_of_the_meaning(tmp_path: Path) -> None:
    others = [
        changed("10.0.0.100/24", "10.0.0.100/25"),
        changed('home: "node-a"', "home: node-b"),
        changed("every: 50ms", "lease: 300ms"),
        changed("ramp: 10s", "after: {node: 20s}"),
        changed("limit: 600/s", "vips: []"),
    ]
    hashes = {hash_of(text, tmp_path) for text in (VALID, *others)}
    assert len(hashes) == 6
    assert hash_of(changed("limit: 600/s", "limit: 600/s\n    vips: [web]"), tmp_path) == (
        hash_of(VALID, tmp_path)
    )
