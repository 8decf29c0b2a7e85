"""The console as it runs on a node: its own process, a real configuration, a real nats-server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.bus.nats_bus import NatsBus
from shared.bus.wire import Speaker
from shared.clock import SystemClock
from shared.instant import MILLISECOND
from shared.messages.facts import IncidentOpened
from tests.eventually import PATIENCE_S, PATIENCE_US
from tests.fakes.grounds import KeptLog
from tests.fakes.scripted_arbiter import ScriptedArbiter
from tests.fakes.situations import incident
from tests.integration.nats_server import NatsServer

ROOT = Path(__file__).parent.parent.parent.parent
CONFIGURATION = """\
version: 1
cluster: shop
key: cluster.key
nodes:
  node-a: {{address: 10.0.0.11}}
  node-b: {{address: 10.0.0.12}}
witness: {{address: 10.0.0.13}}
bus: {{servers: ["{url}"]}}
services:
  shoes: {{listen: 80, port: 8080, probe: {{http: /healthz}}}}
  orders: {{mode: mirror, listen: 81, port: 8081, probe: {{http: /healthz}}}}
"""


def environment(directory: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "EQUIPOISE_CONFIG": str(directory / "equipoise.yaml"),
        "EQUIPOISE_NODE": "node-a",
        "EQUIPOISE_RUN_DIR": str(directory),
        "EQUIPOISE_STATE_DIR": str(directory),
    }


@contextmanager
def console(directory: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    (directory / "equipoise.yaml").write_text(CONFIGURATION.format(url=url))
    (directory / "cluster.key").touch(0o600)
    (directory / "cluster.key").write_text("0123456789abcdef" * 3)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.console"],
            stderr=log,
            env=environment(directory),
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def equipoise(directory: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments, "-o", "json"],
        capture_output=True,
        text=True,
        env={**environment(directory), "EQUIPOISE_API": str(directory / "api.sock")},
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def until(directory: Path, verdict: str, headline: str = "") -> dict[str, Any]:
    """Look at the status until it has a verdict, and a headline where one is named."""
    clock = SystemClock()
    end = clock.now() + PATIENCE_US
    while True:
        code, answer = equipoise(directory, "status")
        is_so = code == 0 and answer["verdict"] == verdict
        if is_so and headline in ("", answer["headline"]):
            return answer
        assert clock.now() < end, (answer, (directory / "log").read_text())


def explained(directory: Path, name: str) -> dict[str, Any]:
    """Ask for an incident until the console has heard of it, or read of it."""
    clock = SystemClock()
    end = clock.now() + PATIENCE_US
    while True:
        code, answer = equipoise(directory, "explain", name)
        if code == 0:
            return answer
        assert clock.now() < end, (answer, (directory / "log").read_text())


@contextmanager
def arbiter(url: str, *begin: IncidentOpened) -> Iterator[None]:
    """Run a scripted arbiter beside the test, in a process's thread of its own."""
    stop = threading.Event()

    async def speak() -> None:
        clock = SystemClock()
        speaker = Speaker(
            cluster="shop", member="witness", program="arbiter", clock=clock, log=KeptLog()
        )
        bus = await NatsBus.connect((url,), speaker=speaker, on_failure=lambda _error: None)
        scripted = ScriptedArbiter(bus, clock)
        await scripted.begin()
        while not stop.is_set():
            for message in begin:  # again and again: the stream is made while we speak
                await bus.publish(message)
            await scripted.say()
            await clock.sleep(200 * MILLISECOND)
        await bus.close()

    thread = threading.Thread(target=lambda: asyncio.run(speak()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_console_answers_before_with_and_after_the_bus(tmp_path: Path) -> None:
    with NatsServer() as server:
        server.kill()
        with console(tmp_path, server.url) as process:
            answer = until(tmp_path, "unknown")
            assert answer["knowledge"]["bus"] is False
            assert "the bus is not reachable from here" in answer["knowledge"]["text"]
            server.start()
            with arbiter(server.url, IncidentOpened(incident=incident("EARLY1"))):
                # The scripted nodes run another file.
                until(tmp_path, "degraded", "serving, node-a runs another configuration")
                assert explained(tmp_path, "last")["id"] == "EARLY1"
                change = ("failover", "node-b", "--reason", "x", "--yes")
                code, answer = equipoise(tmp_path, *change)
                assert (code, answer["verified"]) == (0, "yes")
            answer = until(tmp_path, "unknown")
            assert answer["knowledge"]["bus"] is True
            server.kill()
            assert equipoise(tmp_path, "status")[0] == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0


def test_a_console_that_was_killed_leaves_nothing_that_hinders_the_next(tmp_path: Path) -> None:
    with NatsServer() as server:
        for _ in range(2):
            with console(tmp_path, server.url) as process:
                until(tmp_path, "unknown")
                process.kill()


def test_a_second_console_on_one_socket_says_so_and_ends(tmp_path: Path) -> None:
    with NatsServer() as server, console(tmp_path, server.url):
        until(tmp_path, "unknown")
        second = subprocess.run(
            [sys.executable, "-m", "services.console"],
            capture_output=True,
            text=True,
            env=environment(tmp_path),
            timeout=PATIENCE_S,
            check=False,
        )
        assert second.returncode == 69
        assert "another console answers on" in second.stderr
        assert "Traceback" not in second.stderr
        assert until(tmp_path, "unknown")


def test_a_new_console_reads_the_past_from_the_stream(tmp_path: Path) -> None:
    with NatsServer() as server:
        with (
            arbiter(server.url, IncidentOpened(incident=incident("EARLY1"))),
            console(tmp_path, server.url),
        ):
            until(tmp_path, "degraded")
        with console(tmp_path, server.url):
            assert explained(tmp_path, "early1")["id"] == "EARLY1"
            assert equipoise(tmp_path, "status")[1]["verdict"] == "unknown"
