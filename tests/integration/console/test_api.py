"""The console's API as clients meet it: a real server on a real unix socket."""

import http.client
import json
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from services.console.adapters import http_server
from services.console.adapters.http_api import BODY_MAX, FOLLOWERS_MAX
from shared.clock import SystemClock
from shared.instant import SECOND
from shared.messages.facts import IncidentOpened, LeaderChanged
from shared.messages.operator import Answer, OperatorAnswer
from shared.messages.traffic import Failover
from shared.telemetry import ROOT_KEY
from shared.trace import SpanKind
from tests.eventually import PATIENCE_S, PATIENCE_US
from tests.fakes.running_console import RunningConsole
from tests.fakes.situations import incident, plan

WISH = {"node": "node-b", "service": None, "owner": "ana", "reason": "kernel"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    with RunningConsole(tmp_path_factory.mktemp("c")) as console:
        yield console


class Caller(http.client.HTTPConnection):
    """HTTP on a unix socket, without any of our own client."""

    def __init__(self, path: Path) -> None:
        super().__init__("x", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


def call(
    running: RunningConsole,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    with closing(Caller(running.socket)) as caller:
        caller.request(method, path, body, headers or {})
        response = caller.getresponse()
        content = response.read()
    is_json = response.headers.get("content-type") == "application/json"
    return response.status, json.loads(content) if is_json else content.decode()


def ask(running: RunningConsole, verb: str, wish: object) -> tuple[int, Any]:
    body = wish if isinstance(wish, bytes) else json.dumps(wish).encode()
    return call(running, f"/api/v1/operator/{verb}", method="POST", body=body)


def raw(running: RunningConsole, content: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(running.socket))
        try:
            connection.sendall(content)
            return connection.recv(65_536)
        except (BrokenPipeError, ConnectionResetError):
            return b""  # it was refused before we had said all of it


def test_status_is_answered(running: RunningConsole) -> None:
    code, answer = call(running, "/api/v1/status")
    assert (code, answer["cluster"], answer["verdict"]) == (200, "shop", "serving")
    assert answer["seen_from"] == "node-a"


def test_the_socket_is_for_owner_and_group_only(running: RunningConsole) -> None:
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o660


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("/api/v1/why/node-z", 404, "there is no VIP, node, service or service/node 'node-z'"),
        ("/api/v1/why/%ff%00", 404, "there is no VIP, node"),
        ("/api/v1/incidents/none", 404, "there is no incident 'none'"),
        ("/api/v1/events?incident=none", 404, "there is no incident 'none'"),
        ("/api/v1/incidents/..%2f..%2fetc", 404, "Not Found"),
        ("/api/v1/events?limit=0", 400, "limit must be"),
        ("/api/v1/events?limit=9999999999999999999999", 400, "limit must be"),
        ("/api/v1/events?limit=²", 400, "limit must be"),
        ("/api/v1/events?since=yesterday", 400, "since is 'yesterday'"),
        ("/api/v1/events?since=99999999999d", 400, "since is"),
        ("/api/v1/events/stream?since=%00", 400, "since is"),
        ("/api/v1/nothing", 404, "Not Found"),
        ("/api/v1/operator/failover", 405, "Method Not Allowed"),
        ("/", 404, "Not Found"),
    ],
)
def test_wrong_questions_are_answered_with_what_is_wrong(
    running: RunningConsole, path: str, code: int, text: str
) -> None:
    answered, answer = call(running, path.replace("²", "%C2%B2"))
    assert answered == code
    assert text in answer["error"]["text"]
    assert answer["error"]["exit_code"] == 2


def test_what_was_meant_is_suggested(running: RunningConsole) -> None:
    assert call(running, "/api/v1/why/nodeb")[1]["error"]["help"] == "did you mean 'node-b'?"


@pytest.mark.parametrize(
    ("verb", "body", "code"),
    [
        ("failover", b"", 400),
        ("failover", b"{", 400),
        ("failover", b"\xff\xfe", 400),
        ("failover", b"[" * 60_000, 400),
        ("failover", b"[]", 422),
        ("failover", b"null", 422),
        ("failover", b'{"owner": 5}', 422),
        ("destroy", json.dumps(WISH).encode(), 422),
        ("failover", b"x" * (BODY_MAX + 1), 413),
    ],
)
def test_garbage_is_refused_and_never_reaches_the_arbiter(
    running: RunningConsole, verb: str, body: bytes, code: int
) -> None:
    before = len(running.arbiter.asked)
    answered, answer = ask(running, verb, body)
    assert answered == code
    assert answer["error"]["text"]
    assert len(running.arbiter.asked) == before


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /api/v1/operator/failover HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 40_000,
    ],
)
def test_what_is_not_http_is_refused_and_the_next_one_is_served(
    running: RunningConsole, content: bytes
) -> None:
    first_line = raw(running, content).split(b"\r\n")[0]
    assert first_line == b"" or b" 400 " in first_line
    assert call(running, "/livez")[0] == 200


