"""Which silences make a node suspect or dead, and which do not."""

from services.arbiter.core.detection import patience_us
from services.arbiter.core.situation import situation
from services.arbiter.core.state import State, Tick
from shared.cluster import LEASE_SHORTEST_US
from shared.frozen import replace
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.facts import NodeBelief, NodeChanged, NodeState
from shared.messages.health import Grade, Heartbeat, Sign, Verdict
from shared.messages.leases import LeaseBeat
from shared.rules import Admission
from tests.unit.arbiter.play import Play, cluster_of, evidence

UP, SUSPECT, DEAD, UNKNOWN = NodeState.UP, NodeState.SUSPECT, NodeState.DEAD, NodeState.UNKNOWN
BEATS_US = 150 * MILLISECOND  # three


def belief(play: Play, name: str = "node-b") -> NodeBelief:
    """Return what is believed of a member."""
    return situation(play.state, play.now).nodes[name]


def turns(play: Play, name: str = "node-b") -> list[NodeState]:
    """Return what was said of a member's state, in order."""
    return [e.after for e in play.said if isinstance(e, NodeChanged) and e.node == name]


def quick() -> Play:
    """Return a play with the shortest leases, so that three beats are what counts."""
    cluster = cluster_of()
    heartbeat = replace(cluster.heartbeat, lease_us=LEASE_SHORTEST_US)
    return Play(cluster=replace(cluster, heartbeat=heartbeat))


def took_us(play: Play, since: int, after: NodeState, name: str = "node-b") -> Duration:
    """Return how long after a moment a member was first called so."""
    return next(
        at - since
        for at, each in play.timed
        if isinstance(each, NodeChanged)
        if at >= since and (each.node, each.after) == (name, after)
    )


def lengthened(state: State, node: str, length_us: Duration) -> State:
    """Return the state with longer leases of one node."""
    lessee = replace(state.ledger.lessees[node], length_us=length_us)
    lessees = {**state.ledger.lessees, node: lessee}
    return replace(state, ledger=replace(state.ledger, lessees=lessees))


def test_a_node_that_nobody_hears_is_suspect_after_three_beats() -> None:
    play = quick()
    heard_at = play.state.members["node-b"].bus_at
    assert heard_at is not None
    play.lose("node-b")
    play.pass_by(400 * MILLISECOND)
    assert BEATS_US <= took_us(play, heard_at, SUSPECT) <= BEATS_US + 60 * MILLISECOND


def test_a_suspect_is_dead_when_its_leases_have_certainly_ended() -> None:
    play = Play()
    heard_at = play.state.members["node-b"].bus_at
    assert heard_at is not None
    play.lose("node-b")
    play.pass_by(2 * SECOND)
    assert turns(play)[-2:] == [SUSPECT, DEAD]
    assert took_us(play, heard_at, DEAD) > play.state.ledger.lessees["node-b"].length_us


def test_a_long_lease_makes_patient() -> None:
    play = Play()
    play.state = lengthened(play.state, "node-b", 900 * MILLISECOND)
    assert patience_us(play.state, play.state.members["node-b"]) == 600 * MILLISECOND
    play.lose("node-b")
    play.pass_by(500 * MILLISECOND)
    assert belief(play).state is UP
    play.pass_by(200 * MILLISECOND)
    assert belief(play).state is SUSPECT
    assert "2/3 of its lease are 600 ms" in belief(play).signals[0]


def test_whoever_is_heard_by_udp_is_not_suspect_and_its_signals_say_so() -> None:
    play = Play()
    play.mute.add("node-b")
    play.pass_by(10 * SECOND)
    assert belief(play).state is UP
    assert "silent on the bus for" in belief(play).signals[0]
    expected = "heard by UDP by node-a and witness: only its way to the bus is gone"
    assert expected in belief(play).signals


