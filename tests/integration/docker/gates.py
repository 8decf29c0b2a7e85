"""The gate as a process of its own, before an engine."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.docker.grounds import NAME


@contextmanager
def gate(engine: Path, socket: Path, *names: str) -> Iterator[Path]:
    """Start a gate that is ready; it ends with the block, by SIGTERM, and cleanly."""
    named = [word for name in names or (NAME,) for word in ("--container", name)]
    places = ["--engine", str(engine), "--socket", str(socket)]
    with subprocess.Popen(
        [sys.executable, "-m", "services.docker_gate", *places, *named], stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"ready" in process.stderr.readline()
        try:
            yield socket
        finally:
            process.terminate()
            assert process.wait(20) == 0, process.stderr.read()
