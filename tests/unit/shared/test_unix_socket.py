"""Sockets in the file system, real ones."""

import socket
from pathlib import Path

import pytest

from shared.errors import MachineError
from shared.unix_socket import listen


def test_the_socket_of_a_dead_program_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert path.exists()
    listen(path, "console").close()


def test_a_socket_in_use_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    first = listen(path, "console")
    with pytest.raises(MachineError, match=r"another console answers on .*EQUIPOISE_RUN_DIR"):
        listen(path, "console")
    first.close()


@pytest.mark.parametrize("name", ["no/such/directory", "x" * 120])
def test_a_socket_that_cannot_be_made_says_why(tmp_path: Path, name: str) -> None:
    with pytest.raises(MachineError, match=r"cannot make the socket|too long"):
        listen(tmp_path / name, "console")


def test_a_file_in_the_sockets_place_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(MachineError, match="is not a socket"):
        listen(path, "console")
    assert path.read_text() == "precious"
