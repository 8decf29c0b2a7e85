"""Traces by OTLP over HTTP; the only module that knows OpenTelemetry.

Spans are built complete, with ids of our own, and handed to the SDK's batch processor, whose thread
exports them. What `OTEL_*` variables say of the exporter, the batches and the resource is read by
the SDK; where it sets nothing, ours are the defaults.
"""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import Link as SdkLink, SpanContext, SpanKind as SdkKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from shared.bus.hops import Hop
from shared.clock import Clock
from shared.instant import MINUTE, SECOND
from shared.log import Log, Seldom
from shared.messages.table import Message
from shared.messages.traffic import Command
from shared.telemetry import (
    ROOT_KEY,
    Attribute,
    Link,
    Recorder,
    Telemetry,
    incident_of,
)
from shared.trace import SpanKind, sent_key, span_id_of, trace_id_of

NANOSECONDS_PER_US = 1_000
EXPORT_EVERY_MS = 200  # a person who looks at once sees it; the SDK's 5 s is an eternity here
EXPORT_WITHIN_S = 2  # of one export: a dead endpoint holds only the exporter's own thread
CLOSE_WITHIN_US = SECOND  # at exit; a dead endpoint must not delay a restart
SPANS_MAX = 2_048  # queued; an incident has some tens
INCIDENTS_MAX = 1_000  # that we spoke of, and whose hops may still be reported
COMPLAIN_EVERY_US = 10 * MINUTE  # about a dead endpoint

_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")


class OtlpTelemetry(Telemetry):
    """Records spans and exports them."""

    enabled = True

    def __init__(  # noqa: PLR0913 - where to, how much, and with what
        self,
        recorder: Recorder,
        url: str,
        *,
        ratio: float,
        environ: Mapping[str, str],
        clock: Clock,
        log: Log,
    ) -> None:
        for name in ("opentelemetry", "urllib3", "requests"):
            library = logging.getLogger(name)
            library.handlers = [_Complaints(clock, log, url)]
            library.propagate = False
        self._cluster = recorder.cluster
        self._sampler = TraceIdRatioBased(ratio)
        ours = Resource.create(
            {
                "service.name": f"equipoise-{recorder.program}",
                "service.namespace": recorder.cluster,
                "service.instance.id": recorder.member,
                "service.version": _version(),
                "host.name": socket.gethostname(),
                "process.pid": os.getpid(),
            }
        )
        # OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win.
        self._resource = ours.merge(OTELResourceDetector().detect())
        self._incidents: dict[str, str] = {}  # by trace id
        timeout = None if any(name in environ for name in _TIMEOUTS) else EXPORT_WITHIN_S
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=url, timeout=timeout),
            max_queue_size=None if "OTEL_BSP_MAX_QUEUE_SIZE" in environ else SPANS_MAX,
            schedule_delay_millis=None if "OTEL_BSP_SCHEDULE_DELAY" in environ else EXPORT_EVERY_MS,
        )

    def traceparent_of(self, message: Message, subject: str) -> str | None:
        """Return the W3C trace context of a message about an incident; None: no trace.

        A command's is the span in which it is sent; what is said of an incident is about it all.
        """
        incident = incident_of(message)
        if incident is None:
            return None
        trace_id = trace_id_of(self._cluster, incident)
        if not self._is_sampled(trace_id):
            return None
        self._incidents[trace_id] = incident
        if len(self._incidents) > INCIDENTS_MAX:
            del self._incidents[next(iter(self._incidents))]
        key = ROOT_KEY
        if isinstance(message, Command):
            key = sent_key(subject, message.plan.number)
        return f"00-{trace_id}-{span_id_of(trace_id, key)}-01"

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
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        failure: str = "",
    ) -> None:
        """Record a complete span of an incident's trace; never waits."""
        trace_id = trace_id_of(self._cluster, incident)
        if not self._is_sampled(trace_id):
            return
        self._processor.on_end(
            ReadableSpan(
                name,
                context=_context(trace_id, key),
                parent=None if parent is None else _context(trace_id, parent),
                resource=self._resource,
                attributes={"equipoise.incident": incident, **attributes},
                kind=SdkKind[kind.name],
                links=tuple(self._link(link) for link in links),
                status=Status(StatusCode.ERROR, failure) if failure else Status(),
                start_time=begin_wall_us * NANOSECONDS_PER_US,
                end_time=max(begin_wall_us, end_wall_us) * NANOSECONDS_PER_US,
            )
        )

    def record_hop(self, hop: Hop) -> None:
        """Record the bus's own part in the way of something that we said of an incident."""
        _, trace_id, parent, _ = hop.traceparent.split("-")
        incident = self._incidents.get(trace_id)
        if incident is None:
            return
        self._processor.on_end(
            ReadableSpan(
                f"deliver {hop.subject}",
                context=_context(trace_id, f"hop/{hop.subject}/{hop.begin_wall_us}"),
                parent=_context_of(trace_id, parent),
                # The server is a service of its own; it cannot export spans itself.
                resource=Resource.create(
                    {
                        "service.name": "nats",
                        "service.namespace": self._cluster,
                        "service.instance.id": hop.server,
                    }
                ),
                attributes={
                    "equipoise.incident": incident,
                    "equipoise.receivers": hop.receivers,
                    "messaging.system": "nats",
                    "messaging.destination.name": hop.subject,
                    "messaging.message.envelope.size": hop.size,
                },
                kind=SdkKind.CONSUMER,
                start_time=hop.begin_wall_us * NANOSECONDS_PER_US,
                end_time=max(hop.begin_wall_us, hop.end_wall_us) * NANOSECONDS_PER_US,
            )
        )

    def _link(self, link: Link) -> SdkLink:
        return SdkLink(_context(trace_id_of(self._cluster, link.incident), link.key))

    def _is_sampled(self, trace_id: str) -> bool:
        """Say whether an incident is traced: by its trace's id, so that all programs agree."""
        decided = self._sampler.should_sample(None, int(trace_id, 16), "incident")
        return decided.decision is not Decision.DROP

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
    return _context_of(trace_id, span_id_of(trace_id, key))


def _context_of(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(
        trace_id=int(trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _version() -> str:
    try:
        return version("equipoise")
    except PackageNotFoundError:
        return "unknown"  # a checkout that is not installed
