"""Plays messages to a console's core, at times that a test chooses."""

from itertools import count

from services.console.core.state import State
from services.console.core.view import Heard, Past, Tick, decide, start
from shared.cluster import Cluster
from shared.instant import SECOND
from shared.messages.codec import Envelope
from shared.messages.table import Message
from tests.fakes.situations import heartbeat, measured, shop, situation

START = 1_000 * SECOND
_ids = count()


def begun(cluster: Cluster | None = None) -> State:
    """Return a console that knows nothing."""
    return start(
        cluster or shop(),
        member="node-a",
        version="1.2.3",
        trace_ui="http://jaeger/trace/{trace_id}",
        now=START,
    )


def said(
    message: Message,
    *,
    by: str = "witness/arbiter",
    time: str = "2026-11-19T04:12:08.000Z",
    name: str = "",
) -> Heard:
    """Return a message as it comes from the bus."""
    envelope = Envelope(
        id=name or f"id-{next(_ids)}", source=f"/shop/{by}", cluster="shop", time=time
    )
    return Heard(message=message, envelope=envelope)


def after(state: State, *messages: Message | Heard, at: int = START) -> State:
    """Return what is known after some messages."""
    for message in messages:
        heard = message if isinstance(message, Heard) else said(message)
        state, _ = decide(state, heard, at)
    return state


def filled(state: State, *past: Heard) -> State:
    """Return what is known after the past was read."""
    state, _ = decide(state, Tick(bus=True), START)
    state, _ = decide(state, Past(heard=past, done=True), START)
    return state


def well(*, at: int = START) -> State:
    """Return what is known of a cluster that is well."""
    state = filled(begun())
    beats = [heartbeat(name) for name in ("node-a", "node-b", "witness")]
    reports = [measured(name) for name in ("node-a", "node-b")]
    return after(state, situation(), *reports, *beats, at=at)
