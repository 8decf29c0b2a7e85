"""The image, given something wrong, on a real engine: as its own user, with what Docker mounts.

What needs no container is in tests/integration/bad_input.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.compose.cluster import VERSION

ROOT = Path(__file__).parents[2]
IMAGE = f"equipoise:{VERSION}"  # the cluster's, which has built it
WITHIN_S = 120


pytestmark = [pytest.mark.compose, pytest.mark.timeout(240)]


def ended(folder: Path, *options: str) -> tuple[int, str]:
    """Run a heartbeat whose configuration is mounted from a folder; return how it ended."""
    done = subprocess.run(
        [
            *("docker", "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"),
            *("--tmpfs", "/run/equipoise:uid=9631,gid=9631"),
            *("--volume", f"{folder}/equipoise.yaml:/etc/equipoise/equipoise.yaml:ro"),
            *("--volume", f"{folder}/cluster.key:/etc/equipoise/cluster.key:ro"),
            *("--env", "EQUIPOISE_NODE=node-a", *options, IMAGE, "services.heartbeat"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    line = json.loads(done.stderr.splitlines()[-1])
    assert line["event"] == "ended"
    assert line["exit_code"] == done.returncode
    return done.returncode, line["because"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a good configuration and a good key."""
    shutil.copy(ROOT / "deploy" / "compose" / "equipoise.yaml", tmp_path)
    (tmp_path / "equipoise.yaml").chmod(0o644)
    (tmp_path / "cluster.key").write_text("0123456789abcdef" * 3)
    os.chown(tmp_path / "cluster.key", 0, 9_631)
    (tmp_path / "cluster.key").chmod(0o640)
    return tmp_path


@pytest.mark.parametrize("name", ["equipoise.yaml", "cluster.key"])
def test_a_file_that_its_user_may_not_read_comes_with_the_command_that_mends_it(
    folder: Path, name: str
) -> None:
    os.chown(folder / name, 0, 0)
    (folder / name).chmod(0o600)
    code, because = ended(folder)
    assert code == 2
    assert f"chgrp 9631 /etc/equipoise/{name} && chmod 640 /etc/equipoise/{name}" in because


@pytest.mark.parametrize("name", ["equipoise.yaml", "cluster.key"])
def test_the_directory_that_docker_makes_for_a_missing_file_is_explained(
    folder: Path, name: str
) -> None:
    (folder / name).unlink()
    code, because = ended(folder)
    assert code == 2
    assert "Docker makes one where the file that is to be mounted is not there" in because


def test_an_address_that_the_container_does_not_have_is_named(folder: Path) -> None:
    code, because = ended(folder)
    assert code == 69
    assert "UDP port 8643" in because
    assert "is the address this machine's" in because
