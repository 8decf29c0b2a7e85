"""Stands in for Jaeger v2 where its image cannot be pulled: takes OTLP, answers the query API.

    POST :4318/v1/traces
    GET  :16686/api/services, /api/operations, /api/traces, /api/traces/{id}
    GET  :16686/api/v3/services, /api/v3/operations, /api/v3/traces, /api/v3/traces/{id}
    GET  :16686/trace/{id}                    the page of a trace: here, a tree in text
    GET  :13133/status

Answers have the form that Jaeger's sources give them (cmd/query/app: `structuredResponse`, and the
gateway of apiv3). What was tested with it was not tested with Jaeger; it only shows that traces
arrive whole. It runs in an image of its own, so it needs nothing of ours.
"""

import gzip
import json
import signal
import sys
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

TRACES_MAX = 1_000
FOUND_MAX = 20  # of a search that names no limit, as in Jaeger
NANOSECONDS_PER_US = 1_000
OTLP, QUERY, HEALTH = 4318, 16686, 13133

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A span, and who recorded it with what."""

    span: Span
    resource: Resource
    scope: InstrumentationScope

    @property
    def service(self) -> str:
        """Who recorded it."""
        found = (each.value.string_value for each in self.resource.attributes)
        named = (each.key == "service.name" for each in self.resource.attributes)
        return next((value for value, is_it in zip(found, named, strict=True) if is_it), "unknown")

    @property
    def kind(self) -> str:
        """What Jaeger calls the span's kind; "" where none was given."""
        kind = Span.SpanKind.Name(self.span.kind).removeprefix("SPAN_KIND_").lower()
        return "" if kind == "unspecified" else kind


class Traces:
    """The newest traces, by id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, list[Kept]] = OrderedDict()

    def take(self, body: bytes) -> None:
        """Keep the spans of an export; raise `DecodeError` if it is none."""
        asked = ExportTraceServiceRequest()
        asked.ParseFromString(body)
        with self._lock:
            for of_resource in asked.resource_spans:
                for of_scope in of_resource.scope_spans:
                    for span in of_scope.spans:
                        kept = self._kept.setdefault(span.trace_id.hex(), [])
                        kept.append(Kept(span, of_resource.resource, of_scope.scope))
            while len(self._kept) > TRACES_MAX:
                self._kept.popitem(last=False)

    def services(self) -> list[str]:
        """Return who recorded."""
        with self._lock:
            return sorted({each.service for kept in self._kept.values() for each in kept})

    def operations(self, service: str) -> list[tuple[str, str]]:
        """Return the names and kinds of a service's spans."""
        with self._lock:
            every = [each for kept in self._kept.values() for each in kept]
        return sorted({(each.span.name, each.kind) for each in every if each.service == service})

    def search(self, service: str, limit: int) -> list[list[Kept]]:
        """Return the traces that a service has a part in, the newest first."""
        with self._lock:
            newest = [list(kept) for kept in reversed(self._kept.values())]
        return [kept for kept in newest if any(each.service == service for each in kept)][:limit]

    def trace(self, trace_id: str) -> list[Kept]:
        """Return the spans of a trace in the order of their beginning; nothing if it is unknown."""
        with self._lock:
            kept = list(self._kept.get(trace_id.lower().zfill(32), ()))
        return sorted(kept, key=lambda each: (each.span.start_time_unix_nano, each.span.name))


def as_page(kept: list[Kept]) -> Json:
    """Return a trace as Jaeger's own page reads it."""
    processes: dict[str, Json] = {}
    numbers: dict[str, str] = {}
    spans = []
    for each in kept:
        tags = [tag for tag in _tags(each.resource.attributes) if tag["key"] != "service.name"]
        process = {"serviceName": each.service, "tags": tags}
        number = numbers.setdefault(json.dumps(process, sort_keys=True), f"p{len(numbers) + 1}")
        processes[number] = process
        spans.append(_span(each, number))
    trace_id = kept[0].span.trace_id.hex()
    return {"traceID": trace_id, "spans": spans, "processes": processes, "warnings": None}


