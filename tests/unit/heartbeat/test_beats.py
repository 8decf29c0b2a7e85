"""When to beat and whom to believe."""

from dataclasses import replace

from services.heartbeat.core.beats import (
    CLAIMS_MAX,
    ECHO_WINDOW,
    PAUSE_US,
    Action,
    Event,
    Heard,
    Ignored,
    Say,
    Send,
    State,
    Wake,
    Woke,
    decide,
    start,
)
from services.heartbeat.core.datagram import Datagram, Echo, Rejection
from shared.cluster import Cluster, FailbackMode, HeartbeatSettings, Node, Policy
from shared.company import companions
from shared.instant import MILLISECOND, SECOND
from shared.messages.health import Heartbeat, Presence

EVERY = 50 * MILLISECOND
OURS, THEIRS, LATER, OLD = "aa" * 8, "bb" * 8, "cc" * 8, "dd" * 8

CLUSTER = Cluster(
    name="shop",
    nodes={name: Node(name=name, address=f"127.0.0.{i}") for i, name in ((1, "a"), (2, "b"))},
    witness=Node(name="witness", address="127.0.0.3"),
    services={},
    heartbeat=HeartbeatSettings(every_us=EVERY, port=7400),
    policy=Policy(
        failback=FailbackMode.AUTOMATIC,
        after_us=SECOND,
        forget_us=SECOND,
        ramp_us=SECOND,
        drain_us=SECOND,
        moves_max=3,
        moves_window_us=SECOND,
        override_max_us=SECOND,
    ),
    bus_servers=(),
    configuration="c0ffee",
)