def test_one_member_that_hears_it_outvotes_all_that_do_not() -> None:
    play = Play(cluster=cluster_of(nodes=4))
    play.lose("node-b")
    play.mute.add("node-d")
    play.dark.clear()
    for _ in range(50):
        play.pass_by(40 * MILLISECOND)
        hears = play.heartbeat("node-d")
        play.tell(replace(hears, hears_us={**hears.hears_us, "node-b": 10 * MILLISECOND}))
    assert belief(play).state is UP


def test_a_switcher_that_beats_keeps_its_node_alive() -> None:
    play = Play()
    play.lose("node-b")
    for number in range(1, 100):
        play.pass_by(40 * MILLISECOND)
        play.tell(LeaseBeat(node="node-b", incarnation="i", number=number, epoch=1, vips={}))
    assert belief(play).state is UP


def test_a_member_whose_own_loop_is_late_cannot_vouch_for_silence_yet() -> None:
    play = Play()
    play.late = {"node-a": 200 * MILLISECOND, "witness": 200 * MILLISECOND}
    play.lose("node-b")
    play.pass_by(250 * MILLISECOND)
    assert belief(play).state is UP
    play.pass_by(250 * MILLISECOND)
    assert play.state.members["node-b"].is_lost


def test_a_bus_that_is_away_accuses_nobody() -> None:
    play = Play()
    play.mute = {"node-a", "node-b", "witness"}
    play.pass_by(10 * SECOND)
    assert {belief(play, name).state for name in play.cluster.members} == {UNKNOWN}
    assert set(play.admissions().values()) == {Admission.SERVING}
    play.mute = {"node-b"}
    play.pass_by(SECOND)
    assert belief(play).state is not SUSPECT
    play.mute = set()
    play.pass_by(SECOND)
    assert {belief(play, name).state for name in play.cluster.members} == {UP}


def test_a_bus_that_goes_away_does_not_accuse_whose_heartbeat_stands() -> None:
    play = Play()
    play.unheard = {"node-b"}
    play.pass_by(SECOND)
    play.mute = {"node-a", "node-b", "witness"}
    play.pass_by(5 * SECOND)
    assert SUSPECT not in turns(play)


def test_our_own_pause_is_nobodys_silence() -> None:
    play = Play()
    play.now += 400 * MILLISECOND
    play.tell(Tick(wall_us=play.wall_us + play.now))
    play.tell(play.heartbeat("node-a"))
    play.tell(Tick(wall_us=play.wall_us + play.now))
    assert SUSPECT not in turns(play)


def test_where_udp_never_worked_its_silence_says_nothing() -> None:
    play = Play()
    play.unheard = {"node-b"}
    play.spoke_at.clear()
    play.boots = {"node-a": "b2", "witness": "b2"}
    play.pass_by(3 * SECOND)
    play.mute = {"node-b"}
    play.pass_by(SECOND)
    assert belief(play).state is UP
    assert "nobody can say whether it is silent by UDP" in belief(play).signals


def test_whoever_is_heard_but_answers_no_peer_is_suspect_as_well() -> None:
    play = Play(cluster=cluster_of(nodes=3))
    play.mute.add("node-b")
    play.dark.add("node-b")
    play.pass_by(2 * SECOND)
    assert belief(play).state is SUSPECT
    assert any("every probe of shop by node-a and node-c fails" in s for s in belief(play).signals)


def test_whoever_answers_a_peers_probe_is_suspect_and_not_dead() -> None:
    play = Play()
    play.lose("node-b")
    play.dark.clear()
    play.pass_by(5 * SECOND)
    assert belief(play).state is SUSPECT
    assert any("shop has answered node-a since then" in s for s in belief(play).signals)


def test_an_answer_from_before_the_silence_saves_nobody() -> None:
    play = Play()
    play.lose("node-b")
    play.sequence += 1
    old = evidence("node-a", "shop", "node-b", sequence=play.sequence)
    play.tell(replace(old, age_us=SECOND))
    play.pass_by(900 * MILLISECOND)
    assert belief(play).state is DEAD


