"""What answers instead of a console may be anything: the command says so in a line."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.cli.program import run
from tests.eventually import PATIENCE_S


@contextmanager
def answering(path: Path, content: bytes) -> Iterator[None]:
    """Answer every connection with the same bytes, then close it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    listener.settimeout(PATIENCE_S)

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(content)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_S)


def http(body: bytes, *, code: int = 200, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (code, size) + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\x00",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 500 + b"\r\n",
        http(b""),
        http(b"<html>"),
        http(b"{}", length=50),
        http(b"\xff\xfe"),
        http(b"no", code=500),
        http(b"[]", code=404),
        http(b'{"error": null}', code=404),
        http(b'{"error": {"text": 5, "exit_code": "x"}}', code=404),
        http(b"[" * 100_000),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("output", ["table", "json"])
def test_nonsense_is_said_in_a_line_and_never_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, output: str
) -> None:
    path = tmp_path / "api.sock"
    with answering(path, content):
        code = run(["status", "-o", output, "--api", str(path)])
    shown = capsys.readouterr()
    assert code in (1, 5)
    assert "a bug in" not in shown.out + shown.err
    assert (shown.out if output == "json" else shown.err).strip()
