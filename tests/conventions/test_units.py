"""That the units of systemd and the programs mean the same things."""

import re
from pathlib import Path

import pytest

from shared.alive import PROGRAMS, RUN_DIRECTORY
from shared.errors import ConfigError, MachineError
from shared.settings.load import STATE_DIRECTORY

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
PROGRAM, HAPROXY, NATS = "equipoise@.service", "equipoise-haproxy.service", "equipoise-nats.service"
PAGE = (UNITS / "README.md").read_text()


def settings(unit: str) -> dict[str, str]:
    """Return a unit's settings; of one that stands there twice, the last."""
    text = (UNITS / unit).read_text().replace("\\\n", "")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def test_the_page_starts_every_program_that_there_is() -> None:
    started = {
        name for group in re.findall(r"equipoise@\{(.+?)\}", PAGE) for name in group.split(",")
    }
    assert started == set(PROGRAMS)
    for program in started:
        assert (ROOT / "services" / program / "__main__.py").exists()
    assert settings(PROGRAM)["ExecStart"] == "/opt/equipoise/bin/python -m services.%i"


@pytest.mark.parametrize("unit", [PROGRAM, HAPROXY, NATS])
def test_every_unit_runs_as_the_user_that_is_made(unit: str) -> None:
    (made,) = re.findall(r"^u (\w+)", (UNITS / "equipoise.sysusers.conf").read_text(), re.MULTILINE)
    assert settings(unit)["User"] == settings(unit)["Group"] == made
    assert settings(unit)["PartOf"] == settings(unit)["WantedBy"] == "equipoise.target"


def test_programs_may_write_where_they_do() -> None:
    made = re.findall(r"^d (/\S+)", (UNITS / "equipoise.tmpfiles.conf").read_text(), re.MULTILINE)
    written = settings(PROGRAM)["ReadWritePaths"].split()
    assert written == [RUN_DIRECTORY, STATE_DIRECTORY]
    assert set(written) <= set(made)


def test_haproxy_is_started_where_the_switcher_looks_for_it() -> None:
    adapter = (ROOT / "services/traffic_switcher/adapters/haproxy.py").read_text()
    started = settings(HAPROXY)["ExecStart"]
    for name in ("haproxy.cfg", "haproxy-master.sock"):
        assert f'"{name}"' in adapter
        assert f"{RUN_DIRECTORY}/{name}" in started


def test_only_a_wrong_configuration_is_not_tried_again() -> None:
    kept_down = settings(PROGRAM)["RestartPreventExitStatus"].split()
    assert kept_down == [str(ConfigError.exit_code)]
    assert str(MachineError.exit_code) not in kept_down
    for unit in (PROGRAM, HAPROXY, NATS):
        assert settings(unit)["Restart"] == "always"
        assert settings(unit)["StartLimitIntervalSec"] == "0"


def test_a_node_s_addresses_leave_before_its_balancer_ends() -> None:
    assert HAPROXY in settings(PROGRAM)["After"].split()
    assert "equipoise@" not in settings(HAPROXY)["After"]


def test_what_compiles_at_run_time_may() -> None:
    # HAProxy's regular expressions become machine code; the switcher runs its check of a file.
    assert "MemoryDenyWriteExecute" not in settings(HAPROXY)
    switcher = settings("equipoise@traffic_switcher.service.d/network.conf")
    assert switcher["MemoryDenyWriteExecute"] == "no"
