"""Stands in for Jaeger where its image cannot be pulled: takes OTLP, answers the query API.

    POST :4318/v1/traces
    GET  :16686/api/services, /api/traces/{id}, /api/traces?service=    as Jaeger's own page asks
    GET  :13133/status

What was tested with it was not tested with Jaeger; it only shows that the traces arrive whole.
"""

import gzip
import json
import signal
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACES_MAX = 1_000
NANOSECONDS_PER_US = 1_000

Json = dict[str, Any]


class Traces:
    """The newest traces, by id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: OrderedDict[str, list[tuple[Span, Json]]] = OrderedDict()

    def take(self, body: bytes) -> None:
        """Keep the spans of an export."""
        asked = ExportTraceServiceRequest()
        asked.ParseFromString(body)
        with self._lock:
            for of_resource in asked.resource_spans:
                process = _process(of_resource.resource.attributes)
                for of_scope in of_resource.scope_spans:
                    for span in of_scope.spans:
                        kept = self._spans.setdefault(span.trace_id.hex(), [])
                        kept.append((span, process))
            while len(self._spans) > TRACES_MAX:
                self._spans.popitem(last=False)

    def services(self) -> list[str]:
        """Return who recorded."""
        with self._lock:
            found = {each["serviceName"] for spans in self._spans.values() for _, each in spans}
        return sorted(found)

    def ids(self, service: str) -> list[str]:
        """Return the traces that a service has a part in, the newest first."""
        with self._lock:
            return [
                trace_id
                for trace_id, spans in reversed(self._spans.items())
                if any(each["serviceName"] == service for _, each in spans)
            ]

    def trace(self, trace_id: str) -> Json | None:
        """Return one trace in Jaeger's form."""
        with self._lock:
            spans = list(self._spans.get(trace_id, ()))
        if not spans:
            return None
        processes: dict[str, Json] = {}
        numbers: dict[str, str] = {}
        shown = []
        for span, process in spans:
            text = json.dumps(process, sort_keys=True)
            number = numbers.setdefault(text, f"p{len(numbers) + 1}")
            processes[number] = process
            shown.append(_span(span, number))
        return {"traceID": trace_id, "spans": shown, "processes": processes, "warnings": None}


def _process(attributes: "list[KeyValue]") -> Json:
    tags = _tags(attributes)
    named = next((str(tag["value"]) for tag in tags if tag["key"] == "service.name"), "unknown")
    return {
        "serviceName": named,
        "tags": [tag for tag in tags if tag["key"] != "service.name"],
    }


def _span(span: Span, process: str) -> Json:
    trace_id, parent = span.trace_id.hex(), span.parent_span_id.hex()
    reference = {"refType": "CHILD_OF", "traceID": trace_id, "spanID": parent}
    return {
        "traceID": trace_id,
        "spanID": span.span_id.hex(),
        "operationName": span.name,
        "references": [reference] if parent else [],
        "startTime": span.start_time_unix_nano // NANOSECONDS_PER_US,
        "duration": (span.end_time_unix_nano - span.start_time_unix_nano) // NANOSECONDS_PER_US,
        "tags": _tags(span.attributes),
        "logs": [],
        "processID": process,
    }


def _tags(attributes: "list[KeyValue]") -> list[Json]:
    kinds = {"string_value": "string", "bool_value": "bool", "int_value": "int64"}
    tags = []
    for item in attributes:
        kind = item.value.WhichOneof("value") or "string_value"
        value = getattr(item.value, kind)
        tags.append({"key": item.key, "type": kinds.get(kind, "float64"), "value": value})
    return tags


class _Answerer(BaseHTTPRequestHandler):
    traces = Traces()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.traces.take(body)
        self._send(200, "application/x-protobuf", ExportTraceServiceResponse().SerializeToString())

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        match asked.path.strip("/").split("/"):
            case ["status"]:
                self._json({"status": "StatusOK"})
            case ["api", "services"]:
                self._json({"data": self.traces.services()})
            case ["api", "traces", trace_id]:
                found = self.traces.trace(trace_id)
                self._json({"data": [found]} if found else {"errors": [{"msg": "not found"}]})
            case ["api", "traces"]:
                (service, *_) = parse_qs(asked.query).get("service", [""])
                ids = self.traces.ids(service)[:20]
                self._json({"data": [self.traces.trace(each) for each in ids]})
            case _:
                self._send(404, "text/plain", b"not found\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _json(self, content: Json) -> None:
        status = 404 if "errors" in content else 200
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until told to stop."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    for port in (4318, 16686, 13133):
        server = ThreadingHTTPServer(("0.0.0.0", port), _Answerer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    stopping.wait()


if __name__ == "__main__":
    main()
