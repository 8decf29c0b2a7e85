"""Every incident is one trace, whoever records its parts and in whatever order."""

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.instant import SECOND
from shared.log import Logger
from shared.messages.table import TABLE
from shared.messages.traffic import Command
from shared.telemetry import (
    ROOT_KEY,
    Link,
    Recorder,
    Telemetry,
    incident_of,
    start,
)
from shared.trace import SpanKind, sent_key, span_id_of, trace_id_of
from tests.eventually import PATIENCE_US, eventually
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.golden.samples import sample

ROOT = Path(__file__).parents[4]
BEGAN = 1_795_000_000_000_000


def telemetry(
    endpoint: str | None,
    lines: list[str] | None = None,
    program: str = "arbiter",
    **environ: str,
) -> Telemetry:
    clock = SystemClock()
    log = Logger((lines if lines is not None else []).append, clock=clock)
    recorder = Recorder(program=program, cluster="pair", member="node-a")
    return start(recorder, endpoint, environ=environ, clock=clock, log=log)


def record(
    spans: Telemetry, key: str = ROOT_KEY, parent: str | None = None, incident: str = "shop-a-1"
) -> None:
    spans.record(
        name=f"the {key}",
        incident=incident,
        begin_wall_us=BEGAN + 7,
        end_wall_us=BEGAN + 12_345,
        parent=parent,
        key=key,
        attributes={"service": "shop", "requests": 12, "ratio": 0.5, "planned": False},
    )


class TestIds:
    def test_they_are_derived_so_that_everybody_knows_them(self) -> None:
        # Recorded: links to traces outlive a version.
        trace = trace_id_of("pair", "shop-a-1")
        assert trace == "9c554ffc23411b157fddff4dc2bdf45f"
        assert span_id_of(trace, "switch/node-a") == "3e43d49d0a17d657"

    def test_they_differ_by_cluster_incident_and_key(self) -> None:
        traces = {trace_id_of(c, i) for c in ("pair", "trio") for i in ("one", "two")}
        assert len(traces) == 4
        spans = {span_id_of(trace, key) for trace in traces for key in ("detect", "decide")}
        assert len(spans) == 8
        assert all(len(trace) == 32 for trace in traces)
        assert all(len(span) == 16 for span in spans)

    def test_the_incident_of_a_message_is_found_wherever_it_is_said(self) -> None:
        found = {row.type: incident_of(sample(row)) for row in TABLE}
        about = {kind for kind, incident in found.items() if incident == "shop-node-a-7"}
        assert about == {
            "command.failover.v1",
            "command.failback.v1",
            "command.drain.v1",
            "command.restore.v1",
            "traffic.applied.v1",
            "vip.held.v1",
            "vip.changed.v1",
            "service.changed.v1",
            "incident.opened.v1",
            "incident.updated.v1",
            "incident.closed.v1",
            "operator.answer.v1",
        }
        assert all(incident is None for kind, incident in found.items() if kind not in about)


