"""Traces: every incident is one trace, in which every program's part is found.

The trace's id is derived from the incident's, and a span's id from its key, so every program joins
the trace without passing anything on, and spans may be recorded in any order, complete and
back-dated. Without an endpoint nothing is recorded and OpenTelemetry is not even imported; where
there is one, `shared.telemetry.otlp` is the only module that knows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from shared.bus.hops import Hop
from shared.clock import Clock
from shared.errors import ConfigError
from shared.log import Log
from shared.messages.facts import Incident
from shared.messages.table import Message
from shared.messages.traffic import Command
from shared.telemetry import variables
from shared.trace import SpanKind

Attribute: TypeAlias = str | int | float | bool

ROOT_KEY = "incident"  # the key of the span that covers the whole incident


def incident_of(message: Message) -> str | None:
    """Return the incident that a message is about, as far as it says."""
    subject: object = message
    if isinstance(message, Command):
        subject = message.plan
    incident = getattr(subject, "incident", None)
    return incident.id if isinstance(incident, Incident) else incident


@dataclass(frozen=True, slots=True)
class Link:
    """Another span that has to do with one, without being its parent."""

    incident: str
    key: str = ROOT_KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Who records."""

    program: str
    cluster: str
    member: str


def messaging(operation: str, cluster: str, subject: str, node: str) -> dict[str, Attribute]:
    """Return what the semantic conventions want of a span about a message to a node."""
    return {
        "messaging.system": "nats",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": f"equipoise.{cluster}.{subject}.{node}",
        "messaging.destination.template": f"equipoise.{cluster}.{subject}.{{node}}",
    }


class Telemetry:
    """Records spans; this one is off and costs nothing."""

    enabled = False

    def traceparent_of(self, message: Message, subject: str) -> str | None:
        """Return the W3C trace context of a message about an incident; None: no trace."""
        _ = message, subject
        return None

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
        """Record a complete span of an incident's trace; never waits.

        `key` names the span within the trace (`switch/node-a`), `parent` is another span's key or
        None for the root, whose key is `ROOT_KEY`; `failure` says what went wrong in it.
        """

    def record_hop(self, hop: Hop) -> None:
        """Record the bus's own part in the way of something that we said of an incident."""

    async def close(self) -> None:
        """Export what is queued, for as long as a restart may wait."""


def start(
    recorder: Recorder, endpoint: str | None, *, environ: Mapping[str, str], clock: Clock, log: Log
) -> Telemetry:
    """Return a program's telemetry: on if there is an endpoint; `OTEL_*` variables win.

    What the variables say wrong is said in the log, and nothing is traced: no service may stop
    serving for the sake of its traces.
    """
    try:
        wanted = variables.read(endpoint, environ)
        if wanted is None:
            return Telemetry()
        # Here, because it costs 0.3 s and 15 MB that only those pay who want traces.
        from shared.telemetry.otlp import OtlpTelemetry  # noqa: PLC0415

        return OtlpTelemetry(
            recorder, wanted.url, ratio=wanted.ratio, environ=environ, clock=clock, log=log
        )
    except (ConfigError, ValueError) as error:
        log.warning("traces_off", because=str(error))
        return Telemetry()
