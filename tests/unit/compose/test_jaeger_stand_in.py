"""What stands in for Jaeger takes our exporter's bytes, and answers in the forms of its API."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shared.clock import SystemClock
from shared.log import Logger
from shared.telemetry import ROOT_KEY, Link, Recorder, start
from shared.trace import SpanKind, span_id_of, trace_id_of
from tests.compose.jaeger_stand_in import serving

BEGAN = 1_795_000_000_000_000
TRACE = trace_id_of("pair", "7K2F")
ROOT, PROBE = span_id_of(TRACE, ROOT_KEY), span_id_of(TRACE, "probe")
TIMES = "query.start_time_min=2026-01-01T00:00:00Z&query.start_time_max=2027-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Jaeger:
    """Where it listens."""

    otlp: str
    query: str
    health: str

    def get(self, path: str) -> tuple[int, Any]:
        """Return an answer of the query API."""
        try:
            with urllib.request.urlopen(self.query + path, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def jaeger() -> Iterator[Jaeger]:
    servers = serving("127.0.0.1", 0, 0, 0)
    found = Jaeger(*(f"http://127.0.0.1:{server.server_address[1]}" for server in servers))
    export(found.otlp)
    yield found
    for server in servers:
        server.shutdown()
        server.server_close()


def export(endpoint: str) -> None:
    """Record an incident by two programs, as they do."""
    clock = SystemClock()

    async def of(program: str, key: str, parent: str | None) -> None:
        recorder = Recorder(program=program, cluster="pair", member="node-a")
        log = Logger(print, clock=clock)
        spans = start(recorder, endpoint, environ={}, clock=clock, log=log)
        spans.record(
            name=f"the {key}",
            incident="7K2F",
            begin_wall_us=BEGAN + 7 * (parent is not None),
            end_wall_us=BEGAN + 1_000,
            parent=parent,
            key=key,
            attributes={"text": "shop", "number": 12, "ratio": 0.5, "planned": False},
            kind=SpanKind.INTERNAL if parent is None else SpanKind.CLIENT,
            links=() if parent is None else (Link("other"),),
            failure="" if parent is None else "refused",
        )
        await spans.close()

    asyncio.run(of("arbiter", ROOT_KEY, None))
    asyncio.run(of("health_probe", "probe", ROOT_KEY))


def test_it_says_that_it_is_well(jaeger: Jaeger) -> None:
    with urllib.request.urlopen(jaeger.health + "/status", timeout=30) as answer:
        status = json.loads(answer.read())
    assert (status["healthy"], status["status"]) == (True, "StatusOK")


def test_it_names_who_recorded(jaeger: Jaeger) -> None:
    both = ["equipoise-arbiter", "equipoise-health_probe"]
    wanted = {"data": both, "total": 2, "limit": 0, "offset": 0, "errors": None}
    assert jaeger.get("/api/services") == (200, wanted)
    assert jaeger.get("/api/v3/services") == (200, {"services": both})


def test_it_names_what_was_done(jaeger: Jaeger) -> None:
    found = [{"name": "the probe", "spanKind": "client"}]
    asked = "service=equipoise-health_probe"
    assert jaeger.get(f"/api/operations?{asked}")[1]["data"] == found
    assert jaeger.get(f"/api/v3/operations?{asked}") == (200, {"operations": found})
    _, named = jaeger.get("/api/services/equipoise-arbiter/operations")
    assert named["data"] == ["the incident"]


def test_a_trace_is_as_the_page_reads_it(jaeger: Jaeger) -> None:
    status, answer = jaeger.get(f"/api/traces/{TRACE}")
    (trace,) = answer["data"]
    root, probe = trace["spans"]
    assert (status, trace["traceID"]) == (200, TRACE)
    assert (root["spanID"], root["references"]) == (ROOT, [])
    other = trace_id_of("pair", "other")
    assert probe["references"] == [
        {"refType": "CHILD_OF", "traceID": TRACE, "spanID": ROOT},
        {"refType": "FOLLOWS_FROM", "traceID": other, "spanID": span_id_of(other, ROOT_KEY)},
    ]
    assert (probe["operationName"], probe["startTime"]) == ("the probe", BEGAN + 7)
    assert probe["duration"] == 993
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in probe["tags"]}
    assert tags == {
        "equipoise.incident": ("string", "7K2F"),
        "text": ("string", "shop"),
        "number": ("int64", 12),
        "ratio": ("float64", 0.5),
        "planned": ("bool", False),
        "span.kind": ("string", "client"),
        "otel.status_code": ("string", "ERROR"),
        "error": ("bool", True),
        "otel.status_description": ("string", "refused"),
    }
    process = trace["processes"][probe["processID"]]
    assert process["serviceName"] == "equipoise-health_probe"
    assert {"key": "service.namespace", "type": "string", "value": "pair"} in process["tags"]


def test_a_trace_is_otlp_in_the_third_version(jaeger: Jaeger) -> None:
    status, answer = jaeger.get(f"/api/v3/traces/{TRACE}")
    of_resources = answer["result"]["resourceSpans"]
    spans = [span for each in of_resources for span in each["scopeSpans"][0]["spans"]]
    root, probe = spans
    assert (status, root["traceId"], root["spanId"]) == (200, TRACE, ROOT)
    assert "parentSpanId" not in root
    assert (probe["parentSpanId"], probe["kind"]) == (ROOT, 3)
    assert probe["startTimeUnixNano"] == str((BEGAN + 7) * 1_000)
    assert probe["links"][0]["traceId"] == trace_id_of("pair", "other")
    named = {"key": "service.name", "value": {"stringValue": "equipoise-health_probe"}}
    assert named in of_resources[1]["resource"]["attributes"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/traces?service=equipoise-arbiter", 1),
        ("/api/traces?service=equipoise-arbiter&limit=0", 0),
        ("/api/traces?service=nobody", 0),
    ],
)
def test_traces_are_found_by_who_recorded(jaeger: Jaeger, path: str, found: int) -> None:
    status, answer = jaeger.get(path)
    assert (status, len(answer["data"])) == (200, found)


def test_traces_are_found_in_the_third_version(jaeger: Jaeger) -> None:
    status, answer = jaeger.get(f"/api/v3/traces?query.service_name=equipoise-arbiter&{TIMES}")
    assert (status, len(answer["result"]["resourceSpans"])) == (200, 2)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"/api/traces/{'0' * 31}1", 404),
        ("/api/traces/last", 400),
        ("/api/traces", 400),
        (f"/api/v3/traces/{'0' * 31}1", 404),
        ("/api/v3/traces/last", 400),
        ("/api/v3/traces?query.service_name=equipoise-arbiter", 400),
    ],
)
def test_what_cannot_be_answered_is_said(jaeger: Jaeger, path: str, wanted: int) -> None:
    status, answer = jaeger.get(path)
    assert status == wanted
    if "v3" in path:
        assert answer["error"]["httpCode"] == wanted
    else:
        assert (answer["data"], answer["errors"][0]["code"]) == (None, wanted)


def test_the_page_that_explain_links_to_is_there(jaeger: Jaeger) -> None:
    with urllib.request.urlopen(f"{jaeger.query}/trace/{TRACE}", timeout=30) as answer:
        first, second = answer.read().decode().splitlines()
    assert "the incident" in first
    assert "  the probe" in second


@pytest.mark.parametrize(
    ("path", "kind", "wanted"),
    [
        ("/v1/traces", "application/x-protobuf", 400),
        ("/v1/traces", "application/json", 415),
        ("/v1/metrics", "application/x-protobuf", 404),
    ],
)
def test_what_is_no_trace_is_refused(jaeger: Jaeger, path: str, kind: str, wanted: int) -> None:
    body, headers = b"not a message", {"Content-Type": kind}
    request = urllib.request.Request(jaeger.otlp + path, body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    refused.value.close()
    assert refused.value.code == wanted
