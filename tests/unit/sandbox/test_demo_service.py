"""The demo service: one real process on loopback, asked by hand-written bytes."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.sandbox.demo_service import BODY_MAX, HEAD_MAX

ROOT = Path(__file__).parents[3]
PROGRAM = (sys.executable, "-m", "services.sandbox.demo_service", "--name", "shop")


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    port: int
    journal: Path

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def say(self, words: bytes) -> bytes:
        """Send bytes and return all that comes back until the service hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65_536):
                received += chunk
            return received


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    journal = tmp_path_factory.mktemp("demo") / "journal"
    with subprocess.Popen(
        [*PROGRAM, "--node", "node-b", "--port", "0", "--journal", str(journal)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["event"] == "ready"
        yield Running(process, ready["port"], journal)
        process.terminate()
        assert process.wait(10) == 0


def test_it_introduces_itself_and_counts(service: Running) -> None:
    status, first = service.ask("GET", "/")
    _, second = service.ask("GET", "/")
    assert status == 200
    seen = json.loads(first)
    assert (seen["service"], seen["instance"], seen["version"]) == ("shop", "node-b", "1.0")
    assert json.loads(second)["served"] == seen["served"] + 1


def test_its_version_and_health_are_told(service: Running) -> None:
    assert service.ask("GET", "/version") == (200, b"1.0")
    assert service.ask("GET", "/healthz")[0] == 200


def test_an_order_is_in_the_journal_when_its_answer_comes(service: Running) -> None:
    status, body = service.ask("POST", "/orders?id=o-77")
    assert status == 201
    assert json.loads(body)["id"] == "o-77"
    assert service.journal.read_text().split().count("o-77") == 1


def test_an_order_that_is_repeated_is_done_twice_so_that_audits_can_fail(service: Running) -> None:
    for _ in range(2):
        assert service.ask("POST", "/orders?id=o-twice", b"body")[0] == 201
    assert service.journal.read_text().split().count("o-twice") == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/orders", 400),
        ("POST", "/orders?id=", 400),
        ("POST", "/orders?id=a%0Ab", 400),
        ("POST", f"/orders?id={'x' * 65}", 400),
        ("GET", "/orders?id=o1", 405),
        ("DELETE", "/", 405),
        ("GET", "/nowhere", 404),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_done(
    service: Running, method: str, path: str, status: int
) -> None:
    before = service.journal.read_bytes() if service.journal.exists() else b""
    assert service.ask(method, path)[0] == status
    assert service.journal.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"\x00\xff\xfe\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (BODY_MAX + 1), 413),
        (b"POST / HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * HEAD_MAX, 431),
    ],
)
def test_garbage_gets_its_refusal_and_the_connection_ends(
    service: Running, words: bytes, status: int
) -> None:
    received = service.say(words)
    assert received.startswith(b"HTTP/1.1 %d " % status), received
    assert b"connection: close" in received
    assert service.ask("GET", "/healthz")[0] == 200


def test_requests_on_one_connection_are_answered_in_turn(service: Running) -> None:
    asked = b"GET /version HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\n"
    received = service.say(asked + b"GET / HTTP/1.1\r\nconnection: close\r\n\r\nGET / HTTP/1.1\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404", b"200"]


def test_a_request_in_pieces_is_one_request(service: Running) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert connection.recv(4096).endswith(b"1.0")


def test_signals_make_it_fail_and_recover(service: Running) -> None:
    before = service.journal.read_bytes()
    os.kill(service.process.pid, signal.SIGUSR1)
    _until_status(service, 500)
    assert service.ask("GET", "/")[0] == 500
    assert service.ask("POST", "/orders?id=never")[0] == 500
    assert service.journal.read_bytes() == before
    os.kill(service.process.pid, signal.SIGUSR2)
    _until_status(service, 200)


def _until_status(service: Running, status: int) -> None:
    for _ in range(500):
        if service.ask("GET", "/healthz")[0] == status:
            return
    raise AssertionError(f"never answered {status}")


def test_a_port_in_use_is_a_clear_error(service: Running, tmp_path: Path) -> None:
    result = subprocess.run(
        [*PROGRAM, "--node", "n", "--port", str(service.port), "--journal", str(tmp_path / "j")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 1
    assert "address already in use" in result.stderr
    assert "Traceback" not in result.stderr
