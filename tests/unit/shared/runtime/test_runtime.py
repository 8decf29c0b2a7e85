"""How services start, stop and fail; each test runs a real small process."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shared.alive import asked
from shared.clock import SystemClock
from shared.instant import SECOND
from tests.eventually import PATIENCE_S, PATIENCE_US
from tests.integration.nats_server import NatsServer
from tests.unit.shared.runtime.program import FLOOD

ROOT = Path(__file__).parents[4]


@dataclass
class Program:
    """A running service of a test."""

    process: subprocess.Popen[bytes]
    socket: Path  # where it says how it is
    lines: list[dict[str, Any]] = field(default_factory=list)

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read lines until the event; the test's time-out bounds it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"ended without '{event}': {self.lines}")

    def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Wait for its end; return its exit code and its last lines."""
        assert self.process.stderr is not None
        rest = self.process.stderr.read().decode()
        self.process.wait(PATIENCE_S)
        assert "Traceback (most recent" not in rest
        self.lines += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode, self.lines


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@contextmanager
def program(mode: str, server: NatsServer | None, **environ: str) -> Iterator[Program]:
    bus = "nats://127.0.0.1:1" if server is None else server.url  # nobody serves port 1
    with (
        tempfile.TemporaryDirectory() as run,
        subprocess.Popen(
            [sys.executable, "-m", "tests.unit.shared.runtime.program"],
            env={**os.environ, "MODE": mode, "BUS": bus, "RUN": run, **environ},
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as process,
    ):
        try:
            yield Program(process, Path(run) / "test.health.sock")
        finally:
            process.kill()


def ended(mode: str, server: NatsServer | None, **environ: str) -> tuple[int, dict[str, Any]]:
    """Run a program to its own end; return its exit code and its last line."""
    with program(mode, server, **environ) as running:
        code, lines = running.end()
    return code, lines[-1]


def how_it_is(running: Program) -> tuple[int, str]:
    """Ask a program, as a container's health check does."""
    status, text = asked(str(running.socket), "/readyz")
    return 0 if status == 200 else 1, text


class TestStarting:
    def test_a_service_says_when_it_is_ready(self, server: NatsServer) -> None:
        with program("serve", server) as running:
            line = running.wait_for("ready")
        assert line["program"] == "test"
        assert line["member"] == "a"
        assert line["level"] == "info"
        assert re.fullmatch(r"[0-9a-f]{16}", line["boot_id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])

    def test_without_an_endpoint_open_telemetry_is_not_imported(self, server: NatsServer) -> None:
        with program("serve", server) as running:
            assert running.wait_for("ready")["traced"] is False
        with program("serve", server, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1") as running:
            assert running.wait_for("ready")["traced"] is True

    def test_people_read_text(self, server: NatsServer) -> None:
        with program("end", server, FORMAT="text") as running:
            text = running.process.communicate(timeout=PATIENCE_S)[1].decode()
        first, last = text.splitlines()
        assert re.fullmatch(r"[\d:.]{12} info test a ready boot_id=[0-9a-f]{16}", first)
        assert last.endswith('info test a ended because="asked to stop" exit_code=0')

    def test_warnings_of_the_configuration_are_logged(self, server: NatsServer) -> None:
        with program("warned", server) as running:
            line = running.wait_for("configuration")
        assert line["text"] == "two nodes share an address"

    def test_a_service_waits_for_its_bus_and_says_so_once(self) -> None:
        with NatsServer() as late:
            late.kill()
            with program("serve", late) as running:
                assert "refused" in running.wait_for("bus_trouble")["because"].lower()
                late.start()
                running.wait_for("ready")
            assert len([line for line in running.lines if line["event"] == "bus_trouble"]) == 1

    def test_what_libraries_log_is_a_line_of_ours(self, server: NatsServer) -> None:
        with program("library", server) as running:
            line = running.wait_for("library_said")
        assert (line["library"], line["text"], line["level"]) == (
            "some.library",
            "it is late",
            "warning",
        )


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_stops_a_service_cleanly(
        self, server: NatsServer, number: signal.Signals
    ) -> None:
        with program("serve", server) as running:
            running.wait_for("ready")
            asked_at = SystemClock().now()
            running.process.send_signal(number)
            code, lines = running.end()
        assert code == 0
        assert [line["event"] for line in lines[-2:]] == ["stopping", "ended"]
        assert lines[-2]["because"] == number.name
        assert SystemClock().now() - asked_at < PATIENCE_US

    def test_a_service_that_waits_for_its_bus_stops_too(self) -> None:
        with program("serve", None) as running:
            running.wait_for("bus_trouble")
            running.process.terminate()
            code, _ = running.end()
        assert code == 0

    def test_a_service_that_does_not_stop_is_stopped(self, server: NatsServer) -> None:
        with program("hang", server) as running:
            running.wait_for("ready")
            running.process.terminate()
            code, lines = running.end()
        assert code == 0
        assert "stop_incomplete" in [line["event"] for line in lines]

    def test_who_asks_twice_means_at_once(self, server: NatsServer) -> None:
        with program("hang", server) as running:
            running.wait_for("ready")
            running.process.send_signal(signal.SIGINT)
            running.wait_for("stopping")
            running.process.send_signal(signal.SIGINT)
            code, lines = running.end()
        assert code == 130
        assert "stop_incomplete" not in [line["event"] for line in lines]

    def test_a_service_that_is_done_ends(self, server: NatsServer) -> None:
        assert ended("end", server)[0] == 0


class TestFailing:
    def test_a_wrong_configuration_is_told_as_it_is(self) -> None:
        with program("misconfigured", None) as running:
            text = running.process.communicate(timeout=PATIENCE_S)[1].decode()
        assert running.process.returncode == 2
        assert text == "equipoise-test: invalid configuration:\n  - one\n  - two\n"

    def test_a_bug_in_reading_the_configuration_is_no_traceback(self) -> None:
        with program("broken-loader", None) as running:
            text = running.process.communicate(timeout=PATIENCE_S)[1].decode()
        assert running.process.returncode == 70
        assert text.startswith("equipoise-test: a bug in equipoise: KeyError: ")
        assert text.count("\n") == 1

    def test_the_real_loader_tells_what_is_missing(self, tmp_path: Path) -> None:
        missing = tmp_path / "equipoise.yaml"
        code = "from shared.runtime import run; run('test', None)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "EQUIPOISE_CONFIG": str(missing)},
            capture_output=True,
            cwd=ROOT,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 2
        assert str(missing) in done.stderr.decode()
        assert "Traceback" not in done.stderr.decode()

    def test_what_the_machine_lacks_is_named(self, server: NatsServer) -> None:
        code, line = ended("missing", server)
        assert code == line["exit_code"] == 69
        assert line["because"] == "nft is missing; `apt-get install nftables` brings it"

    def test_a_failed_assertion_is_called_a_bug_and_where(self, server: NatsServer) -> None:
        code, line = ended("assertion", server)
        assert code == line["exit_code"] == 70
        assert line["event"] == "ended"
        assert line["level"] == "error"
        assert line["because"] == ("a bug in equipoise: AssertionError: a boot id cannot be long")
        assert line["where"].startswith("tests/unit/shared/runtime/program.py:")
        assert "fail_an_assertion" in line["where"]
        assert "EQUIPOISE_LOG_LEVEL=debug" in line["mend"]

    def test_the_whole_traceback_is_there_for_whoever_debugs(self, server: NatsServer) -> None:
        with program("assertion", server, LEVEL="debug") as running:
            text = running.wait_for("traceback")["text"]
        assert text.startswith("Traceback (most recent call last)")
        assert "fail_an_assertion" in text

    @pytest.mark.parametrize("mode", ["callback", "handler", "cancelled"])
    def test_a_bug_beside_the_main_path_ends_the_process_too(
        self, server: NatsServer, mode: str
    ) -> None:
        code, line = ended(mode, server)
        assert code == 70
        assert "a bug in equipoise" in line["because"]

    def test_a_failure_in_a_group_of_tasks_is_told_as_itself(self, server: NatsServer) -> None:
        code, line = ended("group-bus", server)
        assert (code, line["because"]) == (5, "the bus closed the connection")

    def test_of_several_failures_in_a_group_the_bug_is_told(self, server: NatsServer) -> None:
        code, line = ended("group-bug", server)
        assert (code, line["because"]) == (
            70,
            "a bug in equipoise: LookupError: the bug beside it",
        )

    def test_what_runs_beside_the_service_fails_it(self, server: NatsServer) -> None:
        code, line = ended("beside", server)
        assert (code, line["because"]) == (1, "the socket is in use")

    def test_an_endpoint_that_is_none_ends_no_service(self, server: NatsServer) -> None:
        with program("serve", server, OTEL_EXPORTER_OTLP_ENDPOINT="jaeger:4318") as running:
            assert "must begin with http://" in running.wait_for("traces_off")["because"]
            assert running.wait_for("ready")["traced"] is False


class TestHealth:
    def test_a_service_says_that_it_waits_for_the_bus(self) -> None:
        with program("serve", None) as running:
            _until(running.socket.exists)
            code, text = how_it_is(running)
            assert code == 1
            assert "[-]started failed: it waits for the bus at nats://127.0.0.1:1" in text

    def test_a_service_is_ready_when_it_says_so_and_not_without_its_bus(self) -> None:
        with NatsServer() as server, program("serve", server) as running:
            running.wait_for("ready")
            assert how_it_is(running) == (0, "ok\n")
            server.kill()
            _until(lambda: how_it_is(running)[0] == 1)
            assert "[-]bus failed: the connection is lost" in how_it_is(running)[1]

    def test_a_second_one_of_a_member_ends(self, server: NatsServer) -> None:
        with program("serve", server) as running:
            running.wait_for("ready")
            code, line = ended("serve", server, RUN=str(running.socket.parent))
            assert code == 69
            assert "another test answers on" in line["because"]


class TestNobodyReads:
    def test_a_full_pipe_holds_up_nothing(self, server: NatsServer, tmp_path: Path) -> None:
        result = tmp_path / "done"
        with program("flood", server, RESULT=str(result)) as running:
            _until(result.exists)
            # It went on; the lines that nobody read are still in the pipe, and the others gone.
            running.process.terminate()
            running.process.wait(PATIENCE_S)
            assert running.process.returncode == 0
            _, lines = running.end()
        numbers = [line["number"] for line in lines if line["event"] == "flood"]
        assert 0 < len(numbers) < FLOOD

    def test_lines_that_were_dropped_are_counted_once_somebody_reads(
        self, server: NatsServer, tmp_path: Path
    ) -> None:
        result = tmp_path / "done"
        with program("flood", server, RESULT=str(result)) as running:
            _until(result.exists)
            running.wait_for("log_lines_dropped")
            running.process.terminate()
            running.end()
        numbers = [line["number"] for line in running.lines if line["event"] == "flood"]
        counts = [line["count"] for line in running.lines if line["event"] == "log_lines_dropped"]
        assert min(counts) > 0
        # What was told and what was dropped is all there was, but for a line being written.
        assert abs(len(numbers) + sum(counts) - FLOOD) <= 1


def _until(condition: Any) -> None:
    clock = SystemClock()
    deadline = clock.now() + PATIENCE_S * SECOND
    while not condition():
        assert clock.now() < deadline
