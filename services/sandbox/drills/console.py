"""One member's console, asked over its unix socket as `equipoise` does."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from services.sandbox.errors import DrillError
from shared.api import (
    Event,
    IncidentBrief,
    Incidents,
    IncidentView,
    Rules,
    Status,
    Wish,
    WishAnswer,
)

ANSWER_WITHIN_S = 10.0  # it takes milliseconds, unless the machine is starved
LINE_MAX = 1 << 20  # bytes; an event has less than 1 KB
FOLLOW = "/api/v1/events/stream"


class Console:
    """The API of one member."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def status(self) -> Status:
        """Return what is going on."""
        answer: Status = await self._ask("GET", "/api/v1/status")
        return answer

    async def rules(self) -> Rules:
        """Return what is installed where."""
        answer: Rules = await self._ask("GET", "/api/v1/rules")
        return answer

    async def incidents(self) -> list[IncidentBrief]:
        """Return the incidents, newest first."""
        answer: Incidents = await self._ask("GET", "/api/v1/incidents?limit=20")
        return answer["incidents"]

    async def incident(self, name: str) -> IncidentView:
        """Return one incident in full."""
        answer: IncidentView = await self._ask("GET", f"/api/v1/incidents/{name}")
        return answer

    async def wish(self, verb: str, wish: Wish) -> WishAnswer:
        """Ask the leading arbiter for something, as a person does."""
        answer: WishAnswer = await self._ask("POST", f"/api/v1/operator/{verb}", wish)
        return answer

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON is anything
        try:
            async with (
                asyncio.timeout(ANSWER_WITHIN_S),
                self._asked(method, path, body) as (status, reader),
            ):
                content = orjson.loads(await reader.read())
        except (OSError, EOFError, ValueError) as problem:
            why = str(problem) or type(problem).__name__
            raise DrillError(f"the console at {self._path} did not answer {path}: {why}") from (
                problem
            )
        if status != HTTPStatus.OK:
            raise DrillError(f"the console refused {path}: {content['error']['text']}")
        return content

    async def follow(self) -> AsyncIterator[Event]:
        """Yield what happens from now on, as it happens, for as long as the console lives."""
        async with self._asked("GET", FOLLOW) as (status, reader):
            assert status == HTTPStatus.OK
            while line := await reader.readline():
                if line.strip():  # an empty one says only that the console lives
                    yield orjson.loads(line)

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
        """Ask, and read up to where the answer's content begins.

        HTTP/1.0, so that the content simply ends with the connection.
        """
        content = b"" if body is None else orjson.dumps(body)
        reader, writer = await asyncio.open_unix_connection(self._path, limit=LINE_MAX)
        try:
            head = [f"{method} {path} HTTP/1.0", "host: drill", "accept: application/x-ndjson"]
            head += [f"content-length: {len(content)}", "", ""]
            writer.write("\r\n".join(head).encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            yield int(answer.split(None, 2)[1]), reader
        finally:
            writer.close()
