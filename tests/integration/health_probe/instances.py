"""Instances that misbehave, on real sockets of loopback; and one that is a real process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeAlias

from shared.clock import SystemClock
from shared.instant import SECOND

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Behaviour: TypeAlias = Callable[[Reader, Writer], Awaitable[None]]

CLOCK = SystemClock()


class Instance:
    """A server whose behaviour can be changed while it runs."""

    def __init__(self, behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> None:
        self.behaviour = behaviour
        self.address, self.port = address, port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Instance":
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self.behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)
            writer.close()


def answers(status: str = "200 OK", body: bytes = b"fine", headers: str = "") -> Behaviour:
    """Answer one request and hang up."""

    async def behave(reader: Reader, writer: Writer) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(
            f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        await writer.drain()
        if b"keep-alive" in request:
            await reader.read()

    return behave


def says(raw: bytes, *, then_waits: bool = False) -> Behaviour:
    """Say something, whatever was asked."""

    async def behave(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        if then_waits:
            await reader.read()

    return behave


async def hangs(reader: Reader, writer: Writer) -> None:
    """Accept and never answer."""
    await reader.read()
    await asyncio.Event().wait()
    writer.close()


async def drips(reader: Reader, writer: Writer) -> None:
    """Answer a byte at a time, slower than anybody waits."""
    await reader.readuntil(b"\r\n\r\n")
    for byte in b"HTTP/1.1 200 OK\r\nServer: slow\r\n\r\n":
        writer.write(bytes((byte,)))
        await writer.drain()
        await CLOCK.sleep(SECOND // 20)


async def never_stops(reader: Reader, writer: Writer) -> None:
    """Answer with headers that never end."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: and more\r\n" * 100)
        await writer.drain()


async def resets(reader: Reader, writer: Writer) -> None:
    """Reset every connection after its request."""
    await reader.readuntil(b"\r\n\r\n")
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def closes(reader: Reader, writer: Writer) -> None:
    """Close every connection at once."""
    _ = reader, writer


_PROGRAM = """
import http.server, sys
class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
kind = getattr(http.server, sys.argv[1])
server = kind(("127.0.0.1", int(sys.argv[2])), Answers)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Process:
    """A real instance: a process that can be killed, frozen and started again."""

    def __init__(self, kind: str = "ThreadingHTTPServer") -> None:
        self._kind = kind
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Process":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the port that it had before."""
        command = [sys.executable, "-c", _PROGRAM, self._kind, str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
