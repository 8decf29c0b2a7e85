"""Spans of an incident's trace, from a core's instants to the time of day."""

from services.traffic_switcher.core.state import Trace
from shared.runtime import Base


def record(base: Base, trace: Trace) -> None:
    """Record a span."""
    wall_offset_us = base.clock.wall() - base.clock.now()
    base.telemetry.record(
        name=trace.name,
        incident=trace.incident,
        begin_wall_us=trace.begin_at + wall_offset_us,
        end_wall_us=trace.end_at + wall_offset_us,
        parent=trace.parent,
        key=trace.key,
        attributes=trace.attributes,
    )