def test_the_witness_can_be_suspect_and_nothing_moves() -> None:
    play = Play()
    before = play.plan
    play.lose("witness")
    play.pass_by(5 * SECOND)
    assert turns(play, "witness")[-2:] == [SUSPECT, DEAD]
    assert play.plan.services == before.services
    assert not play.state.cases


def test_an_old_beat_is_no_sign_of_life() -> None:
    play = Play()
    old = play.heartbeat("node-b")
    play.lose("node-b")
    for _ in range(40):
        play.pass_by(20 * MILLISECOND)
        play.tell(old)
    assert belief(play).state is DEAD


def test_a_beat_of_an_earlier_boot_is_no_sign_of_life() -> None:
    play = Play()
    old = replace(play.heartbeat("node-b"), sequence=play.now * 2)
    play.boots["node-b"] = "b2"
    play.pass_by(SECOND)
    play.lose("node-b")
    for k in range(40):
        play.pass_by(20 * MILLISECOND)
        play.tell(replace(old, sequence=old.sequence + k))
    assert belief(play).state is DEAD


def test_whoever_was_never_heard_in_a_new_cluster_is_not_missed() -> None:
    play = Play()
    play.lose("node-b")
    again = Play(mute={"node-b"}, unheard={"node-b"}, dark={"node-b"}, deaf={"node-b"})
    again.pass_by(20 * SECOND)
    assert belief(again).state is UNKNOWN
    assert not again.incidents_of_nodes()


def test_whoever_died_while_the_arbiter_was_away_is_missed_a_little_later() -> None:
    play = Play()
    plans = (play.plan,)
    again = Play(
        past=replace(play.past, plans=plans),
        mute={"node-b"},
        unheard={"node-b"},
        dark={"node-b"},
        deaf={"node-b"},
    )
    again.pass_by(10 * SECOND)
    assert belief(again).state in (SUSPECT, DEAD)


def test_starved_machines_are_not_accused_when_their_leases_follow_them() -> None:
    """Beats up to 96 ms late, and members whose loops are as late: nobody is suspected."""
    play = Play()
    play.state = lengthened(play.state, "node-b", 340 * MILLISECOND)
    late = [0, 96, 40, 80, 96, 10, 96]
    for k in range(200):
        play.pass_by(20 * MILLISECOND, quiet=True)
        for name in play.cluster.members:
            lateness = late[(k + len(name)) % len(late)] * MILLISECOND
            if (k + len(name)) % 6 == 0:
                play.spoke_at[name] = play.now
                play.late[name] = lateness
                play.tell(play.heartbeat(name))
    assert SUSPECT not in turns(play) + turns(play, "node-a")


def test_evidence_of_a_silence_names_who_vouches_and_what_was_measured() -> None:
    play = quick()
    play.lose("node-b")
    play.pass_by(SECOND)
    items = next(iter(play.state.cases.values())).incident.evidence
    assert items[0].observer == "witness"
    assert items[0].sign is Sign.SILENT
    assert items[0].grade is Grade.SUSPICIOUS
    assert items[0].threshold == "150 ms"
    assert {item.observer for item in items[1:3]} == {"node-a", "witness"}
    assert "all its leases have certainly ended" in items[-1].what


def test_a_member_that_is_unknown_is_ignored() -> None:
    play = Play()
    play.tell(Heartbeat(node="stranger", boot_id="b", sequence=1, configuration="c0ffee"))
    assert "stranger" not in play.state.members


def test_a_probe_that_is_bad_and_one_that_is_well_prove_nothing() -> None:
    play = Play(cluster=cluster_of(nodes=3))
    play.mute.add("node-b")
    for _ in range(20):
        play.pass_by(40 * MILLISECOND)
        play.sequence += 1
        play.tell(
            evidence(
                "node-a",
                "shop",
                "node-b",
                verdict=Verdict.UNHEALTHY,
                grade=Grade.SUSPICIOUS,
                sign=Sign.TIMEOUT,
                sequence=play.sequence,
            )
        )
    assert belief(play).state is UP
