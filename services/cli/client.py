"""HTTP to a console over its unix socket."""

import json
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from services.cli.exits import Ended, Exit
from services.cli.places import Place, Places

ANSWER_MAX = 32 * 1_048_576  # bytes; the rules of a hundred nodes are 20 MB
CONNECT_WITHIN_S = 1.0
# A console answers within milliseconds, and waits for an arbiter for 3 s.
ANSWER_WITHIN_S = 8.0
# A stream says something every 5 s, be it only that it lives.
STREAM_WITHIN_S = 12.0
_ERRORS = 400  # HTTP status codes from here on are refusals


class _Connection(HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("equipoise", timeout=ANSWER_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_WITHIN_S)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise
        self.sock.settimeout(self.timeout)


class Client:
    """Asks the first console that answers, and goes on asking that one."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.answering: Place | None = None
        self.silent: list[str] = []  # the members that were asked first and did not answer

    def forget(self) -> None:
        """Begin anew with the first console: the one that answered went away."""
        self.answering = None
        self.silent = []

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> Any:  # noqa: ANN401
        """Return a JSON answer."""
        return self._answer(self._ask("GET", path + _query(query)))

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON is anything
        """Say something and return the JSON answer."""
        return self._answer(self._ask("POST", path, json.dumps(body)))

    def lines(
        self, path: str, query: Mapping[str, str | None], after: str | None
    ) -> Iterator[bytes]:
        """Yield the lines of a stream as they come; an empty one says only that it lives."""
        headers = {"Accept": "application/x-ndjson"}
        if after is not None:
            headers["Last-Event-ID"] = after
        response = self._ask("GET", path + _query(query), headers=headers)
        if response.status >= _ERRORS:
            self._answer(response)
        try:
            while line := response.readline(ANSWER_MAX):
                yield line
        except (OSError, HTTPException) as error:
            raise _broken(error) from error

    def _answer(self, response: HTTPResponse) -> Any:  # noqa: ANN401
        try:
            body = response.read(ANSWER_MAX)
            answer = json.loads(body)
        except (OSError, HTTPException) as error:
            raise _broken(error) from error
        except ValueError as error:
            text = f"the console answered {response.status} and no JSON"
            raise Ended(Exit.UNREACHABLE, text) from error
        if response.status >= _ERRORS:
            trouble = answer.get("error", {})
            text = trouble.get("text", f"the console answered {response.status}")
            raise Ended(trouble.get("exit_code", Exit.FAILED), text, mend=trouble.get("help", ""))
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """Send to the console that answers; on the first time find out which one that is."""
        troubles = []
        for place in (self.answering,) if self.answering else self._places.found:
            connection = _Connection(place.path)
            try:
                connection.connect()
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                troubles.append(f"{place.path}: {why.lower()}")
                self.silent.append(place.member)
                continue
            self.answering = place
            try:
                if headers and "Accept" in headers and connection.sock is not None:
                    connection.sock.settimeout(STREAM_WITHIN_S)
                connection.request(method, path, body, dict(headers or {}))
                return connection.getresponse()
            except (OSError, HTTPException) as error:
                raise _broken(error) from error
        raise self._unreachable(troubles)

    def _unreachable(self, troubles: list[str]) -> Ended:
        mend = "is Equipoise running here? A sandbox: equipoise sandbox; another place: --api PATH"
        if self._places.origin.endswith("context.json"):
            mend = f"if that sandbox is gone, remove {self._places.origin}"
        return Ended(Exit.UNREACHABLE, f"no console answers at {'; '.join(troubles)}", mend=mend)


def segment(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def _query(query: Mapping[str, str | None] | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _broken(error: Exception) -> Ended:
    if isinstance(error, TimeoutError):
        return Ended(Exit.UNREACHABLE, "the console did not answer in time")
    why = str(error) or type(error).__name__
    return Ended(Exit.UNREACHABLE, f"the console went away: {why}")