def test_a_wish_is_carried_to_the_arbiter_and_its_answer_back(running: RunningConsole) -> None:
    code, answer = ask(running, "failover", {**WISH, "dry_run": True})
    assert (code, answer["answer"], answer["exit_code"]) == (200, "accepted", 0)
    assert answer["after"]["shoes"]["node-b"] == {"admission": "out", "weight": 0}
    request = running.arbiter.asked[-1]
    assert (request.owner, request.node, request.dry_run) == ("ana", "node-b", True)


def test_a_refusal_says_its_exit_code(running: RunningConsole) -> None:
    running.arbiter.refusal = OperatorAnswer(answer=Answer.UNSAFE, text="nothing would serve")
    try:
        code, answer = ask(running, "failover", WISH)
    finally:
        running.arbiter.refusal = None
    assert (code, answer["answer"], answer["exit_code"]) == (200, "unsafe", 7)


def test_what_a_person_asked_for_is_in_the_trace_of_what_came_of_it(
    running: RunningConsole,
) -> None:
    running.arbiter.refusal = OperatorAnswer(
        answer=Answer.ACCEPTED, text="it is done", incident="ASKED1"
    )
    try:
        ask(running, "failover", WISH)
    finally:
        running.arbiter.refusal = None
    (span,) = [span for span in running.spans.spans if span.incident == "ASKED1"]
    assert (span.parent, span.kind) == (ROOT_KEY, SpanKind.SERVER)
    assert span.begin <= span.end
    assert span.attributes.items() >= {"equipoise.owner": "ana"}.items()


def test_events_are_listed_and_an_incident_in_full(running: RunningConsole) -> None:
    running.say(IncidentOpened(incident=incident("EVENT1")))
    code, answer = call(running, "/api/v1/events?since=1h&incident=event1")
    assert code == 200
    assert [event["incident"] for event in answer["events"]] == ["EVENT1"]
    code, answer = call(running, "/api/v1/incidents/event1")
    assert (code, answer["id"], answer["duration_us"]) == (200, "EVENT1", 9_996)
    code, answer = call(running, "/api/v1/incidents?limit=1")
    assert len(answer["incidents"]) == 1


def follow(running: RunningConsole, path: str, headers: dict[str, str]) -> Iterator[bytes]:
    caller = Caller(running.socket)
    caller.request("GET", path, headers=headers)
    with closing(caller), caller.getresponse() as response:
        assert response.status == 200
        while line := response.readline():
            yield line


def test_followers_get_what_happens_and_can_go_on_where_they_were(running: RunningConsole) -> None:
    running.say(LeaderChanged(arbiter="witness", epoch=101, reason="a"))
    stream = follow(running, "/api/v1/events/stream", {})
    assert next(stream) == b": beat\n"
    running.say(LeaderChanged(arbiter="witness", epoch=102, reason="b"))
    lines = [line for line in (next(stream) for _ in range(3)) if line != b"\n"]
    assert lines[0] == b"id: leader/102\n"
    assert json.loads(lines[1].removeprefix(b"data: "))["text"].endswith("epoch 102: b")
    again = follow(running, "/api/v1/events/stream", {"Last-Event-ID": "leader/101"})
    assert b"id: leader/102\n" in [next(again) for _ in range(3)]