def as_otlp(kept: Iterable[Kept]) -> Json:
    """Return spans as the third version of the API does: OTLP in JSON, with ids in hexadecimal."""
    by_resource: dict[bytes, Json] = {}
    for each in kept:
        of_resource = by_resource.setdefault(
            each.resource.SerializeToString(deterministic=True),
            {"resource": _plain(each.resource), "scopeSpans": []},
        )
        if not of_resource["scopeSpans"]:
            of_resource["scopeSpans"].append({"scope": _plain(each.scope), "spans": []})
        of_resource["scopeSpans"][0]["spans"].append(_otlp_span(each.span))
    return {"result": {"resourceSpans": list(by_resource.values())}}


def as_text(kept: list[Kept]) -> str:
    """Return a trace as a tree for people."""
    known = {each.span.span_id for each in kept}
    begun = min(each.span.start_time_unix_nano for each in kept)

    def below(parent: bytes, depth: int) -> Iterable[str]:
        for each in kept:
            above = each.span.parent_span_id if each.span.parent_span_id in known else b""
            if above != parent:
                continue
            span = each.span
            length = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
            at = (span.start_time_unix_nano - begun) / 1e6
            yield f"{at:10.1f} ms {length:10.1f} ms  {'  ' * depth}{span.name}  [{each.service}]\n"
            yield from below(span.span_id, depth + 1)

    return "".join(below(b"", 0))


def _span(kept: Kept, process: str) -> Json:
    span = kept.span
    tags = _tags(span.attributes)
    if kept.kind:
        tags.append({"key": "span.kind", "type": "string", "value": kept.kind})
    if span.status.code == Status.STATUS_CODE_ERROR:
        tags.append({"key": "otel.status_code", "type": "string", "value": "ERROR"})
        tags.append({"key": "error", "type": "bool", "value": True})
        tags.append(
            {"key": "otel.status_description", "type": "string", "value": span.status.message}
        )
    parents = [("CHILD_OF", span.trace_id, span.parent_span_id)] if span.parent_span_id else []
    links = [("FOLLOWS_FROM", link.trace_id, link.span_id) for link in span.links]
    return {
        "traceID": span.trace_id.hex(),
        "spanID": span.span_id.hex(),
        "operationName": span.name,
        "references": [
            {"refType": kind, "traceID": trace_id.hex(), "spanID": span_id.hex()}
            for kind, trace_id, span_id in (*parents, *links)
        ],
        "startTime": span.start_time_unix_nano // NANOSECONDS_PER_US,
        "duration": (span.end_time_unix_nano - span.start_time_unix_nano) // NANOSECONDS_PER_US,
        "tags": tags,
        "logs": [],
        "processID": process,
        "warnings": None,
    }


def _tags(attributes: "Iterable[KeyValue]") -> list[Json]:
    kinds = {"string_value": "string", "bool_value": "bool", "int_value": "int64"}
    tags = []
    for item in attributes:
        kind = item.value.WhichOneof("value") or "string_value"
        value = getattr(item.value, kind)
        tags.append({"key": item.key, "type": kinds.get(kind, "float64"), "value": value})
    return tags


def _otlp_span(span: Span) -> Json:
    plain = _plain(span)
    plain |= {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex()}
    if span.parent_span_id:
        plain["parentSpanId"] = span.parent_span_id.hex()
    for link, shown in zip(span.links, plain.get("links", ()), strict=True):
        shown |= {"traceId": link.trace_id.hex(), "spanId": link.span_id.hex()}
    return plain


def _plain(message: Any) -> Json:
    plain: Json = MessageToDict(message, use_integers_for_enums=True)
    return plain


def _unpacked(body: bytes, encoding: str | None) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            return body


