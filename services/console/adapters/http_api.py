"""The console's answers over HTTP: what is asked is bounded, and every answer is JSON.

GET  /api/v1/status                  GET  /api/v1/rules
GET  /api/v1/events?since=&incident=&limit=
GET  /api/v1/events/stream           server-sent events, or JSON lines if those are accepted
GET  /api/v1/incidents               GET  /api/v1/incidents/{id|last}
GET  /api/v1/why/{target}            GET  /api/v1/overrides
POST /api/v1/operator/{verb}         a Wish, on the socket only; answered by the leading arbiter
GET  /livez                          GET  /readyz?verbose&exclude=
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.console.core.history import PAGE_MAX, after_number, belongs, history, number_of
from services.console.core.incidents import found, in_full, listed
from services.console.core.measures import measures
from services.console.core.rule_rows import rule_rows
from services.console.core.state import State
from services.console.core.status import overrides, status
from services.console.core.view import INCIDENTS_MAX
from services.console.core.why import why
from services.console.core.wishes import answered, wish_of
from services.console.core.words import age_of, short, wall_of
from shared.api import Event, Failure, Trouble
from shared.errors import BusError, MessageError
from shared.health import Health, as_text, is_well
from shared.instant import SECOND, Duration, Instant
from shared.measures import Measure
from shared.messages.operator import OperatorAnswer, OperatorRequest

BODY_MAX = 65_536  # bytes; a wish with the longest reason is 5 KB
BODY_WITHIN_S = 5  # a client on the same machine takes milliseconds
FOLLOWERS_MAX = 32  # each is a task and a socket; terminals and pages of one cluster
BEAT_US: Duration = 5 * SECOND  # a silent stream says that it lives: proxies cut at 30 s or more
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


class Source(Protocol):
    """What the API shows, and whom it asks: the shell."""

    @property
    def state(self) -> State:
        """All that is known at this moment."""

    @property
    def stopping(self) -> bool:
        """Whether those who follow should be let go."""

    def now(self) -> Instant:
        """Return the clock that ages are counted by."""

    def wall(self) -> int:
        """Return the time of day, for people."""

    async def news(self, number: int, within_us: Duration) -> bool:
        """Wait for an event after a numbered one; False when none came in time."""

    async def ask(self, request: OperatorRequest) -> OperatorAnswer:
        """Carry a wish to the leading arbiter; raise `BusError` if nobody answers."""


def application(source: Source, health: Health) -> Starlette:
    """Return the API of one console."""
    api = _Api(source, health)
    health.measure(api.measures)
    return Starlette(
        routes=[
            Route("/api/v1/status", api.status),
            Route("/api/v1/events", api.events),
            Route("/api/v1/events/stream", api.stream),
            Route("/api/v1/incidents", api.incidents),
            Route("/api/v1/incidents/{incident}", api.incident),
            Route("/api/v1/why/{target:path}", api.why),
            Route("/api/v1/rules", api.rules),
            Route("/api/v1/overrides", api.overrides),
            Route("/api/v1/operator/{verb}", api.operator, methods=["POST"]),
            Route("/livez", api.live),
            Route("/readyz", api.ready),
        ],
        exception_handlers={HTTPException: _refuse},
    )


class _Wrong(HTTPException):
    """An answer other than what was asked for, with the exit code that says so."""

    def __init__(self, status: HTTPStatus, text: str, *, exit_code: int, mend: str = "") -> None:
        super().__init__(status, text)
        self.exit_code = exit_code
        self.mend = mend


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    exit_code, mend = 2, ""
    if isinstance(error, _Wrong):
        exit_code, mend = error.exit_code, error.mend
    trouble = Trouble(text=short(error.detail), exit_code=exit_code, help=short(mend))
    return _json(Failure(error=trouble), error.status_code)


def _json(value: Any, status: int = HTTPStatus.OK) -> Response:  # noqa: ANN401 - JSON is anything
    return Response(orjson.dumps(value), status, media_type="application/json")


class _Api:
    """One function a route; none of them knows anything by itself."""

    def __init__(self, source: Source, health: Health) -> None:
        self._source = source
        self._health = health
        self._followers = 0

    def measures(self) -> Iterator[Measure]:
        """Return what this console measures."""
        return measures(self._source.state, self._followers, self._source.now())

    async def status(self, _request: Request) -> Response:
        """Answer what is going on."""
        source = self._source
        return _json(status(source.state, source.now(), source.wall()))

    async def rules(self, _request: Request) -> Response:
        """Answer what is installed where."""
        return _json(rule_rows(self._source.state, self._source.now()))

    async def overrides(self, _request: Request) -> Response:
        """Answer what people asked for."""
        source = self._source
        return _json(overrides(source.state, source.now(), source.wall()))

    async def incidents(self, request: Request) -> Response:
        """Answer the list of incidents."""
        limit = _limit(request, INCIDENTS_MAX)
        return _json(listed(self._source.state, self._source.wall(), limit=limit))

    async def incident(self, request: Request) -> Response:
        """Answer one incident in full."""
        state, name = self._source.state, request.path_params["incident"]
        remembered = found(state, name)
        if remembered is None:
            raise _unknown("incident", name, state.incidents)
        return _json(in_full(state, remembered, self._source.wall()))

    async def why(self, request: Request) -> Response:
        """Answer why something is in its state."""
        source, target = self._source, request.path_params["target"]
        answer = why(source.state, target, source.now(), source.wall())
        if answer is None:
            raise _unknown("VIP, node, service or service/node", target, _targets(source.state))
        return _json(answer)

    async def events(self, request: Request) -> Response:
        """Answer what has happened."""
        state, name = self._source.state, request.query_params.get("incident")
        remembered = None if name is None else found(state, name)
        if name is not None and remembered is None:
            raise _unknown("incident", name, state.incidents)
        found_events = history(
            state,
            since_wall_us=_since(request, self._source.wall()),
            incident=None if remembered is None else remembered.incident.id,
            limit=_limit(request, PAGE_MAX),
        )
        return _json(found_events)

    async def stream(self, request: Request) -> Response:
        """Answer with what happens, as it happens."""
        if self._followers >= FOLLOWERS_MAX:
            text = f"{FOLLOWERS_MAX} followers are here already; no more are served"
            raise _Wrong(HTTPStatus.SERVICE_UNAVAILABLE, text, exit_code=1)
        lines = NDJSON in request.headers.get("accept", "")
        body = self._follow(
            _as_line if lines else _as_sse,
            begin=self._begin(request),
            incident=request.query_params.get("incident"),
        )
        return StreamingResponse(
            body, media_type=NDJSON if lines else SSE, headers={"cache-control": "no-store"}
        )

    def _begin(self, request: Request) -> int:
        """Return the number of the event after which a follower begins."""
        state = self._source.state
        last = request.headers.get("last-event-id") or request.query_params.get("after")
        if last:
            number = number_of(state, last)
            return 0 if number is None else number  # forgotten: all that is remembered is newer
        since = _since(request, self._source.wall())
        if since is None:
            return state.newest
        older = [entry.number for entry in state.events.values() if entry.wall_us < since]
        return max(older, default=0)

    async def _follow(
        self, form: Callable[[Event | None], bytes], *, begin: int, incident: str | None
    ) -> AsyncIterator[bytes]:
        self._followers += 1
        try:
            number = begin
            yield form(None)
            while not self._source.stopping:
                state = self._source.state
                for entry in after_number(state, number):
                    number = entry.number
                    if incident is None or belongs(state, entry, incident):
                        yield form(entry.event)
                if not await self._source.news(number, BEAT_US):
                    yield form(None)
        finally:
            self._followers -= 1

    async def operator(self, request: Request) -> Response:
        """Carry a wish to the leading arbiter: of who may use the socket, and of nobody on TCP."""
        if request.client is not None:
            text = "wishes are taken on the console's socket only, which the file system guards"
            mend = "use the command on a member: equipoise failover, maintenance, pause"
            raise _Wrong(HTTPStatus.FORBIDDEN, text, exit_code=2, mend=mend)
        body = await _body(request)
        try:
            wish = wish_of(request.path_params["verb"], orjson.loads(body))
        except orjson.JSONDecodeError as error:
            text = f"the body is not JSON: {error}"
            raise _Wrong(HTTPStatus.BAD_REQUEST, text, exit_code=2) from error
        except MessageError as error:
            raise _Wrong(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), exit_code=2) from error
        try:
            answer = await self._source.ask(wish)
        except BusError as error:
            mend = "it may still be carried out: look at equipoise status before asking again"
            raise _Wrong(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"no arbiter answered: {error}",
                exit_code=BusError.exit_code,
                mend=mend,
            ) from error
        return _json(answered(answer))

    async def live(self, _request: Request) -> Response:
        """Answer that this process works: that depends on nobody else."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Answer whether what is shown may be believed."""
        checks = self._health.checks(request.query_params.getlist("exclude"))
        code = HTTPStatus.OK if is_well(checks) else HTTPStatus.SERVICE_UNAVAILABLE
        verbose = "verbose" in request.query_params
        return PlainTextResponse(as_text(checks, verbose=verbose), code)