class TestExport:
    def test_spans_arrive_as_they_were_recorded(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(receiver.endpoint)
                assert spans.enabled
                record(spans, "detect", ROOT_KEY)  # the child first: it ends first
                record(spans)
                await eventually(lambda: len(receiver.spans) == 2)
                await spans.close()
            trace_id = trace_id_of("pair", "shop-a-1")
            root, child = sorted(receiver.spans, key=lambda span: span.parent_id or "")
            assert root.trace_id == child.trace_id == trace_id
            assert root.parent_id is None
            assert root.span_id == child.parent_id == span_id_of(trace_id, ROOT_KEY)
            assert child.span_id == span_id_of(trace_id, "detect")
            assert child.name == "the detect"
            assert (child.begin_wall_us, child.end_wall_us) == (BEGAN + 7, BEGAN + 12_345)
            assert child.attributes == {
                "equipoise.incident": "shop-a-1",
                "service": "shop",
                "requests": 12,
                "ratio": 0.5,
                "planned": False,
            }
            assert root.resource.items() >= {
                ("service.name", "equipoise-arbiter"),
                ("service.namespace", "pair"),
                ("service.instance.id", "node-a"),
                ("host.name", socket.gethostname()),
            }
            assert root.resource["service.version"]
            assert {export.path for export in receiver.exports} == {"/v1/traces"}

        asyncio.run(test())

    def test_a_span_says_what_it_is_what_it_has_to_do_with_and_what_failed(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(receiver.endpoint)
                spans.record(
                    name="n",
                    incident="i",
                    begin_wall_us=BEGAN,
                    end_wall_us=BEGAN,
                    parent=None,
                    key="k",
                    attributes={},
                    kind=SpanKind.CLIENT,
                    links=(Link("other"), Link("i", "send")),
                    failure="refused",
                )
                record(spans)
                await spans.close()
                (failed,) = [span for span in receiver.spans if span.failure]
                assert (failed.kind, failed.failure) == ("client", "refused")
                ours, other = trace_id_of("pair", "i"), trace_id_of("pair", "other")
                assert failed.links == (
                    (other, span_id_of(other, ROOT_KEY)),
                    (ours, span_id_of(ours, "send")),
                )
                (plain,) = [span for span in receiver.spans if not span.failure]
                assert (plain.kind, plain.links) == ("internal", ())

        asyncio.run(test())

    def test_programs_join_one_trace_without_passing_anything_on(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                arbiter = telemetry(receiver.endpoint)
                switcher = telemetry(receiver.endpoint, program="traffic_switcher")
                record(switcher, "switch/node-a", "switch")
                record(arbiter, "switch", ROOT_KEY)
                record(arbiter)
                for spans in (switcher, arbiter):
                    await spans.close()
                found = receiver.trace(trace_id_of("pair", "shop-a-1"))
            names = {span.name: span.resource["service.name"] for span in found}
            assert names == {
                "the incident": "equipoise-arbiter",
                "the switch": "equipoise-arbiter",
                "the switch/node-a": "equipoise-traffic_switcher",
            }
            known = {span.span_id for span in found}
            assert all(span.parent_id in known for span in found if span.parent_id)

        asyncio.run(test())

    def test_what_is_queued_is_exported_on_leaving(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(receiver.endpoint)
                for number in range(1_000):
                    record(spans, f"part/{number}", ROOT_KEY)
                await spans.close()
                assert len({span.span_id for span in receiver.spans}) == 1_000

        asyncio.run(test())

    def test_a_span_that_would_end_before_it_began_takes_no_time(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(receiver.endpoint)
                spans.record(
                    name="n",
                    incident="i",
                    begin_wall_us=BEGAN,
                    end_wall_us=BEGAN - 1,  # the wall clock was set back
                    parent=None,
                    key="k",
                    attributes={},
                )
                await spans.close()
                assert [span.duration_us for span in receiver.spans] == [0]

        asyncio.run(test())


class TestVariables:
    def test_the_endpoint_of_the_environment_wins(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as named, OtlpReceiver() as configured:
                spans = telemetry(
                    configured.endpoint, OTEL_EXPORTER_OTLP_ENDPOINT=named.endpoint + "/"
                )
                record(spans)
                await spans.close()
                assert [export.path for export in named.exports] == ["/v1/traces"]
                assert configured.exports == []

        asyncio.run(test())

    def test_the_endpoint_of_traces_is_taken_as_it_is(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(
                    None, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=receiver.endpoint + "/own/path"
                )
                record(spans)
                await spans.close()
                assert [export.path for export in receiver.exports] == ["/own/path"]

        asyncio.run(test())

    def test_headers_and_compression_are_obeyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # These the SDK reads itself, from the process's environment.
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret,x-team=blue"
        )
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")

        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(receiver.endpoint)
                record(spans)
                await spans.close()
                (export,) = receiver.exports
                assert export.headers["authorization"] == "Bearer secret"
                assert export.headers["x-team"] == "blue"
                assert export.headers["content-encoding"] == "gzip"
                assert len(export.spans) == 1

        asyncio.run(test())

    @pytest.mark.parametrize("value", ["true", "TRUE", " true "])
    def test_it_can_be_switched_off(self, value: str) -> None:
        assert not telemetry("http://127.0.0.1:1", OTEL_SDK_DISABLED=value).enabled

    def test_what_cannot_be_done_is_said_and_the_program_goes_on_without_traces(self) -> None:
        lines: list[str] = []
        assert not telemetry("jaeger:4318", lines).enabled
        assert "'jaeger:4318/v1/traces'; it must begin with http" in lines[0]

    def test_batches_that_the_sdk_refuses_are_said_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines: list[str] = []
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000")
        assert not telemetry("http://127.0.0.1:1", lines).enabled
        assert "traces_off" in lines[0]

    def test_who_we_are_can_be_said_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=stage")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "guard")

        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(receiver.endpoint)
                record(spans)
                await spans.close()
                (span,) = receiver.spans
            assert span.resource["deployment.environment.name"] == "stage"
            assert span.resource["service.name"] == "guard"
            assert span.resource["service.instance.id"] == "node-a"

        asyncio.run(test())

    def test_an_incident_is_sampled_by_all_or_by_nobody(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                half = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
                first = telemetry(receiver.endpoint, [], **half)
                second = telemetry(receiver.endpoint, [], "health_probe", **half)
                for number in range(100):
                    record(first, incident=f"I{number}")
                    record(second, incident=f"I{number}", key="probe", parent=ROOT_KEY)
                await first.close()
                await second.close()
                traces = Counter(span.trace_id for span in receiver.spans)
            assert 20 < len(traces) < 80
            assert set(traces.values()) == {2}

        asyncio.run(test())


class TestTrouble:
    def test_a_dead_endpoint_delays_nothing_and_is_told_once(self) -> None:
        async def test() -> None:
            lines: list[str] = []
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))  # bound, not listening: refused
                spans = telemetry(f"http://127.0.0.1:{unused.getsockname()[1]}", lines)
                clock = SystemClock()
                begun_at = clock.now()
                for number in range(200):
                    record(spans, f"part/{number}")
                assert clock.now() - begun_at < 10 * SECOND  # 26 µs each; exports wait elsewhere
                await eventually(lambda: lines)
                record(spans)
                await spans.close()
                assert clock.now() - begun_at < PATIENCE_US
            (line,) = lines
            assert "traces_not_exported" in line

        asyncio.run(test())

    def test_an_endpoint_that_never_answers_does_not_delay_leaving(self) -> None:
        async def test() -> None:
            with socket.create_server(("127.0.0.1", 0)) as silent:
                spans = telemetry(f"http://127.0.0.1:{silent.getsockname()[1]}")
                record(spans)
                clock = SystemClock()
                begun_at = clock.now()
                await spans.close()
                assert clock.now() - begun_at < 10 * SECOND

        asyncio.run(test())


class TestOff:
    def test_it_imports_nothing_and_records_nothing(self) -> None:
        code = (
            "import asyncio, sys\n"
            "from tests.unit.shared.telemetry.test_telemetry_off import spans_off\n"
            "spans_off()\n"
            "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()

    def test_messages_carry_no_trace(self) -> None:
        spans = telemetry(None)
        assert all(spans.traceparent_of(sample(row), row.subject) is None for row in TABLE)

    def test_messages_about_an_incident_carry_its_trace_when_it_is_on(self) -> None:
        async def test() -> None:
            with OtlpReceiver() as receiver:
                spans = telemetry(receiver.endpoint)
                trace = trace_id_of("pair", "shop-node-a-7")
                for row in TABLE:
                    message = sample(row)
                    parent = spans.traceparent_of(message, row.subject)
                    about = incident_of(message) is not None
                    # A command's is the span in which it was sent.
                    plan = message.plan if isinstance(message, Command) else None
                    key = ROOT_KEY if plan is None else sent_key(row.subject, plan.number)
                    wanted = f"00-{trace}-{span_id_of(trace, key)}-01"
                    assert parent == (wanted if about else None)
                await spans.close()

        asyncio.run(test())
