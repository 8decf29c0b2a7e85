"""The library of the guard on a machine whose own is not there: hidden by a mount, for us alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.libnftables import NAME, find

ROOT = Path(__file__).parents[3]
FIND = """
import sys
from pathlib import Path
from shared.errors import MachineError
from shared.libnftables import find
try:
    print(find({}, Path(sys.argv[1])).run("# nothing"), "found")
except MachineError as error:
    print(error)
"""
HIDE = """
for library in "$@"; do mount --bind "$EMPTY" "$library"; done
exec "$PYTHON" -c "$FIND" "$OWN"
"""


def mapped(*names: str) -> list[Path]:
    """Return where the system has these libraries."""
    find({})
    paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return sorted(Path(path) for path in paths if Path(path).name.startswith(names))


@pytest.fixture
def libraries() -> list[Path]:
    return mapped("libnftables.so", "libnftnl.so")


def found_without(libraries: list[Path], own: Path, empty: Path) -> str:
    """Search where these are hidden, with this folder of our own."""
    empty.touch()
    isolated = ("unshare", "--user", "--map-root-user", "--mount")
    words = {"EMPTY": str(empty), "PYTHON": sys.executable, "FIND": FIND, "OWN": str(own)}
    done = subprocess.run(
        [*isolated, "sh", "-ec", HIDE, "sh", *libraries],
        env={**os.environ, **words},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_library_it_is_said_what_is_missing_and_how_to_mend_it(
    libraries: list[Path], tmp_path: Path
) -> None:
    said = found_without(libraries, tmp_path / "none", tmp_path / "empty")
    assert "libnftables, which guards virtual IPs in the kernel, is missing" in said
    assert "sudo apt-get install libnftables1" in said


def test_the_copy_in_the_environment_takes_its_place(libraries: list[Path], tmp_path: Path) -> None:
    own = tmp_path / "equipoise"
    own.mkdir()
    for library in libraries:
        shutil.copy(library, own / ".".join(library.name.split(".")[:3]))
    assert (own / NAME).exists()
    assert "found" in found_without(libraries, own, tmp_path / "empty")


def test_without_the_capability_it_is_said_and_the_library_is_not_asked(
    libraries: list[Path], tmp_path: Path
) -> None:
    assert libraries
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-c", FIND, str(tmp_path)],  # nobody, who may nothing
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        "the kernel does not let this process guard virtual IPs (no CAP_NET_ADMIN)" in done.stdout
    )
    assert "cap_add: [NET_ADMIN, NET_RAW]" in done.stdout
    assert done.stderr == ""
