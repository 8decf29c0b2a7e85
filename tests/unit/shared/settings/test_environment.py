"""Variables win over the file; those that are nearly settings are errors."""

from pathlib import Path

import pytest

from shared.instant import SECOND
from shared.settings import Settings
from shared.settings.document import read
from shared.settings.environment import variable_of, variables
from shared.settings.findings import Code
from tests.unit.shared.settings.samples import VALID, changed, examined


def settings_with(directory: Path, **environ: str) -> Settings:
    report = examined(VALID, directory, **environ)
    assert report.findings == (), report.text()
    assert report.settings is not None
    return report.settings


def test_any_key_has_a_variable(tmp_path: Path) -> None:
    cluster = settings_with(
        tmp_path,
        EQUIPOISE_POLICY__RAMP="1s",
        EQUIPOISE_POLICY__AFTER__SERVICE="2s",
        EQUIPOISE_NODES__NODE_A__CAPACITY="50",
        EQUIPOISE_SERVICES__SHOP__PROBE__EVERY="300ms",
        EQUIPOISE_CLUSTER="web",
    ).cluster
    assert (cluster.policy.ramp_us, cluster.policy.after_us) == (1 * SECOND, 2 * SECOND)
    assert cluster.nodes["node-a"].capacity == 50
    assert cluster.services["shop"].probe.every_us == 300_000
    assert cluster.name == "web"


def test_a_variable_holds_a_section_or_a_list(tmp_path: Path) -> None:
    for servers in (
        "nats://10.0.0.13:1, nats://10.0.0.13:2",
        "[nats://10.0.0.13:1,nats://10.0.0.13:2]",
    ):
        cluster = settings_with(
            tmp_path,
            EQUIPOISE_BUS__SERVERS=servers,
            EQUIPOISE_SERVICES__SHOP__PROBE="{http: /alive, fall: 5}",
            EQUIPOISE_SERVICES__SHOP__PROBE__FALL="7",
        ).cluster
        assert cluster.bus_servers == ("nats://10.0.0.13:1", "nats://10.0.0.13:2")
        probe = cluster.services["shop"].probe
        assert (probe.path, probe.fall, probe.expect) == ("/alive", 7, ((200, 299),))


def test_addresses_with_colons_stand_in_a_list(tmp_path: Path) -> None:
    servers = "nats://[fd00::1]:4222,nats://[fd00::2]:4222,"
    cluster = settings_with(tmp_path, EQUIPOISE_BUS__SERVERS=servers).cluster
    assert cluster.bus_servers == ("nats://[fd00::1]:4222", "nats://[fd00::2]:4222")
    wrong = examined(VALID, tmp_path, EQUIPOISE_BUS__SERVERS="nats://a:1, b:2").findings
    assert [(finding.place.column, finding.place.length) for finding in wrong] == [(13, 3)]


def test_a_vip_and_the_vips_of_a_service_have_variables(tmp_path: Path) -> None:
    cluster = settings_with(
        tmp_path,
        EQUIPOISE_VIPS__WEB__ADDRESS="10.0.0.200/24",
        EQUIPOISE_VIPS__WEB__HOME="node-b",
        EQUIPOISE_SERVICES__SHOP__VIPS="web",
        EQUIPOISE_HEARTBEAT__LEASE="400ms",
        EQUIPOISE_POLICY__AFTER__NODE="3s",
    ).cluster
    assert (cluster.vips["web"].address, cluster.vips["web"].home) == ("10.0.0.200", "node-b")
    assert cluster.services["shop"].vips == ("web",)
    assert cluster.heartbeat.lease_us == 400_000
    assert cluster.policy.node_after_us == 3 * SECOND


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert settings_with(tmp_path, EQUIPOISE_POLICY__RAMP="", EQUIPOISE_NOPE__X=" ") == (
        settings_with(tmp_path)
    )


def test_a_wrong_value_is_shown_where_it_was_written(tmp_path: Path) -> None:
    (finding,) = examined(VALID, tmp_path, EQUIPOISE_POLICY__RAMP="1 sec").findings
    assert finding.report() == (
        "EQUIPOISE_POLICY__RAMP:1:1: error: policy.ramp: must be a duration from 0s to 1h, "
        "got '1 sec' [EQ-C015]\n"
        "  |\n"
        "1 | 1 sec\n"
        "  | ^^^^^\n"
        "  = help: write 1s"
    )


def test_a_relation_broken_by_a_variable_is_shown_there(tmp_path: Path) -> None:
    (finding,) = examined(VALID, tmp_path, EQUIPOISE_SERVICES__ORDERS__LISTEN="80").findings
    assert finding.code is Code.PORTS
    assert finding.place.file == "EQUIPOISE_SERVICES__ORDERS__LISTEN"


def test_a_variable_mends_a_broken_file(tmp_path: Path) -> None:
    text = changed("ramp: 10s", "ramp: 10")
    assert not examined(text, tmp_path).valid
    assert examined(text, tmp_path, EQUIPOISE_POLICY__RAMP="10s").valid


