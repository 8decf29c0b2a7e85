"""Spans of an incident's trace, from a core's instants to the time of day."""

from services.traffic_switcher.core.state import Trace
from shared.runtime import Base
from shared.telemetry import Attribute, Link, messaging
from shared.trace import SpanKind


def record(base: Base, trace: Trace) -> None:
    """Record a span."""
    wall_offset_us = base.clock.wall() - base.clock.now()
    attributes: dict[str, Attribute] = {
        f"equipoise.{name}": value for name, value in trace.attributes.items()
    }
    if trace.kind is SpanKind.CONSUMER:
        cluster, member = base.settings.cluster.name, base.settings.member
        attributes |= messaging("process", cluster, "command", member)
    base.telemetry.record(
        name=trace.name,
        incident=trace.incident,
        begin_wall_us=trace.begin_at + wall_offset_us,
        end_wall_us=trace.end_at + wall_offset_us,
        parent=trace.parent,
        key=trace.key,
        attributes=attributes,
        kind=trace.kind,
        links=(Link(trace.incident, trace.link),) if trace.link else (),
    )