class Member:
    """Plays one member by hand."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND
        self.state, self.done = start(CLUSTER, "a", OURS, self.now)

    def on(self, event: Event, after_us: int = 0) -> tuple[Action, ...]:
        self.now += after_us
        self.state, self.done = decide(self.state, event, self.now)
        return self.done

    def beat(self, late_us: int = 0) -> Heartbeat:
        self.now = max(self.now, self.state.beat_at)
        self.on(Woke(), late_us)
        (beat,) = (said for said in self.says() if isinstance(said, Heartbeat))
        return beat

    def says(self) -> list[Heartbeat | Presence]:
        return [action.message for action in self.done if isinstance(action, Say)]

    def hear(
        self, boot_id: str, sequence: int, *echoes: Echo, after_us: int = 1_000
    ) -> dict[str, int]:
        """Hear a beat of b, and return what that changed in the counts."""
        before = dict(self.state.rejected)
        self.on(Heard(self.from_b(boot_id, sequence, *echoes)), after_us)
        return {
            kind: count - before.get(kind, 0)
            for kind, count in self.state.rejected.items()
            if count != before.get(kind, 0)
        }

    def from_b(self, boot_id: str, sequence: int, *echoes: Echo) -> Datagram:
        return Datagram(sender="b", receiver="a", boot_id=boot_id, sequence=sequence, echoes=echoes)

    def echo(self) -> Echo:
        return Echo(OURS, self.state.sequence)

    def to(self, peer: str) -> Datagram:
        (sent,) = (
            action.datagram
            for action in self.done
            if isinstance(action, Send) and action.datagram.receiver == peer
        )
        return sent


def member_that_hears_b() -> Member:
    member = Member()
    member.beat()
    assert member.hear(THEIRS, 10, member.echo()) == {}
    return member


def test_the_first_beat_is_due_at_once_and_goes_to_every_member() -> None:
    member = Member()
    assert member.done == (Wake(member.now),)
    beat = member.beat()
    assert (beat.node, beat.boot_id, beat.sequence, beat.configuration) == ("a", OURS, 1, "c0ffee")
    assert member.to("b").sequence == member.to("witness").sequence == 1
    assert member.done[-1] == Wake(member.now + EVERY)


def test_a_late_beat_does_not_shift_the_next_ones() -> None:
    member = Member()
    member.beat()
    due = member.state.beat_at
    assert member.beat(late_us=7_000).late_us == 7_000
    assert member.state.beat_at == due + EVERY


def test_missed_beats_are_not_made_up_for() -> None:
    member = Member()
    member.beat()
    due = member.state.beat_at
    assert member.beat(late_us=10 * EVERY + 1).sequence == 2
    assert member.state.beat_at == due + 11 * EVERY


def test_waking_too_early_beats_nothing() -> None:
    member = Member()
    member.beat()
    assert member.on(Woke(), 1_000) == (Wake(member.state.beat_at),)


def test_a_peer_is_heard_once_it_echoes_our_boot() -> None:
    member = Member()
    member.beat()
    assert member.hear(THEIRS, 10) == {"unproven": 1}
    assert member.beat().hears_us == {}
    assert member.to("b").echoes == (Echo(THEIRS, 10),)
    member.hear(THEIRS, 11, Echo(OURS, 2))
    assert member.beat().hears_us == {"b": EVERY - 1_000}


def test_two_members_that_start_believe_each_other_within_three_beats() -> None:
    a = Member()
    b_state, _ = start(CLUSTER, "b", THEIRS, a.now)
    for _ in range(3):
        a.beat()
        b_state, actions = decide(b_state, Woke(), a.now)
        sent = [
            action.datagram
            for action in actions
            if isinstance(action, Send) and action.datagram.receiver == "a"
        ]
        to_b = a.to("b")
        for datagram in sent:
            a.on(Heard(datagram))
        b_state, _ = decide(b_state, Heard(to_b), a.now)
    assert a.state.peers["b"].boot_id == THEIRS
    assert b_state.peers["a"].boot_id == OURS


def test_a_recording_is_ignored_after_our_own_restart() -> None:
    member = Member()
    member.beat()
    for sequence in range(100, 160):
        # Of an earlier boot of ours, which was as old then as this one is now.
        assert member.hear(OLD, sequence, Echo("ee" * 8, member.state.sequence)) == {"unproven": 1}
        member.beat()
    assert member.beat().hears_us == {}


def test_a_beat_counts_once_and_only_upwards() -> None:
    member = member_that_hears_b()
    heard_at = member.state.peers["b"].heard_at
    assert member.hear(THEIRS, 10, member.echo()) == {"replayed": 1}
    assert member.hear(THEIRS, 9, member.echo()) == {"replayed": 1}
    assert member.state.peers["b"].heard_at == heard_at
    assert member.hear(THEIRS, 12) == {}


def test_a_restarted_peer_is_heard_again_and_its_old_boot_never_more() -> None:
    member = member_that_hears_b()
    fresh = member.echo()
    member.hear(LATER, 1)
    member.beat()
    assert Echo(LATER, 1) in member.to("b").echoes
    assert member.hear(LATER, 2, member.echo()) == {}
    assert member.hear(THEIRS, 11, fresh) == {"replayed": 1}
    assert member.state.peers["b"].boot_id == LATER


def test_a_recording_of_a_boot_long_forgotten_has_no_fresh_echo() -> None:
    member = member_that_hears_b()
    stale = member.echo()
    for _ in range(ECHO_WINDOW + 1):
        member.beat()
    assert member.hear(OLD, 5, stale) == {"unproven": 1}
    assert member.state.peers["b"].boot_id == THEIRS


def test_an_echo_of_a_beat_that_we_have_not_sent_proves_nothing() -> None:
    member = Member()
    member.beat()
    assert member.hear(THEIRS, 1, Echo(OURS, 2)) == {"unproven": 1}


def test_recordings_do_not_crowd_out_the_claim_of_a_real_restart() -> None:
    member = member_that_hears_b()
    for number in range(CLAIMS_MAX - 1):
        member.hear(f"{number:016x}", 1)
    member.hear(LATER, 1)
    for number in range(CLAIMS_MAX - 1):
        member.hear(f"{number:016x}", 2)
    member.beat()
    assert Echo(LATER, 1) in member.to("b").echoes


def test_claims_are_bounded() -> None:
    member = member_that_hears_b()
    for number in range(100):
        member.hear(f"{number:016x}", 1)
    assert len(member.state.peers["b"].claims) == CLAIMS_MAX
    member.beat()
    assert Echo(THEIRS, 10) in member.to("b").echoes


def test_beats_that_are_not_for_us_are_counted_by_kind() -> None:
    member = Member()
    beat = member.from_b(THEIRS, 1)
    member.on(Heard(replace(beat, sender="a")))
    member.on(Heard(replace(beat, sender="nobody")))
    member.on(Heard(replace(beat, receiver="witness")))
    member.on(Ignored(Rejection.FORGED))
    member.on(Ignored(Rejection.FORGED))
    assert member.beat().rejected == {"own": 1, "stranger": 1, "misdirected": 1, "forged": 2}
    assert all(peer.heard_at is None for peer in member.state.peers.values())


def test_once_a_second_a_beat_is_said_to_who_judges_nobody() -> None:
    member = Member()
    for _ in range(3):
        newest = [member.beat() for _ in range(SECOND // EVERY)][-1]
        assert member.says() == [newest, Presence(beat=newest)]
        member.beat()
        assert len(member.says()) == 1
        for _ in range(SECOND // EVERY - 1):
            member.beat()


def test_a_beat_counts_from_when_it_came_not_from_when_it_was_read() -> None:
    member = member_that_hears_b()
    sequence = member.state.peers["b"].highest + 1
    member.on(Heard(member.from_b(THEIRS, sequence), 30 * MILLISECOND), EVERY)
    assert member.state.peers["b"].heard_at == member.now - 30 * MILLISECOND


def test_what_waited_in_the_socket_during_a_pause_is_dated_back() -> None:
    member = member_that_hears_b()
    asleep_at = member.now
    member.hear(THEIRS, 11, after_us=60 * SECOND)
    assert member.state.peers["b"].heard_at == asleep_at


def test_it_is_dated_back_even_if_the_timer_is_served_first() -> None:
    member = member_that_hears_b()
    asleep_at = member.now
    member.beat(late_us=60 * SECOND)
    member.hear(THEIRS, 11)
    assert member.state.peers["b"].heard_at == asleep_at


def test_a_beat_after_the_pause_is_fresh_again() -> None:
    member = member_that_hears_b()
    member.beat(late_us=60 * SECOND)
    member.beat()
    member.hear(THEIRS, 11)
    assert member.state.peers["b"].heard_at == member.now


def test_a_late_loop_is_no_pause() -> None:
    member = member_that_hears_b()
    member.hear(THEIRS, 11, after_us=PAUSE_US)
    assert member.state.peers["b"].heard_at == member.now


def test_the_state_does_not_grow() -> None:
    member = member_that_hears_b()
    for number in range(50):
        boot_id = f"{number:016x}"
        member.hear(boot_id, 1)
        member.beat()
        member.hear(boot_id, 2, member.echo())
    peer = member.state.peers["b"]
    assert isinstance(member.state, State)
    assert len(peer.superseded) <= 8
    assert len(peer.claims) <= CLAIMS_MAX


def test_in_a_large_cluster_a_member_beats_to_its_company_alone() -> None:
    nodes = {f"n{k}": Node(name=f"n{k}", address=f"127.0.1.{k}") for k in range(1, 31)}
    large = replace(CLUSTER, nodes=nodes)
    state, _ = start(large, "n7", OURS, 1_000 * SECOND)
    _, actions = decide(state, Woke(), 1_000 * SECOND)
    told = sorted(action.datagram.receiver for action in actions if isinstance(action, Send))
    assert told == list(companions(large, "n7"))
    assert len(told) < len(nodes)
