"""What a supervisor hears: a real socket, as systemd's."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.instant import MILLISECOND
from shared.supervision import Supervision


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(str(tmp_path / "notify"))
        hearing.settimeout(20)
        yield hearing


def test_systemd_hears_of_a_start_and_of_an_end(heard: socket.socket) -> None:
    supervision = Supervision({"NOTIFY_SOCKET": heard.getsockname()})
    supervision.ready()
    supervision.stopping()
    assert heard.recv(100) == b"READY=1"
    assert heard.recv(100) == b"STOPPING=1"


def test_an_abstract_socket_is_found() -> None:
    name = f"equipoise-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(f"\0{name}")
        hearing.settimeout(20)
        Supervision({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert hearing.recv(100) == b"READY=1"


def test_a_loop_that_turns_is_heard_often_enough(heard: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": heard.getsockname(), "WATCHDOG_USEC": str(30 * MILLISECOND)}

    async def turn() -> None:
        keeping = asyncio.ensure_future(Supervision(environ).keep(SystemClock()))
        for _ in range(3):
            assert await asyncio.to_thread(heard.recv, 100) == b"WATCHDOG=1"
        keeping.cancel()

    asyncio.run(turn())


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_who_is_not_asked_says_nothing(environ: dict[str, str]) -> None:
    supervision = Supervision({"NOTIFY_SOCKET": "/no/such/socket", **environ})
    supervision.ready()
    asyncio.run(supervision.keep(SystemClock()))
