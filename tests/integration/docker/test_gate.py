"""The gate as a process, asked by people who mean no good."""

import asyncio
import socket as sockets
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from services.docker_gate.shell import CONNECTIONS_MAX
from shared.instant import SECOND
from tests.eventually import eventually
from tests.fakes.fake_engine import SECRET, FakeEngine, fake_engine
from tests.integration.docker.gates import HOSTILE, REFUSALS, gate, get, hostile, said
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


def test_a_look_passes_and_tells_no_secret(engine: FakeEngine, place: Path) -> None:
    answer = said(place, get(f"/v1.45/containers/{NAME}/json"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"Status": "running"' in answer
    assert SECRET.encode() not in answer
    assert engine.asked == [("GET", f"/v1.45/containers/{NAME}/json")]


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_else_reaches_the_engine(what: str, engine: FakeEngine, place: Path) -> None:
    assert said(place, hostile(what))[:12] in REFUSALS
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


def test_who_says_nothing_is_hung_up_on_and_the_next_is_served(place: Path) -> None:
    with ExitStack() as mute:
        for number in range(3 * CONNECTIONS_MAX):
            client = mute.enter_context(sockets.socket(sockets.AF_UNIX))
            client.settimeout(WITHIN_S)
            client.connect(str(place))
            with suppress(OSError):  # those beyond the limit are not listened to
                client.sendall(b"GET /_ping HTTP/1.1\r\nX: " + b"x" * number)

        async def served() -> None:
            await eventually(lambda: _pings(place), within_us=WITHIN_S * SECOND)

        asyncio.run(served())


def _pings(place: Path) -> bool:
    try:
        return said(place, get("/_ping")).endswith(b"OK")
    except OSError:
        return False