def test_a_follower_may_have_lines_of_json(running: RunningConsole) -> None:
    running.say(Failover(plan=plan(77, reason="why")))
    headers = {"Accept": "application/x-ndjson"}
    stream = follow(running, "/api/v1/events/stream?since=1h", headers)
    found = (json.loads(line) for line in stream if line.strip())
    assert next(event for event in found if event["id"] == "plan/3.77")["text"].endswith("why")


def test_more_followers_than_are_bearable_are_sent_away(running: RunningConsole) -> None:
    with ExitStack() as followers:
        for _ in range(FOLLOWERS_MAX):
            caller = followers.enter_context(closing(Caller(running.socket)))
            caller.request("GET", "/api/v1/events/stream")
            followers.enter_context(caller.getresponse())
        assert begun(running) == 503
    clock, end = SystemClock(), SystemClock().now() + PATIENCE_US
    while begun(running) != 200:  # their places are free again
        assert clock.now() < end


def begun(running: RunningConsole) -> int:
    """Begin to follow, and leave; return how that was answered."""
    with closing(Caller(running.socket)) as caller:
        caller.request("GET", "/api/v1/events/stream")
        with caller.getresponse() as response:
            return response.status


def test_ready_says_what_is_missing_and_live_depends_on_nobody(running: RunningConsole) -> None:
    assert call(running, "/livez") == (200, "ok\n")
    code, text = call(running, "/readyz?verbose")
    assert (code, text) == (200, "[+]started ok\n[+]bus ok\n[+]arbiter ok\n[+]history ok\nok\n")


def test_without_a_bus_the_last_word_is_shown_with_its_age(tmp_path: Path) -> None:
    with RunningConsole(tmp_path) as running:
        running.arbiter.silent = True
        running.broker.up = False
        clock, end = SystemClock(), SystemClock().now() + PATIENCE_US
        while (answer := call(running, "/api/v1/status")[1])["verdict"] != "unknown":
            assert answer["knowledge"]["age_us"] <= 3 * SECOND
            assert clock.now() < end
        assert answer["knowledge"]["text"].startswith("the arbiter on witness was last heard")
        assert "the bus is not reachable" in answer["knowledge"]["text"]
        assert call(running, "/livez")[0] == 200
        code, text = call(running, "/readyz?verbose")
        assert code == 503
        assert "[-]bus failed: the broker is down" in text
        assert call(running, "/readyz?exclude=bus&exclude=arbiter")[0] == 200
        code, answer = ask(running, "failover", WISH)
        assert (code, answer["error"]["exit_code"]) == (503, 5)


def test_a_console_that_begins_knows_the_incidents_of_the_past(tmp_path: Path) -> None:
    past = (IncidentOpened(incident=incident("EARLY1")), Failover(plan=plan(40, reason="old")))
    with RunningConsole(tmp_path, past=past) as running:
        assert call(running, "/api/v1/incidents/early1")[0] == 200
        events = call(running, "/api/v1/events")[1]
        assert events["complete"]
        assert "plan/3.40" in [event["id"] for event in events["events"]]


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(running: RunningConsole) -> None:
    head = b"POST /api/v1/operator/failover HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
    answer = raw(running, head)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_tcp_answers_questions_and_takes_no_wishes(running: RunningConsole) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)) as asking:
        asking.request("GET", "/api/v1/status")
        assert json.loads(asking.getresponse().read())["verdict"]
        asking.request("POST", "/api/v1/operator/pause", json.dumps(WISH))
        refused = asking.getresponse()
        assert refused.status == 403
        assert "socket only" in refused.read().decode()
    assert ask(running, "failover", WISH)[0] == 200


def test_a_connection_that_asks_nothing_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "FIRST_REQUEST_WITHIN_S", 0.2)
    with RunningConsole(tmp_path) as running, socket.socket(socket.AF_UNIX) as idle:
        idle.settimeout(PATIENCE_S)
        idle.connect(str(running.socket))
        idle.sendall(b"GET /livez HT")
        assert idle.recv(100) == b""
        assert call(running, "/livez")[0] == 200
