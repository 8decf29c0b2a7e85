"""Builds the gate to Docker's engine, by its command line, and serves."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from services.docker_gate.adapters.engine import Engine
from services.docker_gate.core import NAME
from services.docker_gate.shell import Gate
from shared.directories import make
from shared.errors import EquipoiseError
from shared.unix_socket import listen


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="services.docker_gate", description=__doc__)
    parser.add_argument("--engine", type=Path, default="/var/run/docker.sock", metavar="PATH")
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH")
    parser.add_argument("--container", action="append", required=True, metavar="NAME")
    found = parser.parse_args()
    for name in found.container:
        if NAME.fullmatch(name) is None:
            parser.error(f"--container must be the whole name of a container, got {name!r}")
    return found


async def serve(told: argparse.Namespace) -> None:
    """Serve until asked to stop."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    make(told.socket.parent)
    listener = listen(told.socket, "docker_gate")
    async with Gate(Engine(told.engine), frozenset(told.container)).serving(listener):
        sys.stderr.write(f"docker_gate: ready for {', '.join(told.container)}\n")
        await stopping.wait()


if __name__ == "__main__":
    os.umask(0o007)
    try:
        asyncio.run(serve(arguments()))
    except EquipoiseError as error:
        sys.exit(f"docker_gate: {error}")
