"""Traces by OTLP over HTTP; the only module that knows OpenTelemetry.

Spans are built complete, with ids of our own, and handed to the SDK's batch processor, whose thread
exports them. `OTEL_*` variables (headers, time-out, compression, certificates) are read by the SDK.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, TraceFlags

from shared.clock import Clock
from shared.instant import MINUTE, SECOND
from shared.log import Log, Seldom
from shared.messages.table import Message
from shared.telemetry import (
    ROOT_KEY,
    Attribute,
    Recorder,
    Telemetry,
    incident_of,
)
from shared.trace import span_id_of, trace_id_of

NANOSECONDS_PER_US = 1_000
EXPORT_EVERY_MS = 200  # a person who looks at once sees it; the SDK's 5 s is an eternity here
EXPORT_WITHIN_S = 2  # of one export: a dead endpoint holds only the exporter's own thread
CLOSE_WITHIN_US = SECOND  # at exit; a dead endpoint must not delay a restart
SPANS_MAX = 2_048  # queued; an incident has some tens
COMPLAIN_EVERY_US = 10 * MINUTE  # about a dead endpoint

_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")


class OtlpTelemetry(Telemetry):
    """Records spans and exports them."""

    enabled = True

    def __init__(
        self, recorder: Recorder, url: str, *, environ: Mapping[str, str], clock: Clock, log: Log
    ) -> None:
        for name in ("opentelemetry", "urllib3", "requests"):
            library = logging.getLogger(name)
            library.handlers = [_Complaints(clock, log, url)]
            library.propagate = False
        self._cluster = recorder.cluster
        self._resource = Resource.create(
            {
                "service.name": f"equipoise-{recorder.program}",
                "service.namespace": recorder.cluster,
                "service.instance.id": recorder.member,
                "service.version": _version(),
                "host.name": socket.gethostname(),
            }
        )
        timeout = None if any(name in environ for name in _TIMEOUTS) else EXPORT_WITHIN_S
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=url, timeout=timeout),
            max_queue_size=SPANS_MAX,
            schedule_delay_millis=EXPORT_EVERY_MS,
        )

    def traceparent_of(self, message: Message) -> str | None:
        """Return the W3C trace context of a message about an incident; None: no trace."""
        incident = incident_of(message)
        if incident is None:
            return None
        trace_id = trace_id_of(self._cluster, incident)
        return f"00-{trace_id}-{span_id_of(trace_id, ROOT_KEY)}-01"

    def record(  # noqa: PLR0913 - a span has so many parts
        self,
        *,
        name: str,
        incident: str,
        begin_wall_us: int,
        end_wall_us: int,
        parent: str | None,
        key: str,
        attributes: Mapping[str, Attribute],
    ) -> None:
        """Record a complete span of an incident's trace; never waits."""
        trace_id = trace_id_of(self._cluster, incident)
        self._processor.on_end(
            ReadableSpan(
                name,
                context=_context(trace_id, key),
                parent=None if parent is None else _context(trace_id, parent),
                resource=self._resource,
                attributes={"equipoise.incident": incident, **attributes},
                start_time=begin_wall_us * NANOSECONDS_PER_US,
                end_time=max(begin_wall_us, end_wall_us) * NANOSECONDS_PER_US,
            )
        )

    async def close(self) -> None:
        """Export what is queued, if the endpoint takes it within a second."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                return  # the loop did not wait for us

        # Not the loop's executor: Python waits for its threads at exit, however long that takes.
        threading.Thread(target=shut_down, name="traces", daemon=True).start()
        try:
            await asyncio.wait_for(done.wait(), CLOSE_WITHIN_US / SECOND)
        except TimeoutError:
            return


class _Complaints(logging.Handler):
    """Lets the exporter's libraries complain once in a long while, in a line of ours."""

    def __init__(self, clock: Clock, log: Log, url: str) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._url = url
        self._seldom = Seldom(clock, COMPLAIN_EVERY_US)

    def emit(self, record: logging.LogRecord) -> None:
        held_back = self._seldom.due("export")
        if held_back is not None:
            because = record.getMessage()[:400]
            self._log.warning(
                "traces_not_exported", to=self._url, because=because, not_logged=held_back
            )


def _context(trace_id: str, key: str) -> SpanContext:
    return SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id_of(trace_id, key), 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _version() -> str:
    try:
        return version("equipoise")
    except PackageNotFoundError:
        return "unknown"  # a checkout that is not installed
