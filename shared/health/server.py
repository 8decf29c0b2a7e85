"""Answers what a process is asked about itself: one small request a connection, then it is closed.

Limits: 16 connections at once, 2 s and 8 KB for a request. Who asks more is let go.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import h11

from shared.directories import make
from shared.errors import MachineError
from shared.health import Health, as_text, is_well
from shared.kernel_words import words_of
from shared.measures import Measure
from shared.unix_socket import listen

CONNECTIONS_MAX = 16  # a health check, a scraper, a person; each is done in milliseconds
REQUEST_WITHIN_S = 2
REQUEST_MAX = 8_192  # bytes
TEXT = "text/plain; charset=utf-8"
Answer = tuple[HTTPStatus, str, bytes]


def socket_of(run_directory: Path, program: str) -> Path:
    """Return where a program of this member answers."""
    return run_directory / f"{program}.health.sock"


@asynccontextmanager
async def answering(
    health: Health, path: Path, program: str, also: tuple[str, int] | None
) -> AsyncIterator[None]:
    """Answer on a socket in the file system, and on TCP where an address is named.

    Raises `MachineError` if it cannot: another process answers there, or the port is in use.
    """
    answerer = _Answerer(health)
    make(path.parent)
    listener = listen(path, program)
    servers = [await asyncio.start_unix_server(answerer.hear, sock=listener, limit=REQUEST_MAX)]
    try:
        if also is not None:
            servers.append(await _tcp(answerer, *also))
        yield
    finally:
        for server in servers:
            server.close()  # the file stays: who asks is refused, and the next one replaces it


async def _tcp(answerer: "_Answerer", host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.start_server(answerer.hear, host, port, limit=REQUEST_MAX)
    except OSError as error:
        raise MachineError(
            f"cannot answer on {host}:{port}, which EQUIPOISE_HEALTH names: {words_of(error)};"
            " name another port, or end who has this one"
        ) from error


class _Answerer:
    def __init__(self, health: Health) -> None:
        self._health = health
        self._connections = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; a connection that cannot be answered is closed."""
        if self._connections >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                await self._converse(reader, writer)
        except (TimeoutError, OSError):
            writer.transport.abort()
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_MAX)
        try:
            request = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            answer = _said(HTTPStatus(error.error_status_hint), f"{error}")
            connection = h11.Connection(h11.SERVER)  # the broken one says nothing any more
        else:
            if request is None:
                return
            answer = await self._answer(request)
        writer.write(_written(connection, answer))
        await writer.drain()

    async def _answer(self, request: h11.Request) -> Answer:
        if request.method != b"GET":
            return _said(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered")
        target = urlsplit(request.target.decode("ascii", "replace"))
        match target.path:
            case "/livez":
                return _said(HTTPStatus.OK, "ok")
            case "/readyz":
                return self._readiness(parse_qs(target.query, keep_blank_values=True))
            case "/metrics":
                return await self._metrics()
            case _:
                return _said(HTTPStatus.NOT_FOUND, "there are /livez, /readyz?verbose, /metrics")

    def _readiness(self, query: Mapping[str, list[str]]) -> Answer:
        checks = self._health.checks(query.get("exclude", ()))
        status = HTTPStatus.OK if is_well(checks) else HTTPStatus.SERVICE_UNAVAILABLE
        return status, TEXT, as_text(checks, verbose="verbose" in query).encode()

    async def _metrics(self) -> Answer:
        measures = tuple(self._health.measures())
        # Importing the library takes 60 ms, once: not on the loop that renews leases.
        kind, body = await asyncio.to_thread(_exposed, measures)
        return HTTPStatus.OK, kind, body


def _exposed(measures: tuple[Measure, ...]) -> tuple[str, bytes]:
    from shared.health import exposition  # noqa: PLC0415 - as said above

    return exposition.CONTENT_TYPE, exposition.exposition(measures)


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Read a request's head; None if nothing was asked. A body is not read, nor needed."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(REQUEST_MAX))


def _said(status: HTTPStatus, text: str) -> Answer:
    return status, TEXT, f"{text}\n".encode()


def _written(connection: h11.Connection, answer: Answer) -> bytes:
    status, kind, body = answer
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    parts = [
        connection.send(h11.Response(status_code=status, headers=headers, reason=status.phrase)),
        connection.send(h11.Data(data=body)),
        connection.send(h11.EndOfMessage()),
    ]
    return b"".join(part for part in parts if part)
