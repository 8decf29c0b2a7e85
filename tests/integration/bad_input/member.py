"""A program of a member in a folder of its own, started with something wrong."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.alive import ask
from shared.clock import SystemClock
from tests.eventually import PATIENCE_S, PATIENCE_US

ROOT = Path(__file__).parents[3]
CONFIGURATION = """\
version: 1
cluster: shop
key: cluster.key
nodes:
  node-a: {{address: 127.0.0.11}}
  node-b: {{address: 127.0.0.12}}
witness: {{address: 127.0.0.13}}
bus: {{servers: ["{bus}"]}}
vips:
  web: {{address: 192.0.2.101/24, home: node-a}}
services:
  shop: {{listen: 18080, port: 18081, probe: {{http: /healthz}}}}
"""
LOOK_EVERY_S = 0.02
NOBODY = "nats://127.0.0.1:1"  # nobody serves port 1


@dataclass(kw_only=True)
class Member:
    """node-a: a good configuration and a good key, in which each test breaks something."""

    folder: Path
    bus: str = NOBODY
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "run").mkdir()
        self.configuration.write_text(CONFIGURATION.format(bus=self.bus))
        self.key.touch(0o600)
        self.key.write_text("0123456789abcdef" * 3)

    @property
    def configuration(self) -> Path:
        return self.folder / "equipoise.yaml"

    @property
    def key(self) -> Path:
        return self.folder / "cluster.key"

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was logged; everything is a line of ours."""
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def ended(self, program: str) -> tuple[int, str]:
        """Run a program to its own end; return its exit code and why it says that it ended."""
        with self.running(program) as process:
            code = process.wait(PATIENCE_S)
        lines = [line for line in self.log if line["event"] == "ended"]
        assert len(lines) == 1, self.log
        assert lines[0]["exit_code"] == code
        assert lines[0]["program"] == program
        return code, str(lines[0]["because"])

    @contextmanager
    def running(self, program: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Have a program run, and end it."""
        environ = {
            "PATH": os.environ["PATH"],
            "EQUIPOISE_CONFIG": str(self.configuration),
            "EQUIPOISE_NODE": "node-a",
            "EQUIPOISE_RUN_DIR": str(self.folder / "run"),
            "EQUIPOISE_STATE_DIR": str(self.folder / "state"),
            "EQUIPOISE_LOG_FORMAT": "json",
            "EQUIPOISE_HAPROXY": "none",
            **self.environ,
        }
        command = [sys.executable, "-m", f"services.{program}"]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environ, cwd=ROOT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def health(self, program: str) -> int:
        """Ask as an engine's health check does; what it prints is printed."""
        return ask([program], str(self.folder / "run"))

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Look until something holds; the log tells why it did not."""
        clock, waiting = SystemClock(), threading.Event()
        end = clock.now() + PATIENCE_US
        while not holds():
            assert clock.now() < end, (what, (self.folder / "log").read_text())
            waiting.wait(LOOK_EVERY_S)
