"""Sandboxes for measurements, started as a person would, in a runtime directory of their own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from services.sandbox.control import SOCKET, Control
from services.sandbox.drills.report import Report
from shared.instant import SECOND

ROOT = Path(__file__).parent.parent
START_WITHIN_S = 60
PLAY_WITHIN_S = 60  # on an idle machine one takes 4 to 20 s


def drills(name: str, repeat: int, rate: int, *more: str) -> tuple[Report, str]:
    """Play a drill many times; return what came of it, and the command."""
    words = ["sandbox", "--once", "--drill", name, "--repeat", str(repeat)]
    words += ["--rate", str(rate), *more, "-o", "json"]
    with (
        _runtime() as environ,
        tempfile.TemporaryFile() as out,
        _started(words, environ, out) as launcher,
    ):
        launcher.wait(START_WITHIN_S + repeat * PLAY_WITHIN_S)
        out.seek(0)
        report: Report = json.loads(out.read())
    return report, "equipoise " + " ".join(words)


@contextmanager
def running(*words: str) -> Iterator[Path]:
    """Run a sandbox until the block ends; return its folder."""
    with (
        _runtime() as environ,
        tempfile.TemporaryFile() as out,
        _started(["sandbox", *words], environ, out),
    ):
        folder = Path(environ["XDG_RUNTIME_DIR"]) / "equipoise" / "sandbox"
        give_up_at = monotonic() + START_WITHIN_S
        while not (folder / SOCKET).exists() and monotonic() < give_up_at:
            sleep(0.05)
        with Control(folder / SOCKET) as control:
            control.until_ready(START_WITHIN_S * SECOND)
        yield folder


@contextmanager
def _runtime() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="eq-", ignore_cleanup_errors=True) as made:
        yield {**os.environ, "XDG_RUNTIME_DIR": made}


@contextmanager
def _started(
    words: Sequence[str], environ: dict[str, str], out: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start one; its talk is the benchmark's progress."""
    command = [sys.executable, "-m", "services.cli", *words]
    launcher = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=out
    )
    try:
        yield launcher
    finally:
        launcher.terminate()
        launcher.wait()
