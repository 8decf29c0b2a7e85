"""Asks the engine: one connection a question, closed after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h11

READ_SIZE = 65_536
HEAD_MAX = 16_384
BODY_MAX = 1_048_576  # a look at a container is some 10 KB, with a thousand mounts 300
CONNECT_WITHIN_S = 2
HEAD_WITHIN_S = 5


class Engine:
    """The engine behind a Unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    @asynccontextmanager
    async def asking(self, target: str) -> AsyncIterator["Answer"]:
        """Ask, and have the answer's status when it begins; errors are `OSError` and h11's."""
        async with asyncio.timeout(CONNECT_WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(self._path, limit=READ_SIZE)
        try:
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
            headers = [("Host", "docker"), ("Connection", "close")]
            asked = connection.send(h11.Request(method="GET", target=target, headers=headers))
            ended = connection.send(h11.EndOfMessage())
            writer.write((asked or b"") + (ended or b""))
            async with asyncio.timeout(HEAD_WITHIN_S):
                await writer.drain()
                head = await _next(connection, reader)
            if not isinstance(head, h11.Response):
                raise ConnectionError("the engine did not answer")
            yield Answer(head.status_code, connection, reader)
        finally:
            writer.transport.abort()


class Answer:
    """An answer whose body may still be coming."""

    def __init__(
        self, status: int, connection: h11.Connection, reader: asyncio.StreamReader
    ) -> None:
        self.status = status
        self._connection = connection
        self._reader = reader

    async def body(self) -> bytes:
        """Return the whole body; one that is too long is an error."""
        body = b""
        async for data in self.parts():
            body += data
            if len(body) > BODY_MAX:
                raise ConnectionError("the engine's answer is too long")
        return body

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield line by line what comes; one that never ends is an error."""
        rest = b""
        async for data in self.parts():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line
            if len(rest) > BODY_MAX:
                raise ConnectionError("the engine's event is too long")

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        while True:
            event = await _next(self._connection, self._reader)
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    """Return the next thing that the engine says."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(READ_SIZE))
    return event
