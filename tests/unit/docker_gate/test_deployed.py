"""Where Docker's engine is reached from, as our own deployment files have it."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
SOCKET = "docker.sock"


def services() -> dict[str, dict[str, Any]]:
    """Return the services of the compose file."""
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert isinstance(found, dict)
    return found


def gates() -> dict[str, dict[str, Any]]:
    """Return the services that have a socket of an engine mounted."""
    return {
        name: each
        for name, each in services().items()
        if any(SOCKET in str(volume) for volume in each.get("volumes", ()))
    }


def test_the_gates_alone_have_the_engines_socket_and_they_are_off_by_default() -> None:
    assert set(gates()) == {"node-a-gate", "node-b-gate"}
    for each in gates().values():
        assert each["command"][0] == "services.docker_gate"
        assert each["profiles"] == ["docker"]


def test_a_gate_has_no_network_no_capability_and_no_file_to_write() -> None:
    for each in gates().values():
        assert each["network_mode"] == "none"
        assert each["cap_drop"] == ["ALL"]
        assert "cap_add" not in each
        assert "privileged" not in each
        assert each["read_only"] is True
        assert "no-new-privileges:true" in each["security_opt"]


def test_of_the_units_of_systemd_the_gate_alone_is_in_the_group_of_the_engine() -> None:
    folder = ROOT / "deploy" / "systemd"
    texts = {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}
    told = {
        name
        for name, text in texts.items()
        if "SupplementaryGroups=docker" in text or "/docker.sock" in text.replace("README", "")
    }
    assert told == {"equipoise-docker-gate.service"}
    assert "CapabilityBoundingSet=\n" in texts["equipoise-docker-gate.service"]
