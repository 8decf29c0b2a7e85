"""Whether this heartbeat beats."""

from services.heartbeat.core.beats import State
from shared.health import Check
from shared.instant import SECOND, Instant, milliseconds

MISSED_MAX = 10  # beats in a row: whoever listens takes us for lost by then


def readiness(state: State | None, now: Instant) -> tuple[Check, ...]:
    """Return what must be so for others to hear us; whom we hear is their own readiness."""
    if state is None:
        return (Check(name="beats", failure="the first beat has not been sent yet"),)
    late_us = now - state.beat_at
    if late_us > MISSED_MAX * state.every_us:
        text = f"the next beat is {milliseconds(late_us):.0f} ms late: this machine is starved"
        return (Check(name="beats", failure=text),)
    fresh = now - SECOND
    heard = sum(
        peer.heard_at is not None and peer.heard_at > fresh for peer in state.peers.values()
    )
    return (Check(name="beats", note=f"hears {heard} of {len(state.peers)} members directly"),)
