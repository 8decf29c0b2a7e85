"""`deploy/setup`: what it refuses, and that failure leaves nothing half made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("bash", "cat", "cmp", "dirname", "env", "mktemp", "rm")
NEEDED = ("ip", "nsenter", "setpriv", "unshare")
MACHINE_LACKS = 69


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy what the script reads, with a PATH that has no other Python."""
    (tmp_path / "deploy").mkdir()
    for name in ("deploy/setup", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    for name in NEEDED:
        program(tmp_path, name, "exit 0")
    return tmp_path


def program(project: Path, name: str, script: str) -> Path:
    """Put a small program on the PATH."""
    path = project / "bin" / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path


def setup(project: Path, python: str = "python3") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "deploy" / "setup", python, ".venv"],
        env={**os.environ, "PATH": str(project / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_old_python_is_refused_by_name_with_what_to_install(project: Path) -> None:
    program(project, "python3", "echo 3.10")
    result = setup(project)
    assert result.returncode == MACHINE_LACKS
    assert "python3 is 3.10; Equipoise needs Python 3.11 or later" in result.stderr
    assert "apt-get install python3.11" in result.stderr


def test_no_python_at_all_is_refused(project: Path) -> None:
    result = setup(project)
    assert result.returncode == MACHINE_LACKS
    assert "python3 is not there" in result.stderr


def test_missing_packages_without_apt_are_named(project: Path) -> None:
    program(project, "python3", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.12;; esac')
    result = setup(project)
    assert result.returncode == MACHINE_LACKS
    assert "python3.12-venv" in result.stderr
    assert "Install them, then: make setup" in result.stderr


def test_root_installs_what_is_missing_and_others_are_told_the_line_to_run(project: Path) -> None:
    asked = project / "asked"
    program(project, "python3", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.12;; esac')
    program(project, "apt-get", f'echo "$@" >>{asked}; [[ $1 == update ]]')
    result = setup(project)
    assert result.returncode == MACHINE_LACKS
    if os.geteuid() != 0:
        assert "sudo apt-get install --yes --no-install-recommends python3.12-venv" in result.stderr
        return
    assert "apt-get could not install python3.12-venv" in result.stderr
    # The lists are asked for only when the first attempt failed.
    install = "install --yes --no-install-recommends python3.12-venv"
    assert asked.read_text().splitlines() == [install, "update", install]


def test_what_guards_virtual_ips_is_installed_by_who_may(project: Path) -> None:
    asked = project / "asked"
    program(project, "python3", 'case "$2" in *CDLL*) exit 1;; *ensurepip*) ;; *) echo 3.12;; esac')
    program(project, "apt-get", f'echo "$@" >>{asked}; exit 1')
    program(project, "sudo", '[[ $1 == -n ]] && shift; exec "$@"')
    result = setup(project)
    assert result.returncode == MACHINE_LACKS
    assert "apt-get could not install libnftables1" in result.stderr
    install = "install --yes --no-install-recommends libnftables1"
    assert asked.read_text().splitlines() == [install, "update", install]


def test_a_failed_installation_leaves_no_environment(project: Path) -> None:
    # A real Python makes the environment; its pip then fails, since the project is not there.
    program(project, "python3", f'exec {sys.executable} "$@"')
    (project / "pyproject.toml").write_text("this is no TOML")
    result = setup(project)
    assert result.returncode == 1
    assert "pip could not install the packages" in result.stderr
    assert not (project / ".venv").exists()
