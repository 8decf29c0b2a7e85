"""What a heartbeat measures: beats out, beats in, and what was not believed."""

from collections.abc import Iterator, Mapping

from services.heartbeat.core.beats import State
from services.heartbeat.core.datagram import Rejection
from shared.instant import SECOND, Instant
from shared.measures import Measure, counter, gauge

SENT = counter("heartbeats_sent_total", "Beats sent: on the bus, and to each member by UDP.", "way")
RECEIVED = counter(
    "heartbeats_received_total", "Signed beats that a member was heard by directly.", "node"
)
REJECTED = counter(
    "heartbeats_rejected_total", "Datagrams that were not believed, by reason.", "reason"
)
SILENCE = gauge(
    "heartbeat_silence_seconds",
    "Since a member was last heard directly, by UDP; missing until it was.",
    "observer",
    "node",
)
METRICS = (SENT, RECEIVED, REJECTED, SILENCE)


def measures(
    state: State | None, said: int, received: Mapping[str, int], now: Instant
) -> Iterator[Measure]:
    """Return the counts of this process, and how long its peers are silent."""
    beats = 0 if state is None else state.sequence
    yield SENT.of({("bus",): said, ("udp",): beats})
    if state is None:
        return
    yield RECEIVED.of({(name,): received.get(name, 0) for name in state.peers})
    yield REJECTED.of({(kind.value,): state.rejected.get(kind.value, 0) for kind in Rejection})
    yield SILENCE.of(
        {
            (state.member, name): (now - peer.heard_at) / SECOND
            for name, peer in state.peers.items()
            if peer.heard_at is not None
        }
    )
