"""What a heartbeat counts, and what makes it say that it is not ready."""

from services.heartbeat.core.beats import Ignored, State, Woke, decide, start
from services.heartbeat.core.datagram import Rejection
from services.heartbeat.core.measures import measures
from services.heartbeat.core.readiness import MISSED_MAX, readiness
from shared.health import is_well
from shared.instant import SECOND
from tests.unit.arbiter.play import cluster_of

NOW = 1_000 * SECOND


def beating() -> State:
    """Return a heartbeat that has beaten once."""
    state, _ = start(cluster_of(), "node-a", "b" * 16, NOW)
    state, _ = decide(state, Woke(), NOW)
    return state


def test_beats_are_counted_by_their_way_and_peers_by_name() -> None:
    state, _ = decide(beating(), Ignored(Rejection.STRANGER), NOW)
    found = {
        one.name: one.samples for one in measures(state, 0, {"node-b": 7, "somebody-else": 9}, NOW)
    }
    assert found["heartbeats_sent_total"] == {("bus",): 0, ("udp",): 1}
    assert found["heartbeats_received_total"] == {("node-b",): 7, ("witness",): 0}
    assert found["heartbeats_rejected_total"][Rejection.STRANGER.value,] == 1
    assert found["heartbeats_rejected_total"].keys() == {(kind.value,) for kind in Rejection}
    assert found["heartbeat_silence_seconds"] == {}


def test_a_heartbeat_that_misses_its_beats_is_not_ready() -> None:
    state = beating()
    late_us = MISSED_MAX * state.every_us
    assert is_well(readiness(state, state.beat_at + late_us))
    assert not is_well(readiness(state, state.beat_at + late_us + 1))
    assert not is_well(readiness(None, NOW))
