"""Finding the library, and what is said when it is not there or cannot be used."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import MachineError
from shared.libnftables import NAME, NAMED_BY, find


def test_a_library_that_is_named_and_not_there_is_named() -> None:
    with pytest.raises(MachineError, match=f"{NAMED_BY} is /no/such.so, which cannot be loaded"):
        find({NAMED_BY: "/no/such.so"})


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("no library")
    with pytest.raises(MachineError, match=r"cannot be loaded: .*(too short|invalid ELF)"):
        find({NAMED_BY: str(tmp_path / NAME)})


def test_a_copy_is_loaded_with_what_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "equipoise"
    folder.mkdir()
    find({})
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for library in ("libnftables", "libnftnl", "libmnl"):
        (found,) = (Path(path) for path in mapped if Path(path).name.startswith(f"{library}.so"))
        shutil.copy(found, folder / ".".join(found.name.split(".")[:3]))
    (folder / "libaside.so.1").write_text("of no use, and in nobody's way")
    find_it = (
        "import sys; from shared import libnftables; libnftables.find({sys.argv[1]: sys.argv[2]})"
    )
    shows = "; print(open('/proc/self/maps').read())"
    done = subprocess.run(
        [sys.executable, "-c", find_it + shows, NAMED_BY, str(folder / NAME)],
        capture_output=True,
        text=True,
        check=True,
    )
    copies = list(folder.glob("lib[nm]*"))
    assert len(copies) == 3
    assert all(str(copy) in done.stdout for copy in copies)
