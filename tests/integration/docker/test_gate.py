"""The gate as a process, asked by people who mean no good."""

import asyncio
import socket as sockets
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fake_engine import SECRET, FakeEngine, fake_engine
from tests.integration.docker.gates import gate
from tests.integration.docker.grounds import NAME, OTHER, WITHIN_S, listening


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path / "engine.sock") as found:
        found.run(NAME)
        found.run(OTHER)
        yield found


@pytest.fixture
def place(engine: FakeEngine, tmp_path: Path) -> Iterator[Path]:
    with gate(engine.path, tmp_path / "gate.sock") as found:
        yield found


def said(place: Path, words: bytes) -> bytes:
    """Return all that comes back for some bytes."""
    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(WITHIN_S)
        client.connect(str(place))
        client.sendall(words)
        answer = b""
        try:
            while part := client.recv(65_536):
                answer += part
        except ConnectionResetError:
            pass  # it did not read what came after
        return answer


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: docker\r\n\r\n".encode()


def test_a_look_passes_and_tells_no_secret(engine: FakeEngine, place: Path) -> None:
    answer = said(place, get(f"/v1.45/containers/{NAME}/json"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"Status": "running"' in answer
    assert SECRET.encode() not in answer
    assert engine.asked == [("GET", f"/v1.45/containers/{NAME}/json")]


HOSTILE = {
    "a kill": b"POST /v1.45/containers/%s/kill HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "another container": get(f"/containers/{OTHER}/json"),
    "its logs": b"GET /containers/%s/logs?stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "its files": b"GET /containers/%s/archive?path=/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a program in it": b"POST /containers/%s/exec HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "a way around": b"GET /containers/%s/../x/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "an encoded way around": b"GET /containers/%s/%%2e%%2e/x/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole address": b"GET http://docker/containers/%s/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": b"GET /containers/%s/json HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n"
    b"Connection: upgrade\r\n\r\n",
    "a body that hides a request": b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n"
    b"POST /containers/%s/kill HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": b"GET /_ping HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n"
    b"POST /containers/%s/kill HTTP/1.1\r\n\r\n",
    "length and chunks": b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /containers/%s/kill HTTP/1.1\r\n\r\n",
    "a header in the target": b"GET /_ping\r\nX: y HTTP/1.1\r\nHost: x\r\n\r\n",
    "a null byte": b"GET /containers/%s\0/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "endless headers": b"GET /_ping HTTP/1.1\r\nX: " + b"x" * 100_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_else_reaches_the_engine(what: str, engine: FakeEngine, place: Path) -> None:
    words = HOSTILE[what].replace(b"%s", NAME.encode()).replace(b"%%", b"%")
    answer = said(place, words)
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 405", b"HTTP/1.1 431")
    assert engine.asked == []
    assert said(place, get("/_ping")).endswith(b"OK")  # and it goes on


def test_a_second_request_on_one_connection_is_not_read(engine: FakeEngine, place: Path) -> None:
    kill = f"POST /containers/{NAME}/kill HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert said(place, get("/_ping") + kill).count(b"HTTP/1.1") == 1
    assert engine.asked == [("GET", "/_ping")]


def test_who_listens_hears_of_named_containers_only(engine: FakeEngine, place: Path) -> None:
    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(WITHIN_S)
        client.connect(str(place))
        client.sendall(get("/events?filters=%7B%7D"))
        heard = client.recv(65_536)
        while not engine.streams:
            assert heard.startswith(b"HTTP/1.1 200")
        engine.kill(OTHER)
        engine.pause(NAME)
        while b'"pause"' not in heard:
            part = client.recv(65_536)
            assert part, heard
            heard += part
    assert OTHER.encode() not in heard
    assert b"secret" not in heard


def test_an_engine_that_is_away_is_said_and_does_not_end_the_gate(tmp_path: Path) -> None:
    with gate(tmp_path / "nobody.sock", tmp_path / "gate.sock") as place:
        assert said(place, get("/version")).startswith(b"HTTP/1.1 502")
        assert said(place, get("/_ping")).startswith(b"HTTP/1.1 502")


def test_a_container_that_the_gate_was_not_told_of_hides_no_other(
    engine: FakeEngine, place: Path
) -> None:
    async def play() -> None:
        with listening(place, OTHER) as ear:
            await ear.until(lambda: bool(ear.newest.trouble))
            assert f"add --container {OTHER} to" in ear.newest.trouble
            await ear.until(lambda: ear.troubles == [""])

    assert OTHER in engine.containers
    asyncio.run(play())


def test_only_its_owner_and_its_group_may_ask_the_gate(place: Path) -> None:
    assert stat.S_IMODE(place.stat().st_mode) == 0o660


@pytest.mark.parametrize("name", ["", "../x", "shop/json", "shop a", "-rm"])
def test_a_name_that_is_none_is_refused_at_the_start(name: str, tmp_path: Path) -> None:
    words = ["--socket", str(tmp_path / "gate.sock"), f"--container={name}"]
    ended = subprocess.run(
        [sys.executable, "-m", "services.docker_gate", *words],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2
    assert b"--container must be the whole name of a container" in ended.stderr
