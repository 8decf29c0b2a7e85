"""Folders: whose they are, that two do not share one, and that the abandoned are removed."""

import json
import os
from pathlib import Path

import pytest

from services.sandbox import places
from shared.errors import MachineError

USER = os.geteuid()


def test_the_base_is_in_the_runtime_directory_and_only_ours(tmp_path: Path) -> None:
    base = places.base_directory({"XDG_RUNTIME_DIR": str(tmp_path)}, USER)
    assert base == tmp_path / "equipoise"
    assert base.stat().st_mode & 0o777 == 0o700


def test_a_base_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "equipoise").mkdir(mode=0o777)
    base = places.base_directory({"XDG_RUNTIME_DIR": str(tmp_path)}, USER)
    assert base.stat().st_mode & 0o777 == 0o700


def test_a_strangers_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "equipoise").mkdir()
    with pytest.raises(MachineError, match="must be a folder of user"):
        places.base_directory({"XDG_RUNTIME_DIR": str(tmp_path)}, USER + 1)


def test_a_link_to_somewhere_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "equipoise").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match="must be a folder"):
        places.base_directory({"XDG_RUNTIME_DIR": str(tmp_path)}, USER)


def test_names_are_chosen_so_that_two_do_not_meet(tmp_path: Path) -> None:
    first, second = places.claim(tmp_path, None), places.claim(tmp_path, None)
    assert (first.name, second.name) == ("sandbox", "sandbox-2")
    with pytest.raises(MachineError, match="a sandbox named sandbox runs already"):
        places.claim(tmp_path, "sandbox")
    os.close(first.lock)
    os.close(second.lock)


def test_what_was_abandoned_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    abandoned, alive = places.claim(tmp_path, "one"), places.claim(tmp_path, "two")
    places.publish_context(tmp_path, abandoned.folder, {"run_directory": str(abandoned.folder)})
    os.close(abandoned.lock)  # as the kernel does when the last process dies
    assert places.sweep(tmp_path) == ["one"]
    assert not abandoned.folder.exists()
    assert alive.folder.exists()
    assert not (tmp_path / "context.json").exists()
    os.close(alive.lock)


def test_the_name_of_an_abandoned_one_is_free_again(tmp_path: Path) -> None:
    os.close(places.claim(tmp_path, "one").lock)
    again = places.claim(tmp_path, "one")
    assert [path.name for path in again.folder.iterdir()] == ["lock"]
    os.close(again.lock)


def test_the_first_of_two_keeps_the_common_context(tmp_path: Path) -> None:
    first, second = places.claim(tmp_path, None), places.claim(tmp_path, None)
    contexts = [{"run_directory": str(claimed.folder)} for claimed in (first, second)]
    assert places.publish_context(tmp_path, first.folder, contexts[0])
    assert not places.publish_context(tmp_path, second.folder, contexts[1])
    assert json.loads((tmp_path / "context.json").read_bytes()) == contexts[0]
    assert json.loads((second.folder / "context.json").read_bytes()) == contexts[1]
    places.release(tmp_path, second.folder)
    assert (tmp_path / "context.json").exists()
    places.release(tmp_path, first.folder)
    assert not (tmp_path / "context.json").exists()
    os.close(first.lock)
    os.close(second.lock)


def test_a_torn_context_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "context.json").write_text('{"run_dir')
    claimed = places.claim(tmp_path, None)
    context = {"run_directory": str(claimed.folder)}
    assert places.publish_context(tmp_path, claimed.folder, context)
    assert json.loads((tmp_path / "context.json").read_bytes()) == context
    os.close(claimed.lock)


def test_a_path_too_long_for_sockets_is_refused_with_its_length() -> None:
    places.check_socket_paths(Path("/run/user/1000/equipoise/sandbox"), ["node-a", "witness"])
    with pytest.raises(MachineError, match=r"would have \d+ bytes; 107 is the kernel's limit"):
        places.check_socket_paths(Path("/" + "d" * 70), ["node-a", "witness"])