def _as_sse(event: Event | None) -> bytes:
    if event is None:
        return b": beat\n\n"
    return b"id: %b\ndata: %b\n\n" % (event["id"].encode(), orjson.dumps(event))


def _as_line(event: Event | None) -> bytes:
    return b"\n" if event is None else orjson.dumps(event) + b"\n"


async def _body(request: Request) -> bytes:
    """Read a body within bounds of size and time."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_MAX:
                    text = f"a body has at most {BODY_MAX} bytes"
                    raise _Wrong(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, exit_code=2)
                parts.append(part)
    except TimeoutError as error:
        text = f"the body did not come within {BODY_WITHIN_S} s"
        raise _Wrong(HTTPStatus.REQUEST_TIMEOUT, text, exit_code=2) from error
    return b"".join(parts)


def _limit(request: Request, most: int) -> int:
    text = request.query_params.get("limit", str(most))
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= most:
        text = f"limit must be a whole number from 1 to {most}"
        raise _Wrong(HTTPStatus.BAD_REQUEST, text, exit_code=2)
    return int(text)


def _since(request: Request, wall_us: int) -> int | None:
    """Return the point in time that `since` means: an age, or RFC 3339."""
    text = request.query_params.get("since")
    if text is None:
        return None
    age_us = age_of(text)
    since = wall_of(text) if age_us is None else wall_us - age_us
    if since is None:
        mend = "write an age (90s, 10m, 1h, 2d) or a time (2026-11-19T04:12:07Z)"
        raise _Wrong(HTTPStatus.BAD_REQUEST, f"since is {short(text)!r}", exit_code=2, mend=mend)
    return since


def _targets(state: State) -> list[str]:
    cluster = state.cluster
    instances = [f"{service}/{node}" for service in cluster.services for node in cluster.nodes]
    return [*cluster.vips, *cluster.members, *cluster.services, *instances]


def _unknown(kind: str, name: str, known: Any) -> _Wrong:  # noqa: ANN401 - any names
    near = get_close_matches(name[:64], list(known), n=1)
    mend = f"did you mean '{near[0]}'?" if near else "" if known else "there is none at all"
    text = f"there is no {kind} '{short(name)}'"
    return _Wrong(HTTPStatus.NOT_FOUND, text, exit_code=2, mend=mend)
