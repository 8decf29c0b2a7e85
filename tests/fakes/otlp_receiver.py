"""Takes traces by OTLP over HTTP as Jaeger does, and keeps the spans for tests to look at.

with OtlpReceiver() as receiver:
    ... receiver.endpoint, receiver.spans ...
"""

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

NANOSECONDS_PER_US = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpan:
    """A span as it came over the wire."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str  # as in `shared.trace.SpanKind`
    links: tuple[tuple[str, str], ...]  # trace and span
    failure: str
    begin_wall_us: int
    end_wall_us: int
    attributes: dict[str, object]
    resource: dict[str, object]

    @property
    def duration_us(self) -> int:
        """How long it took."""
        return self.end_wall_us - self.begin_wall_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One request of an exporter."""

    path: str
    headers: dict[str, str]  # names in lower case
    spans: tuple[ReceivedSpan, ...]


class OtlpReceiver:
    """An endpoint for traces on loopback, in a thread of its own."""

    def __init__(self) -> None:
        self.exports: list[Export] = []
        receiver = self

        class Answerer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_: object) -> None:
                """Say nothing: a test's output is its failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answerer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def endpoint(self) -> str:
        """What goes into the configuration."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[ReceivedSpan]:
        """All spans so far, in the order of their arrival."""
        return [span for export in self.exports for span in export.spans]

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """Return one trace's spans in the order of their beginning."""
        found = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(found, key=lambda span: (span.begin_wall_us, -span.end_wall_us))

    def __enter__(self) -> "OtlpReceiver":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.rfile.read(int(headers["content-length"]))
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        asked = ExportTraceServiceRequest()
        asked.ParseFromString(body)
        spans = tuple(
            _span(span, _plain(of_resource.resource.attributes))
            for of_resource in asked.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        )
        self.exports.append(Export(path=request.path, headers=headers, spans=spans))
        answer = ExportTraceServiceResponse().SerializeToString()
        request.send_response(200)
        request.send_header("Content-Type", "application/x-protobuf")
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)


def _span(span: Span, resource: dict[str, object]) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        failure=span.status.message if span.status.code == Status.STATUS_CODE_ERROR else "",
        begin_wall_us=span.start_time_unix_nano // NANOSECONDS_PER_US,
        end_wall_us=span.end_time_unix_nano // NANOSECONDS_PER_US,
        attributes=_plain(span.attributes),
        resource=resource,
    )


def _plain(attributes: "list[KeyValue]") -> dict[str, object]:
    return {item.key: _value(item.value) for item in attributes}


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    plain: object = None if kind is None else getattr(value, kind)
    return plain
