"""What passes the gate, and what does not, whatever it is spelled like."""

import json

import pytest

from services.docker_gate import core
from services.docker_gate.core import Kind, Question, Refused, answer, event, question
from services.health_probe.core import container
from tests.fakes.fake_engine import SECRET, FakeContainer

NAMES = frozenset({"shop", "shop-a"})


def asked(target: str, method: str = "GET", **headers: str) -> Question | Refused:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return question(method.encode(), target.encode(), given, NAMES)


@pytest.mark.parametrize(
    ("target", "kind", "passed"),
    [
        ("/_ping", Kind.PING, "/_ping"),
        ("/version", Kind.VERSION, "/version"),
        ("/v1.45/version", Kind.VERSION, "/v1.45/version"),
        ("/v1.45/containers/shop/json", Kind.LOOK, "/v1.45/containers/shop/json"),
        ("/containers/shop-a/json?size=1", Kind.LOOK, "/containers/shop-a/json"),
    ],
)
def test_the_questions_that_pass_are_asked_in_the_gates_own_words(
    target: str, kind: Kind, passed: str
) -> None:
    found = asked(target)
    assert isinstance(found, Question)
    assert (found.kind, found.target) == (kind, passed)


def test_whatever_is_asked_of_events_only_the_gates_filters_are() -> None:
    for query in ("", "?since=0&until=9999999999", "?filters=%7B%7D", "?filters={&x=/../\r\n"):
        found = asked(f"/v1.45/events{query}")
        assert isinstance(found, Question)
        assert found.target.startswith("/v1.45/events?filters=%7B%22type%22")
        assert found.target.isascii()
        assert found.target.count("?") == 1
        assert "since" not in found.target


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH", "CONNECT", "get"])
def test_nothing_but_reading_passes(method: str) -> None:
    for target in ("/containers/shop/json", "/containers/shop/kill", "/_ping"):
        found = asked(target, method)
        assert isinstance(found, Refused)
        assert found.status == 405


@pytest.mark.parametrize(
    "target",
    [
        "/containers/json",
        "/containers/other/json",
        "/containers/shop",
        "/containers/shop/json/",
        "/containers/shop/logs",
        "/containers/shop/archive?path=/etc/shadow",
        "/containers/shop/export",
        "/containers/shop/top",
        "/containers/shop/stats",
        "/containers/shop/attach/ws",
        "/containers/shop/../other/json",
        "/containers/other/../shop/json/../../other/json",
        "/containers/shop%2f..%2fother/json",
        "/containers/%73hop/json",
        "/containers/shop//json",
        "//containers/shop/json",
        "/v1.45//containers/shop/json",
        "/v1.45/../containers/shop/json",
        "/v2.0/containers/shop/json",
        "/containers/SHOP/json",
        "/containers/sho/json",
        "/containers/shop-a-b/json",
        "/containers/shop\n/json",
        "/containers/shop/json#",
        "/containers/shop/json;x",
        "/containers/shop/json\r\nX: y",
        "/containers/shop/json HTTP/1.1\r\nHost: x\r\n\r\nPOST /containers/shop/kill",
        "http://docker/containers/shop/json",
        "/exec/1/json",
        "/images/json",
        "/images/shop/json",
        "/info",
        "/secrets",
        "/configs",
        "/volumes",
        "/networks",
        "/system/df",
        "/session",
        "/grpc",
        "/build",
        "/version/",
        "/_ping/../info",
        "/",
        "",
        "*",
    ],
)
def test_no_other_question_passes_however_it_is_spelled(target: str) -> None:
    assert isinstance(asked(target), Refused), target


@pytest.mark.parametrize(
    ("name", "value"),
    [("content_length", "5"), ("transfer_encoding", "chunked"), ("upgrade", "tcp")],
)
def test_a_question_has_no_body_and_is_not_upgraded(name: str, value: str) -> None:
    assert isinstance(asked("/containers/shop/json", **{name: value}), Refused)


def test_a_look_tells_nothing_of_the_environment_the_mounts_or_the_command() -> None:
    look = Question(kind=Kind.LOOK, target="", name="shop")
    whole = json.dumps(FakeContainer("shop", health="unhealthy", restarts=3).inspected()).encode()
    assert SECRET.encode() in whole
    passes = answer(look, whole)
    assert isinstance(passes, bytes)
    assert json.loads(passes) == {
        "Name": "/shop",
        "Image": FakeContainer("shop").image,
        "RestartCount": 3,
        "State": {
            "Status": "running",
            "ExitCode": 0,
            "OOMKilled": False,
            "Health": {"Status": "unhealthy", "FailingStreak": 3},
        },
    }


def test_a_look_that_the_engine_answers_with_another_container_does_not_pass() -> None:
    look = Question(kind=Kind.LOOK, target="", name="c0ffee")  # a name, and the beginning of an id
    found = answer(look, json.dumps(FakeContainer("other").inspected()).encode())
    assert isinstance(found, Refused)
    assert found.status == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_object_does_not_pass(body: bytes) -> None:
    assert isinstance(answer(Question(kind=Kind.LOOK, target="", name="shop"), body), Refused)
    assert event(body, NAMES) is None


def test_an_object_where_a_value_is_to_stand_does_not_pass() -> None:
    body = b'{"Name": "/shop", "Image": {"Env": ["x"]}, "State": "?", "RestartCount": ["x"]}'
    found = answer(Question(kind=Kind.LOOK, target="", name="shop"), body)
    assert found == b'{"Name": "/shop"}'


def told(name: str, kind: str = "container") -> bytes:
    attributes = {"name": name, "exitCode": "137", "label": "secret"}
    whole = {"Type": kind, "Action": "die", "Actor": {"ID": "x", "Attributes": attributes}}
    return json.dumps(whole).encode()


def test_an_event_passes_without_labels_and_only_of_named_containers() -> None:
    passes = event(told("shop"), NAMES)
    assert passes is not None
    assert b"secret" not in passes
    assert json.loads(passes)["Actor"]["Attributes"] == {"name": "shop", "exitCode": "137"}
    assert event(told("shop-b"), NAMES) is None
    assert event(told("shop", kind="image"), NAMES) is None


def test_it_lets_through_the_events_that_a_health_probe_asks_for() -> None:
    # Named twice: the gate imports nothing of what it guards.
    assert core.EVENTS == container.EVENTS
