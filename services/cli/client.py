"""HTTP to a console over its unix socket."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import quote, urlencode

from services.cli.exits import Ended, Exit
from services.cli.places import Place, Places

ANSWER_MAX = 32 * 1_048_576  # bytes; the rules of a hundred nodes are 20 MB
CONNECT_WITHIN_S = 1.0
# A console answers within milliseconds, waits for an arbiter for 3 s, and a stream of events says
# something every 5 s, be it only that it lives.
ANSWER_WITHIN_S = 12.0
T = TypeVar("T")
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

    def get(self, path: str, kind: type[T], query: Mapping[str, str | None] | None = None) -> T:
        """Return a JSON answer of a kind."""
        with self._asked("GET", path + _query(query)) as response:
            return _of_kind(kind, _answer(response))

    def post(self, path: str, kind: type[T], body: object) -> T:
        """Say something and return the JSON answer of a kind."""
        with self._asked("POST", path, json.dumps(body)) as response:
            return _of_kind(kind, _answer(response))

    def lines(
        self, path: str, query: Mapping[str, str | None], after: str | None
    ) -> Iterator[bytes]:
        """Yield the lines of a stream as they come; an empty one says only that it lives."""
        headers = {"Accept": "application/x-ndjson"}
        if after is not None:
            headers["Last-Event-ID"] = after
        with self._asked("GET", path + _query(query), headers=headers) as response:
            if response.status >= _ERRORS:
                _answer(response)
            try:
                while line := response.readline(ANSWER_MAX):
                    yield line
            except (OSError, HTTPException) as error:
                raise _broken(error) from error

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[HTTPResponse]:
        """Ask the console that answers; a connection is for one question."""
        connection = self._connected()
        try:
            try:
                connection.request(method, path, body, dict(headers or {}))
                response = connection.getresponse()
            except (OSError, HTTPException) as error:
                raise _broken(error) from error
            with response:
                yield response
        finally:
            connection.close()

    def _connected(self) -> "_Connection":
        """Return a connection to the console that answers; find out which one that is."""
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
            return connection
        raise self._unreachable(troubles)

    def _unreachable(self, troubles: list[str]) -> Ended:
        mend = "is Equipoise running here? A sandbox: equipoise sandbox; another place: --api PATH"
        if self._places.origin.endswith("context.json"):
            mend = f"if that sandbox is gone, remove {self._places.origin}"
        return Ended(Exit.UNREACHABLE, f"no console answers at {'; '.join(troubles)}", mend=mend)


def _answer(response: HTTPResponse) -> object:
    try:
        answer: object = json.loads(response.read(ANSWER_MAX))
    except (OSError, HTTPException) as error:
        raise _broken(error) from error
    except (ValueError, RecursionError) as error:
        text = f"the console answered {response.status} and no JSON"
        raise Ended(Exit.UNREACHABLE, text) from error
    if response.status >= _ERRORS:
        raise _refused(response.status, answer)
    return answer


def _of_kind(kind: type[T], answer: object) -> T:
    """Return an answer if it has what its kind must have: another version's may not."""
    needed: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
    missing = sorted(needed - answer.keys()) if isinstance(answer, dict) else ["everything"]
    if missing:
        text = f"the console's answer lacks {', '.join(missing[:3])}"
        raise Ended(Exit.UNREACHABLE, text, mend="does it run another version?")
    return cast("T", answer)


def _refused(status: int, answer: object) -> Ended:
    """Return the end that a refusal asks for; nonsense is a refusal without a reason."""
    trouble = answer.get("error") if isinstance(answer, dict) else None
    trouble = trouble if isinstance(trouble, dict) else {}
    code = trouble.get("exit_code")
    return Ended(
        code if type(code) is int else Exit.FAILED,
        str(trouble.get("text") or f"the console answered {status}"),
        mend=str(trouble.get("help") or ""),
    )


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
