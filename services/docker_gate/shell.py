"""Serves one question a connection: reads it, asks the engine, writes what passes of the answer.

Limits: 16 connections at once, 2 s and 8 KB for a request. What comes after a request is not read.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import h11

from services.docker_gate.adapters.engine import Answer, Engine
from services.docker_gate.core import Kind, Question, Refused, answer, event, question, refusal

CONNECTIONS_MAX = 16  # a probe has two, and looks come one after the other
REQUEST_WITHIN_S = 2
ANSWER_WITHIN_S = 5
REQUEST_MAX = 8_192  # bytes; filters of a hundred names are 3,000
NO_ENGINE = Refused(502, "the engine cannot be asked")


class Gate:
    """The gate to one engine, for some containers."""

    def __init__(self, engine: Engine, names: frozenset[str]) -> None:
        self._engine = engine
        self._names = names
        self._connections = 0

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve on a listening socket."""
        server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_MAX)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            await self._converse(reader, writer)
        except (TimeoutError, OSError, h11.ProtocolError):
            writer.transport.abort()
        finally:
            self._connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_MAX)
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                request = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            refused = Refused(error.error_status_hint, "this is no request")
            _write(h11.Connection(h11.SERVER), writer, refused.status, refusal(refused))
            return
        if request is None:
            return
        asked = question(request.method, request.target, list(request.headers), self._names)
        if isinstance(asked, Question) and asked.kind is Kind.EVENTS:
            await self._stream(asked, connection, (reader, writer))
            return
        status, body = await self._answered(asked)
        _write(connection, writer, status, body)
        await writer.drain()

    async def _answered(self, asked: Question | Refused) -> tuple[int, bytes]:
        """Return the status and the body for everything that has an end."""
        if isinstance(asked, Refused):
            return asked.status, refusal(asked)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), self._engine.asking(asked.target) as found:
                status, body = found.status, await found.body()
        except (TimeoutError, OSError, h11.ProtocolError):
            return NO_ENGINE.status, refusal(NO_ENGINE)
        if status != HTTPStatus.OK:
            return status, refusal(Refused(status, _message(status, asked)))
        passes = answer(asked, body)
        if isinstance(passes, Refused):
            return passes.status, refusal(passes)
        return HTTPStatus.OK, passes

    async def _stream(
        self,
        asked: Question,
        connection: h11.Connection,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Hand events on until either side has enough."""
        reader, writer = client
        gone = asyncio.ensure_future(reader.read(1))
        try:
            async with self._engine.asking(asked.target) as found:
                if found.status != HTTPStatus.OK:
                    message = _message(found.status, asked)
                    body = refusal(Refused(found.status, message))
                    _write(connection, writer, found.status, body)
                    return
                writer.write(connection.send(_head(HTTPStatus.OK)) or b"")
                handing = asyncio.ensure_future(self._hand_on(found, connection, writer))
                await asyncio.wait((gone, handing), return_when=asyncio.FIRST_COMPLETED)
                await _ended(handing)
        finally:
            await _ended(gone)

    async def _hand_on(
        self, found: Answer, connection: h11.Connection, writer: asyncio.StreamWriter
    ) -> None:
        async for line in found.lines():
            passes = event(line, self._names)
            if passes is not None:
                writer.write(connection.send(h11.Data(data=passes)) or b"")
                await writer.drain()
        writer.write(connection.send(h11.EndOfMessage()) or b"")


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Read a request's head; None if nothing was asked."""
    while True:
        found = connection.next_event()
        if isinstance(found, h11.Request):
            return found
        if found is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(REQUEST_MAX))


async def _ended(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, OSError, h11.ProtocolError):
        await task


def _message(status: int, asked: Question) -> str:
    """Return the engine's refusal without its words, which may tell of other containers."""
    if status == HTTPStatus.NOT_FOUND and asked.name:
        return f"No such container: {asked.name}"
    return f"the engine answered {status}"


def _head(status: int) -> h11.Response:
    headers = [("Content-Type", "application/json"), ("Connection", "close")]
    return h11.Response(status_code=status, headers=headers)


def _write(
    connection: h11.Connection, writer: asyncio.StreamWriter, status: int, body: bytes
) -> None:
    head = _head(status)
    headers = [*head.headers, (b"Content-Length", str(len(body)).encode())]
    parts = (
        connection.send(h11.Response(status_code=status, headers=headers)),
        connection.send(h11.Data(data=body)),
        connection.send(h11.EndOfMessage()),
    )
    writer.write(b"".join(part for part in parts if part))