class _Answerer(BaseHTTPRequestHandler):
    traces: Traces

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/traces":
            self._send(404, "text/plain", b"404 page not found\n")
            return
        if self.headers.get("content-type") != "application/x-protobuf":
            self._send(415, "text/plain", b"415 unsupported media type\n")
            return
        try:
            self.traces.take(_unpacked(body, self.headers.get("content-encoding")))
        except (DecodeError, OSError, EOFError, zlib.error) as error:
            self._send(400, "text/plain", f"{error}\n".encode())
            return
        self._send(200, "application/x-protobuf", ExportTraceServiceResponse().SerializeToString())

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        words = {key: values[0] for key, values in parse_qs(asked.query).items()}
        match asked.path.strip("/").split("/"):
            case ["status"]:
                self._json(200, {"healthy": True, "status": "StatusOK"})
            case ["trace", trace_id] if kept := self.traces.trace(trace_id):
                self._send(200, "text/plain; charset=utf-8", as_text(kept).encode())
            case ["api", "v3", *rest]:
                self._third(rest, words)
            case ["api", *rest]:
                self._page(rest, words)
            case _:
                self._send(404, "text/plain", b"404 page not found\n")

    def _page(self, path: list[str], words: Mapping[str, str]) -> None:
        match path:
            case ["services"]:
                services = self.traces.services()
                self._structured(services, total=len(services))
            case ["operations"]:
                found = self.traces.operations(words.get("service", ""))
                named = [{"name": name, "spanKind": kind} for name, kind in found]
                self._structured(named, total=len(named))
            case ["services", service, "operations"]:
                names = sorted({name for name, _ in self.traces.operations(service)})
                self._structured(names, total=len(names))
            case ["traces", trace_id]:
                self._page_trace(trace_id)
            case ["traces"] if "service" in words:
                limit = int(words.get("limit", FOUND_MAX))
                self._structured(
                    [as_page(kept) for kept in self.traces.search(words["service"], limit)]
                )
            case ["traces"]:
                self._structured(None, error=(400, "parameter 'service' is required"))
            case _:
                self._send(404, "text/plain", b"404 page not found\n")

    def _page_trace(self, trace_id: str) -> None:
        if not _is_hexadecimal(trace_id):
            self._structured(None, error=(400, f"cannot parse trace id {trace_id!r}"))
        elif kept := self.traces.trace(trace_id):
            self._structured([as_page(kept)])
        else:
            self._structured(None, error=(404, "trace not found"))

    def _third(self, path: list[str], words: Mapping[str, str]) -> None:
        match path:
            case ["services"]:
                self._json(200, {"services": self.traces.services()})
            case ["operations"]:
                found = self.traces.operations(words.get("service", ""))
                named = [{"name": name, "spanKind": kind} for name, kind in found]
                self._json(200, {"operations": named})
            case ["traces", trace_id]:
                self._third_trace(trace_id)
            case ["traces"] if {"query.start_time_min", "query.start_time_max"} <= set(words):
                limit = int(words.get("query.num_traces", FOUND_MAX))
                found_traces = self.traces.search(words.get("query.service_name", ""), limit)
                self._json(200, as_otlp(each for kept in found_traces for each in kept))
            case ["traces"]:
                wanted = "query.start_time_min and query.start_time_max are required"
                self._third_error(400, wanted)
            case _:
                self._send(404, "text/plain", b"404 page not found\n")

    def _third_trace(self, trace_id: str) -> None:
        if not _is_hexadecimal(trace_id):
            self._third_error(400, "malformed parameter trace_id")
        elif kept := self.traces.trace(trace_id):
            self._json(200, as_otlp(kept))
        else:
            self._third_error(404, "trace not found")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _structured(
        self, content: object, *, total: int = 0, error: tuple[int, str] | None = None
    ) -> None:
        errors = None if error is None else [{"code": error[0], "msg": error[1]}]
        answer = {"data": content, "total": total, "limit": 0, "offset": 0, "errors": errors}
        self._json(200 if error is None else error[0], answer)

    def _third_error(self, status: int, message: str) -> None:
        self._json(status, {"error": {"httpCode": status, "message": message}})

    def _json(self, status: int, content: Json) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):
            self.wfile.write(body)


def _is_hexadecimal(text: str) -> bool:
    return 0 < len(text) <= len("0" * 32) and all(each in "0123456789abcdefABCDEF" for each in text)


def serving(address: str, *ports: int) -> list[ThreadingHTTPServer]:
    """Serve on these ports, each in a thread; all of them know the same traces."""

    class Answerer(_Answerer):
        traces = Traces()

    servers = [ThreadingHTTPServer((address, port), Answerer) for port in ports]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return servers


def main() -> None:
    """Serve until told to stop."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    servers = serving("0.0.0.0", OTLP, QUERY, HEALTH)
    sys.stderr.write("stands in for Jaeger\n")
    stopping.wait()
    for server in servers:
        server.shutdown()


if __name__ == "__main__":
    main()
