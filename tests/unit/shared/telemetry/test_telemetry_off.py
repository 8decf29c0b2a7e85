"""Telemetry that is off; apart from its neighbours because importing this imports nothing more."""

import asyncio
import sys
from types import FrameType

from shared.clock import SystemClock
from shared.log import Logger
from shared.telemetry import Recorder, Telemetry, start


def spans_off() -> Telemetry:
    """Start without an endpoint, record, leave."""
    clock = SystemClock()
    recorder = Recorder(program="arbiter", cluster="pair", member="node-a")
    spans = start(recorder, None, environ={}, clock=clock, log=Logger(print, clock=clock))
    record(spans)
    asyncio.run(spans.close())
    return spans


def record(spans: Telemetry) -> None:
    spans.record(
        name="n", incident="i", begin_wall_us=1, end_wall_us=2, parent=None, key="k", attributes={}
    )


def test_recording_does_nothing_at_all() -> None:
    spans = spans_off()
    assert not spans.enabled
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_call"):
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        record(spans)
    finally:
        sys.setprofile(None)
    # Ours, the empty method, and the end of the profile.
    assert called[:2] == ["record", "Telemetry.record"]
    assert len(called) == 3
