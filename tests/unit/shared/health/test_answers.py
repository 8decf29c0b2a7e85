"""What a process answers when it is asked how it is: real sockets, real HTTP."""

import asyncio
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from shared.errors import MachineError
from shared.health import Check, Health
from shared.health.server import CONNECTIONS_MAX, answering, socket_of
from shared.instant import MILLISECOND
from shared.measures import Histogram, counter, gauge, histogram
from tests.eventually import PATIENCE_S

WELL = Check(name="haproxy", note="2.8.25")
ILL = Check(name="guard", failure="it cannot be made: give the capability NET_ADMIN")


def healthy(*checks: Check) -> Health:
    health = Health()
    health.is_ready()
    health.check(lambda: checks)
    return health


def play(
    health: Health,
    tmp_path: Path,
    asked: Callable[[Path], object],
    also: tuple[str, int] | None = None,
) -> None:
    """Serve while a thread asks."""

    async def run() -> None:
        path = socket_of(tmp_path, "arbiter")
        async with answering(health, path, "arbiter", also):
            await asyncio.wait_for(asyncio.to_thread(asked, path), PATIENCE_S)

    asyncio.run(run())


class Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


def get(path: Path, target: str, method: str = "GET") -> tuple[int, str]:
    with closing(Connection(path)) as connection:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def alive(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Ask as a container's health check does."""
    ended = subprocess.run(
        [sys.executable, "-m", "shared.alive", *arguments],
        env={**os.environ, "EQUIPOISE_RUN_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


class TestReadiness:
    def test_who_is_starting_lives_and_is_not_ready(self, tmp_path: Path) -> None:
        health = Health()
        health.waits("it waits for the bus at nats://bus:4222")

        def ask(path: Path) -> None:
            assert get(path, "/livez") == (200, "ok\n")
            wanted = "[-]started failed: it waits for the bus at nats://bus:4222\nnot ok\n"
            assert get(path, "/readyz") == (503, wanted)
            health.is_ready()
            assert get(path, "/readyz") == (200, "ok\n")

        play(health, tmp_path, ask)

    def test_every_check_has_a_line_and_a_failed_one_says_why(self, tmp_path: Path) -> None:
        def ask(path: Path) -> None:
            status, text = get(path, "/readyz?verbose")
            assert status == 503
            assert text == (
                "[+]started ok\n"
                "[+]haproxy ok (2.8.25)\n"
                "[-]guard failed: it cannot be made: give the capability NET_ADMIN\n"
                "not ok\n"
            )
            assert get(path, "/readyz")[1].splitlines() == [text.splitlines()[2], "not ok"]
            assert get(path, "/readyz?exclude=guard&exclude=other") == (200, "ok\n")

        play(healthy(WELL, ILL), tmp_path, ask)

    def test_checks_are_looked_at_when_somebody_asks(self, tmp_path: Path) -> None:
        seen = [ILL]
        health = Health()
        health.is_ready()
        health.check(lambda: seen)

        def ask(path: Path) -> None:
            assert get(path, "/readyz")[0] == 503
            seen[0] = WELL
            assert get(path, "/readyz")[0] == 200

        play(health, tmp_path, ask)


class TestMetrics:
    def test_prometheus_reads_what_is_measured(self, tmp_path: Path) -> None:
        length = Histogram().with_one(3 * MILLISECOND).with_one(30 * MILLISECOND)
        beats: dict[tuple[str, ...], float] = {("node-a", "udp"): 7.0, ('b"\\\n', "bus"): 1.0}
        health = Health()
        health.measure(
            lambda: (
                gauge("bus_connected", "Whether.").at(1),
                counter("a_total", "A.").at(2),
                counter("beats_total", "Beats.", "member", "way").of(beats),
                histogram("answer_seconds", "Answers.", "node").of({("a",): length}),
            )
        )

        def ask(path: Path) -> None:
            status, text = get(path, "/metrics")
            assert status == 200
            lines = text.splitlines()
            assert "# TYPE equipoise_bus_connected gauge" in lines
            assert "equipoise_bus_connected 1.0" in lines
            assert "equipoise_a_total 2.0" in lines
            assert 'equipoise_beats_total{member="node-a",way="udp"} 7.0' in lines
            assert 'equipoise_beats_total{member="b\\"\\\\\\n",way="bus"} 1.0' in lines
            assert 'equipoise_answer_seconds_bucket{le="0.005",node="a"} 1.0' in lines
            assert 'equipoise_answer_seconds_bucket{le="+Inf",node="a"} 2.0' in lines
            assert 'equipoise_answer_seconds_sum{node="a"} 0.033' in lines
            assert 'equipoise_answer_seconds_count{node="a"} 2.0' in lines

        play(health, tmp_path, ask)


class TestStrangers:
    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", b" 400 "),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 5_000 + b"\r\n", b" 431 "),
            (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b" 405 "),
            (b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", b" 404 "),
        ],
    )
    def test_nonsense_is_refused_and_the_next_one_is_answered(
        self, tmp_path: Path, content: bytes, status: bytes
    ) -> None:
        def ask(path: Path) -> None:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(PATIENCE_S)
                asking.connect(str(path))
                asking.sendall(content)
                assert status in asking.recv(65_536).split(b"\r\n")[0]
            assert get(path, "/livez")[0] == 200

        play(healthy(), tmp_path, ask)

    def test_more_connections_than_are_bearable_are_let_go(self, tmp_path: Path) -> None:
        def ask(path: Path) -> None:
            idle = []
            for _ in range(CONNECTIONS_MAX):
                idle.append(socket.socket(socket.AF_UNIX))
                idle[-1].connect(str(path))
            with socket.socket(socket.AF_UNIX) as one_more:
                one_more.settimeout(PATIENCE_S)
                one_more.connect(str(path))
                assert one_more.recv(1) == b""
            for each in idle:
                each.close()

        play(healthy(), tmp_path, ask)

    def test_a_port_in_use_is_an_error_that_says_what_to_do(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(MachineError, match=f"127.0.0.1:{port}.*EQUIPOISE_HEALTH names"):
                play(healthy(), tmp_path, lambda _: None, ("127.0.0.1", port))


class TestAlive:
    def test_it_says_what_is_wrong_and_ends_so(self, tmp_path: Path) -> None:
        seen = [ILL]
        health = Health()
        health.is_ready()
        health.check(lambda: seen)

        def ask(_: Path) -> None:
            wanted = f"[-]guard failed: {ILL.failure}\nnot ok\n"
            assert alive(tmp_path, "arbiter") == (1, wanted)
            assert alive(tmp_path, "--live", "arbiter") == (0, "ok\n")
            seen[0] = WELL
            assert alive(tmp_path, "arbiter") == (0, "ok\n")

        play(health, tmp_path, ask)

    def test_a_process_that_is_not_there_is_not_well(self, tmp_path: Path) -> None:
        code, text = alive(tmp_path, "traffic-switcher")
        assert code == 1
        assert "traffic_switcher.health.sock: it has not started yet" in text

    def test_asked_wrongly_it_says_how_to_ask(self, tmp_path: Path) -> None:
        for arguments in ((), ("arbitrator",), ("arbiter", "console")):
            code, text = alive(tmp_path, *arguments)
            assert code == 2
            assert "usage: equipoise-alive" in text

    def test_it_imports_nothing_but_the_standard_library(self) -> None:
        said = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import shared.alive"],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        for heavy in ("orjson", "nats", "asyncio", "h11", "shared.health"):
            assert heavy not in said, heavy
