"""Whatever arrives: whom a heartbeat never believes."""

from hypothesis import given, settings, strategies as st

from services.heartbeat.core.beats import (
    CLAIMS_MAX,
    SUPERSEDED_MAX,
    Heard,
    Send,
    State,
    Woke,
    decide,
    start,
)
from services.heartbeat.core.datagram import Datagram, Rejection, unseal
from shared.instant import MILLISECOND
from tests.unit.heartbeat.test_beats import CLUSTER

EVERY = CLUSTER.heartbeat.every_us


class Life:
    """One run of a member's process."""

    def __init__(self, member: str, number: int, now: int) -> None:
        self.boot_id = f"{member.encode()[0]:02x}{number:014x}"
        self.state, _ = start(CLUSTER, member, self.boot_id, now)

    def beat(self, now: int) -> list[Datagram]:
        self.state, actions = decide(self.state, Woke(), now)
        return [action.datagram for action in actions if isinstance(action, Send)]

    def hear(self, datagram: Datagram, now: int) -> None:
        self.state, _ = decide(self.state, Heard(datagram), now)


STEPS = st.lists(
    st.one_of(
        st.just("beat"),
        st.just("a to b"),
        st.just("b to a"),
        st.just("restart a"),
        st.just("restart b"),
        st.integers(min_value=0, max_value=400),  # which recorded beat is replayed
    ),
    max_size=120,
)


class Pair:
    """Two members, what is between them, and somebody who records."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.lives = 0
        self.a, self.b = Life("a", 0, self.now), Life("b", 0, self.now)
        self.recorded: list[Datagram] = []

    def play(self, step: str | int) -> None:
        self.lives += 1
        match step:
            case int():
                self.replay(step)
            case "restart a":
                self.a = Life("a", self.lives, self.now)
            case "restart b":
                self.b = Life("b", self.lives, self.now)
            case _:
                self.beat(lost=step)

    def replay(self, index: int) -> None:
        """Say again to a what b said once, and check that it does not count."""
        if self.recorded:
            before = self.a.state.peers["b"]
            self.a.hear(self.recorded[index % len(self.recorded)], self.now)
            after = self.a.state.peers["b"]
            assert after.boot_id == before.boot_id
            assert after.highest == before.highest
            assert after.heard_at == before.heard_at

    def beat(self, lost: str = "") -> None:
        self.now += EVERY + MILLISECOND
        to_b = [each for each in self.a.beat(self.now) if each.receiver == "b"]
        to_a = [each for each in self.b.beat(self.now) if each.receiver == "a"]
        if lost != "a to b":
            for datagram in to_b:
                self.b.hear(datagram, self.now)
        if lost != "b to a":
            # What is lost is not recorded: a beat that is held back is not defended against.
            for datagram in to_a:
                self.recorded.append(datagram)
                self.a.hear(datagram, self.now)
        bounded(self.a.state)
        bounded(self.b.state)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_only_the_living_are_heard(steps: list[str | int]) -> None:
    """Replays of all that was ever sent make no dead or older life count; the living are heard."""
    pair = Pair()
    for step in steps:
        pair.play(step)
    for _ in range(4):
        pair.beat()
    assert pair.a.state.peers["b"].boot_id == pair.b.boot_id
    assert pair.b.state.peers["a"].boot_id == pair.a.boot_id
    assert pair.a.state.peers["b"].heard_at == pair.now


def bounded(state: State) -> None:
    for peer in state.peers.values():
        assert len(peer.claims) <= CLAIMS_MAX
        assert len(peer.superseded) <= SUPERSEDED_MAX
    assert set(state.rejected) <= set(Rejection)


@given(st.binary(max_size=400))
def test_any_bytes_are_answered_by_a_rejection(payload: bytes) -> None:
    assert isinstance(unseal(payload, cluster="shop", key=b"key"), Rejection)
    framed = unseal(b"EQB\x01" + payload, cluster="shop", key=b"key")
    assert isinstance(framed, Rejection)
