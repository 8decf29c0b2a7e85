"""How long a person waits for a command."""

import os
import subprocess
import sys
from time import perf_counter

from benchmarks.sandboxes import ROOT, running


def status_ms(count: int) -> list[float]:
    """Time `equipoise status` of a running cluster, from its start to its end."""
    with running("--rate", "200") as folder:
        environ = {**os.environ, "EQUIPOISE_API": str(folder / "node-a" / "api.sock")}
        return [_timed(environ) for _ in range(count)]


def _timed(environ: dict[str, str]) -> float:
    command = [sys.executable, "-m", "services.cli", "status"]
    begin = perf_counter()
    subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=True)
    return (perf_counter() - begin) * 1_000