def test_the_short_names_win(tmp_path: Path) -> None:
    (tmp_path / "other.key").write_bytes(b"fedcba9876543210")
    (tmp_path / "other.key").chmod(0o600)
    settings = settings_with(
        tmp_path,
        EQUIPOISE_KEY_FILE="other.key",
        EQUIPOISE_LOG_LEVEL="debug",
        EQUIPOISE_TELEMETRY__LOG__LEVEL="error",
        EQUIPOISE_LOG_FORMAT="json",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318",
    )
    assert settings.key == b"fedcba9876543210"
    assert (settings.log_level, settings.log_format) == ("debug", "json")
    assert settings.otlp_endpoint == "http://collector:4318"


@pytest.mark.parametrize(
    ("variable", "mend"),
    [
        ("EQUIPOISE_POLICY__RAPM", "did you mean 'EQUIPOISE_POLICY__RAMP'?"),
        ("EQUIPOISE_NODES__NODE_C__CAPACITY", "did you mean 'EQUIPOISE_NODES__NODE_B__CAPACITY'?"),
        ("EQUIPOISE_POLICY_RAMP", "did you mean 'EQUIPOISE_POLICY__RAMP'?"),
        ("EQUIPOISE_NODDE", "did you mean 'EQUIPOISE_NODE'?"),
        ("EQUIPOISE_LOG_LEVLE", "did you mean 'EQUIPOISE_LOG_LEVEL'?"),
        ("EQUIPOISE_XYZZY__PLUGH", "nodes, VIPs and services are named in the file"),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_an_error(
    variable: str, mend: str, tmp_path: Path
) -> None:
    (finding,) = examined(VALID, tmp_path, **{variable: "1"}).findings
    assert finding.code is Code.VARIABLE
    assert mend in finding.help
    assert finding.headline().startswith(f"{variable}:1:1: error: ")


@pytest.mark.parametrize(
    "variable",
    ["EQUIPOISE_VERSION", "EQUIPOISE_SERVICE_HOST", "EQUIPOISE_PORT", "EQUIPOISE_PORT_80_TCP_ADDR"],
)
def test_variables_of_images_and_orchestrators_only_warn(variable: str, tmp_path: Path) -> None:
    report = examined(VALID, tmp_path, **{variable: "10.0.0.1"})
    assert [finding.code for finding in report.findings] == [Code.FOREIGN_VARIABLE]
    assert report.valid


def test_a_service_called_host_does_not_claim_an_orchestrators_variable(tmp_path: Path) -> None:
    report = examined(VALID.replace("orders", "host"), tmp_path, EQUIPOISE_SERVICE_HOST="x")
    assert [finding.code for finding in report.findings] == [Code.FOREIGN_VARIABLE]


def test_a_key_that_a_variable_made_is_shown_there(tmp_path: Path) -> None:
    variable = "EQUIPOISE_SERVICES__ORDERS__IDENTITY"
    (finding,) = examined(VALID, tmp_path, **{variable: "{http: /version}"}).findings
    assert (finding.code, finding.place.file) == (Code.IDENTITY, variable)


def test_the_key_itself_is_refused_and_not_repeated(tmp_path: Path) -> None:
    report = examined(VALID, tmp_path, EQUIPOISE_KEY="hunter2hunter2hunter2")
    assert [finding.code for finding in report.findings] == [Code.SECRET]
    assert "EQUIPOISE_KEY_FILE" in report.text()
    assert "hunter2" not in report.text()
    assert "hunter2" not in str(report.as_json())


def test_the_programs_own_variables_are_known(tmp_path: Path) -> None:
    own = ["CONFIG", "NODE", "RUN_DIR", "STATE_DIR", "API", "CONTEXT"]
    settings_with(tmp_path, **{f"EQUIPOISE_{name}": "node-a" for name in own})


def test_variables_of_others_are_none_of_our_business(tmp_path: Path) -> None:
    settings_with(tmp_path, PATH="/bin", OTEL_SERVICE_NAME="x", equipoise_node="x")


def test_bytes_that_are_no_text_are_shown_safely(tmp_path: Path) -> None:
    report = examined(VALID, tmp_path, EQUIPOISE_POLICY__RAMP="\udcff\x1b[31m")
    report.text().encode("utf-8")
    assert "\x1b" not in report.text()


def test_a_variable_and_its_path_are_one_to_one() -> None:
    known = variables(read(VALID, "x"))
    assert len(known) > 50
    shortened = {
        "EQUIPOISE_TELEMETRY__LOG__LEVEL",
        "EQUIPOISE_TELEMETRY__LOG__FORMAT",
        "EQUIPOISE_TELEMETRY__OTLP",
    }
    for variable, path in known.items():
        assert known[variable_of(path)] == path
        assert variable_of(path) == variable or variable in shortened
