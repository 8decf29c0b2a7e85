"""Where virtual IPs go when a node cannot hold them, and what must not move them."""

from dataclasses import replace

from services.arbiter.core import wakes_at
from services.arbiter.core.leases import bound_us, end_of
from services.arbiter.core.placing import FIRST_START_US
from services.arbiter.core.readiness import readiness
from services.arbiter.core.situation import situation
from services.arbiter.core.state import Tick
from shared.cluster import LEASE_LONGEST_US
from shared.instant import MILLISECOND, SECOND
from shared.messages.facts import (
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    VipState,
)
from shared.messages.health import Heartbeat
from shared.messages.leases import ClaimSeen, Grant, Held, Holding
from shared.messages.traffic import Plan
from shared.rules import Admission
from tests.unit.arbiter.leasing import AT_HOME, LEASE_US, Switcher, VipPlay, cluster_with

A, B, C = "node-a", "node-b", "node-c"


def moved_after(play: VipPlay, to: str, vip: str = "web", within: int = 5 * SECOND) -> int:
    """Let time pass until a VIP is really held elsewhere, and return how long that took."""
    begin = play.now
    while play.held[vip] != to:
        assert play.now - begin < within, f"{play.held} {play.belief(vip)}"
        play.pass_by(20 * MILLISECOND)
    assert not play.overlaps
    return play.now - begin


def alarms(play: VipPlay) -> tuple[str, ...]:
    """Return what somebody should look at."""
    return situation(play.state, play.now).alarms


def test_at_first_every_vip_is_taken_and_answered_at_home() -> None:
    play = VipPlay()
    assert play.held == AT_HOME
    assert {name: each.term for name, each in play.plan.vips.items()} == {
        "api": (1, 1),
        "web": (1, 1),
    }
    for name, home in AT_HOME.items():
        belief = play.belief(name)
        assert (belief.state, belief.holder, belief.waiting_for) == (VipState.HELD, home, "")
    assert play.changes() == []
    assert not play.incidents(IncidentOpened)
    assert not alarms(play)


def test_every_beat_is_answered_on_the_event() -> None:
    play = VipPlay()
    before = len(play.said)
    play.report(A)
    said = play.said[before:]
    assert [type(each) for each in said] == [Grant]
    assert isinstance(said[0], Grant)
    assert said[0].number == play.switchers[A].number


def test_a_silent_holder_is_waited_for_until_its_lease_has_certainly_ended() -> None:
    play = VipPlay()
    play.lose(A)
    took = moved_after(play, B)
    assert bound_us(LEASE_US) - 50 * MILLISECOND <= took <= bound_us(LEASE_US) + 40 * MILLISECOND
    assert play.changes() == [("web", A, B)]
    play.pass_by(200 * MILLISECOND)
    incident = next(iter(play.state.cases.values())).incident
    names = [phase.name for phase in incident.phases]
    assert names == ["detect", "lease", "decide", "switch", "verify"]
    assert [(each.vip, each.before, each.after) for each in incident.vips] == [("web", A, B)]
    assert incident.vips[0].waited_us > 0
    assert incident.state is IncidentState.HANDLED


def test_a_vip_is_granted_in_the_very_moment_in_which_the_old_lease_has_ended() -> None:
    play = VipPlay()
    play.lose(A)
    end = end_of(play.state.ledger.lessees[A], "web")
    play.pass_by(end - play.now - 30 * MILLISECOND)
    play.report(B)
    assert wakes_at(play.state, play.now) == end
    play.now = end - 1
    play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.held == {"web": None, "api": B}
    play.now = end
    play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.held["web"] == B
    assert not play.overlaps


def test_the_loss_of_a_node_is_one_incident_closed_when_its_vip_is_home_and_answered() -> None:
    play = VipPlay()
    play.lose(A)
    moved_after(play, B)
    play.pass_by(5 * SECOND)
    play.find(A)
    moved_after(play, A, within=60 * SECOND)
    assert not play.incidents(IncidentClosed)
    play.pass_by(SECOND)
    assert len(play.incidents(IncidentOpened)) == 1
    closed = play.incidents(IncidentClosed)
    assert [each.id for each in closed] == [play.incidents(IncidentOpened)[0].id]
    assert [phase.name for phase in closed[0].recovery][-2:] == ["home", "compare"]
    assert play.plan.vips["web"].previous == B
    assert play.plan.vips["web"].previous_beside == f"an address of {B}"
    assert play.plan.vips["web"].drain_us == play.cluster.policy.drain_us


def test_who_takes_over_hears_its_grant_before_the_plan_and_why_it_is_given() -> None:
    play = VipPlay()
    before = len(play.obeyed)
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    first = play.obeyed[before]
    assert isinstance(first, Grant)
    term = play.plan.vips["web"].term
    assert (first.node, first.vips["web"]) == (B, term)
    assert first.incidents == {"web": play.incidents(IncidentOpened)[0].id}
    assert play.plan in play.obeyed[before:]
    play.report(B)
    again = play.obeyed[-1]
    assert isinstance(again, Grant)
    assert (again.vips["web"], again.incidents) == (term, {})


def test_who_takes_over_from_a_silent_holder_hears_its_grant_before_the_plan() -> None:
    play = VipPlay()
    play.mute.add(A)
    moved_after(play, B)
    moved = next(
        k
        for k, each in enumerate(play.obeyed)
        if isinstance(each, Plan) and each.vips["web"].holder == B
    )
    given = [
        k
        for k, each in enumerate(play.obeyed)
        if isinstance(each, Grant) and each.node == B and "web" in each.vips
    ]
    assert given[0] < moved


def test_a_dead_load_balancer_gives_its_vip_away_at_once_and_nothing_else_moves() -> None:
    play = VipPlay()
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    assert play.holders["web"] == B
    assert play.held["web"] == B
    assert play.plan.vips["web"].drain_us == 0
    assert play.plan.vips["web"].previous_beside == ""
    assert set(play.admissions().values()) == {Admission.SERVING}
    opened = play.incidents(IncidentOpened)
    assert [(each.node, each.planned) for each in opened] == [(A, False)]
    assert "dead: connection refused" in opened[0].cause
    assert opened[0].evidence
    play.pass_by(SECOND)
    incident = play.state.cases[opened[0].id].incident
    assert [phase.name for phase in incident.phases] == ["detect", "decide", "switch", "verify"]
    assert any("node-a can hold no address" in each for each in alarms(play))
    play.switchers[A].balancer = ""
    moved_after(play, A, within=40 * SECOND)
    play.pass_by(SECOND)
    assert [each.id for each in play.incidents(IncidentClosed)] == [opened[0].id]
    assert [phase.name for phase in play.incidents(IncidentClosed)[0].recovery] == [
        "observe",
        "home",
        "compare",
    ]


def starting(node: str) -> VipPlay:
    """Return a cluster whose load balancer on one node has not started yet."""
    switcher = Switcher(node, balancer="not started: haproxy is not running")
    return VipPlay(switchers={node: switcher})


def test_a_load_balancer_that_starts_last_is_waited_for_and_is_no_incident() -> None:
    play = starting(A)
    play.pass_by(2 * SECOND)
    assert play.held == {"web": None, "api": B}
    play.switchers[A].balancer = ""
    assert moved_after(play, A) <= 200 * MILLISECOND
    assert play.changes() == []
    assert not play.incidents(IncidentOpened)


def test_a_vip_whose_home_does_not_start_begins_elsewhere_and_nothing_has_failed() -> None:
    play = starting(A)
    took = moved_after(play, B)
    assert took <= FIRST_START_US
    assert play.changes() == [("web", A, B)]
    assert "begins away from home: load balancer not started" in play.belief().reason
    play.switchers[A].balancer = ""
    moved_after(play, A, within=40 * SECOND)
    play.pass_by(SECOND)
    assert not play.incidents(IncidentOpened)
    play.switchers[A].balancer = "dead: haproxy is not running"
    play.report(A)
    assert len(play.incidents(IncidentOpened)) == 1


def test_a_new_arbiter_takes_a_dead_load_balancer_for_a_failure_not_for_a_start() -> None:
    play = VipPlay()
    play.switchers[A].balancer = "dead: haproxy is not running"
    play.switchers[A].give_up()
    again = play.again()
    moved_after(again, B)
    assert len(again.incidents(IncidentOpened)) == 1


def test_an_incident_is_handled_without_the_load_balancer_that_died_and_closed_only_with_it() -> (
    None
):
    play = VipPlay()
    play.deaf = {A}  # its switcher hears, but can install nothing
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    play.pass_by(SECOND)
    (opened,) = play.incidents(IncidentOpened)
    incident = play.state.cases[opened.id].incident
    assert incident.state is IncidentState.HANDLED
    assert [phase.name for phase in incident.phases] == ["detect", "decide", "switch", "verify"]
    play.pass_by(20 * SECOND)
    assert not play.incidents(IncidentClosed)


def test_an_interface_without_carrier_gives_only_its_own_vip_away() -> None:
    play = VipPlay(cluster=cluster_with({"web": A, "api": A}))
    play.switchers[A].leases["web"].unfit = "eth1 has no carrier"
    play.report(A)
    assert play.held == {"web": B, "api": A}
    assert any("node-a cannot hold web: eth1 has no carrier" in each for each in alarms(play))


def test_all_vips_of_a_node_move_with_one_plan_and_one_incident() -> None:
    play = VipPlay(cluster=cluster_with({"web": A, "api": A, "mail": A}, nodes=3))
    sequence = play.plan.sequence
    play.switchers[A].leaving = "it is being stopped"
    play.report(A)
    assert play.plan.sequence == sequence + 1
    assert sorted(play.holders.values()) == [B, B, C]
    assert len(play.incidents(IncidentOpened)) == 1


def test_an_incident_is_not_handled_before_a_request_went_through_the_vip() -> None:
    play = VipPlay()
    play.switchers[B].answers = False
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    play.pass_by(2 * SECOND)
    name = next(iter(play.state.cases))
    assert play.state.cases[name].incident.state is IncidentState.OPEN
    assert play.belief().state is VipState.TAKING
    assert play.state.cases[name].incident.waiting_for == "an answer through web on node-b"
    term = play.plan.vips["web"].term
    play.tell(Held(node=B, vip="web", term=(1, 1), holding=Holding.ANSWERED, reason=""))
    assert play.belief().state is VipState.TAKING
    play.tell(Held(node=B, vip="web", term=term, holding=Holding.ANSWERED, reason=""))
    assert play.belief().state is VipState.HELD
    assert play.state.cases[name].incident.state is IncidentState.HANDLED


def test_a_bus_that_was_away_moves_nothing() -> None:
    """The others are heard again first, the holder a moment later."""
    play = VipPlay()
    everybody = set(play.cluster.members)
    play.mute |= everybody
    play.deaf |= set(play.cluster.nodes)
    play.pass_by(2 * SECOND)
    assert set(play.held.values()) == {None}
    play.mute -= everybody - {A}
    play.deaf.clear()
    play.pass_by(200 * MILLISECOND)
    play.mute.clear()
    play.pass_by(SECOND)
    assert play.held == AT_HOME
    assert play.changes() == []
    assert not play.incidents(IncidentOpened)


def test_our_own_pause_moves_nothing_whoever_is_heard_first_after_it() -> None:
    for pause in (150 * MILLISECOND, 400 * MILLISECOND, 3 * SECOND):
        play = VipPlay()
        play.now += pause
        play.pass_by(40 * MILLISECOND, quiet=True)
        for _ in range(4):
            play.report(B)
            play.pass_by(40 * MILLISECOND, quiet=True)
        play.pass_by(SECOND)
        assert play.held == AT_HOME, pause
        assert play.changes() == [], pause


def test_who_has_just_come_does_not_take_over() -> None:
    play = VipPlay(cluster=cluster_with(nodes=3))
    play.lose(B)
    moved_after(play, C, "api")
    play.find(B)
    play.lose(A)
    moved_after(play, C)
    assert play.holders["web"] == C


def test_a_node_whose_guard_is_not_seen_at_work_loses_its_vip_after_the_lease() -> None:
    play = VipPlay()
    play.switchers[A].guard_age_us = SECOND
    play.report(A)
    assert play.held["web"] == A
    took = moved_after(play, B)
    assert took >= LEASE_US - 50 * MILLISECOND
    assert any("the guard of node-a is not seen at work" in each for each in alarms(play))


def test_a_node_that_cannot_write_down_what_it_gives_up_is_said_and_keeps_its_vip() -> None:
    play = VipPlay()
    play.switchers[A].unkept = "leases.1 cannot be written: No space left on device"
    play.report(A)
    play.pass_by(5 * SECOND)
    assert play.held["web"] == A
    assert any("give" in each and "No space left" in each for each in alarms(play))
    play.switchers[A].unkept = ""
    play.report(A)
    assert not alarms(play)


def test_a_holder_that_beats_but_hears_nothing_loses_its_vip_soon_after_its_last_lease() -> None:
    play = VipPlay()
    play.pass_by(5 * SECOND)
    play.deaf.add(A)
    took = moved_after(play, B)
    # A beat by chance, and the one that was heard: no grant after these put off the end.
    assert took <= bound_us(LEASE_US) + 3 * play.cluster.heartbeat.every_us
    incident = play.incidents(IncidentOpened)[0]
    assert "node-a cannot hold its addresses (it beats, but has heard no answer" in (
        incident.sentence
    )
    play.pass_by(2 * SECOND)
    handled = play.state.cases[incident.id].incident
    assert handled.state is IncidentState.HANDLED  # without the node that cannot be told anything
    assert [p.name for p in handled.phases] == ["detect", "lease", "decide", "switch", "verify"]
    assert any("node-a can hold no address: it beats, but" in each for each in alarms(play))
    assert len(play.incidents(IncidentOpened)) == 1


def test_a_holder_that_hears_again_has_its_vip_back_as_any_other() -> None:
    play = VipPlay()
    play.deaf.add(A)
    moved_after(play, B)
    play.pass_by(60 * SECOND)
    assert play.holders["web"] == B  # however long it beats: home is who can be told so
    play.deaf.clear()
    play.pass_by(20 * SECOND)
    assert play.holders["web"] == B
    moved_after(play, A, within=60 * SECOND)
    play.pass_by(SECOND)
    assert len(play.incidents(IncidentClosed)) == len(play.incidents(IncidentOpened)) == 1


def test_who_hears_again_before_its_lease_has_ended_keeps_its_vip() -> None:
    play = VipPlay()
    play.pass_by(5 * SECOND)
    for _ in range(20):
        play.deaf.add(A)
        play.pass_by(180 * MILLISECOND)
        assert play.held["web"] == A
        play.deaf.clear()
        play.pass_by(100 * MILLISECOND)
    assert not play.changes()


def test_a_deaf_node_takes_nothing_over_and_readiness_says_so() -> None:
    play = VipPlay()
    play.deaf.add(B)
    play.pass_by(SECOND)
    unready = {each.vip: each for each in readiness(play.state, play.now).vips}
    assert not unready["web"].ready
    assert "node-b: it beats, but has heard no answer" in unready["web"].reason
    play.lose(A)
    play.pass_by(3 * SECOND)
    assert play.held == {"web": None, "api": None}


def test_an_arbiter_that_nobody_hears_moves_nothing() -> None:
    play = VipPlay()
    play.deaf = {A, B}
    play.pass_by(3 * SECOND)
    assert play.held == {"web": None, "api": None}
    play.deaf = set()
    play.pass_by(100 * MILLISECOND)
    assert play.held == AT_HOME
    assert not play.changes()
    assert not play.incidents(IncidentOpened)


def test_what_nobody_can_hold_is_dark_and_said_and_taken_as_soon_as_somebody_can() -> None:
    play = VipPlay()
    play.switchers[B].balancer = "hung: no answer for 300 ms"
    play.report(B)
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    assert set(play.held.values()) == {None}
    belief = play.belief()
    assert belief.state is VipState.DARK
    assert "node-b: load balancer hung" in belief.waiting_for
    play.pass_by(SECOND)
    assert any("web (10.1.0.100) is dark" in each for each in alarms(play))
    play.switchers[B].balancer = ""
    play.report(B)
    moved_after(play, B)
    assert not any("web" in each and "dark" in each for each in alarms(play))


def test_silence_is_evidence_of_who_missed_it_and_a_word_of_who_said_it() -> None:
    class Silenced(VipPlay):
        """The switcher of one node is silent, and nothing else."""

        silent = ""

        def report(self, node: str) -> None:
            if node != self.silent:
                super().report(node)

    play = Silenced()
    play.silent = A
    moved_after(play, B)
    play.silent = ""
    play.pass_by(SECOND)
    play.switchers[B].balancer = "dead: connection refused"
    play.report(B)
    observers = [
        [each.observer for each in case.evidence] for case in play.incidents(IncidentOpened)
    ]
    assert observers == [["witness"], [B]]


def test_a_dark_vip_says_since_when_and_what_became_of_its_holder() -> None:
    play = VipPlay()
    play.pass_by(20 * SECOND)
    play.mute.update((A, B))
    play.pass_by(2 * SECOND)
    belief = play.belief()
    assert belief.state is VipState.DARK
    assert SECOND < belief.since_us < 2 * SECOND
    assert belief.reason.startswith("node-a: silent for ")
    assert belief.waiting_for == (
        "node-a: its switcher is not heard; node-b: its switcher is not heard"
    )


def test_a_holder_that_only_lost_its_memory_gets_a_new_term_and_no_incident() -> None:
    play = VipPlay()
    play.switchers[A].restart(remembers=False)
    play.report(A)
    assert play.holders["web"] == A
    assert play.plan.vips["web"].term == play.plan.number > (1, 1)
    assert play.held["web"] == A
    play.pass_by(SECOND)
    assert not play.incidents(IncidentOpened)


def test_a_switcher_that_restarts_quickly_gets_its_vip_again_in_the_same_term() -> None:
    play = VipPlay()
    play.switchers[A].restart()
    play.pass_by(100 * MILLISECOND)
    assert play.held["web"] == A
    assert play.plan.vips["web"].term == (1, 1)


def test_the_node_that_holds_fewest_takes_over_the_first_of_the_file_before_others() -> None:
    homes = {"web": A, "api": B, "mail": A}
    play = VipPlay(cluster=cluster_with(homes, nodes=3))
    play.lose(A)
    moved_after(play, C, "mail")
    assert play.holders == {"api": B, "mail": C, "web": B}


def test_a_takeover_is_never_bounded_and_a_failback_is() -> None:
    cluster = cluster_with()
    policy = replace(cluster.policy, moves_max=2, node_after_us=SECOND)
    play = VipPlay(cluster=replace(cluster, policy=policy))
    for number in range(3):
        play.switchers[A].balancer = "dead: connection refused"
        play.report(A)
        assert play.held["web"] == B
        play.switchers[A].balancer = ""
        if number == 0:
            moved_after(play, A, within=40 * SECOND)
        else:
            play.pass_by(40 * SECOND)
            assert play.held["web"] == B
            assert play.belief().waiting_for == "the window of 2 automatic moves"
            break


def test_each_relapse_doubles_the_wait_of_a_node() -> None:
    cluster = cluster_with()
    policy = replace(cluster.policy, node_after_us=4 * SECOND, moves_max=20)
    play = VipPlay(cluster=replace(cluster, policy=policy))
    waits = []
    for _ in range(3):
        play.switchers[A].balancer = "dead: connection refused"
        play.report(A)
        play.switchers[A].balancer = ""
        waits.append(moved_after(play, A, within=40 * SECOND) // SECOND)
        play.pass_by(SECOND)
    assert waits == [4, 8, 16]


def test_vips_come_home_one_at_a_time() -> None:
    play = VipPlay(cluster=cluster_with({"web": A, "api": A}))
    play.switchers[A].leaving = "it is being stopped"
    play.report(A)
    play.switchers[A].leaving = ""
    play.switchers[A].answers = False
    play.pass_by(32 * SECOND)
    assert play.holders == {"api": A, "web": B}
    assert play.belief().waiting_for == "an answer through api on node-a"
    play.switchers[A].answers = True
    play.pass_by(200 * MILLISECOND)
    assert play.held == {"api": A, "web": A}


def test_a_planned_move_is_granted_in_the_moment_of_the_release() -> None:
    play = VipPlay()
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    play.switchers[A].balancer = ""
    play.obedient = False
    play.pass_by(29 * SECOND)
    while play.holders["web"] == B:
        play.pass_by(20 * MILLISECOND)
    assert play.held["web"] is None  # released by the plan, not yet reported
    assert play.belief().state is VipState.WAITING
    assert play.belief().waiting_for == "the lease of node-b to end"
    play.report(B)
    assert play.held["web"] == A


def test_a_home_whose_instances_do_not_serve_does_not_get_its_vips_back() -> None:
    play = VipPlay()
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    play.switchers[A].balancer = ""
    play.refuse(A)
    play.pass_by(60 * SECOND)
    assert play.held["web"] == B
    assert play.belief().waiting_for == "shop on node-a to serve again"
    play.heal(A)
    moved_after(play, A, within=60 * SECOND)


def test_a_restart_of_the_arbiter_moves_nothing() -> None:
    play = VipPlay()
    again = play.again()
    again.pass_by(5 * SECOND)
    assert again.held == AT_HOME
    assert {each.term for each in again.plan.vips.values()} == {(1, 1)}
    assert again.changes() == []
    assert not again.overlaps


def test_a_restart_goes_on_with_the_incident_of_a_vip_and_closes_it() -> None:
    play = VipPlay()
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    name = next(iter(play.state.cases))
    play.switchers[A].balancer = ""
    again = play.again()
    assert again.holders["web"] == B
    moved_after(again, A, within=60 * SECOND)
    again.pass_by(SECOND)
    assert [each.id for each in again.incidents(IncidentClosed)] == [name]


def test_a_restart_goes_on_with_an_incident_whose_document_is_lost() -> None:
    play = VipPlay()
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    play.switchers[A].balancer = ""
    again = play.again()
    again.past = replace(again.past, incidents={})
    again.__post_init__()
    assert [each.incident.vips[0].vip for each in again.state.cases.values()] == ["web"]
    moved_after(again, A, within=60 * SECOND)
    again.pass_by(SECOND)
    assert len(again.incidents(IncidentClosed)) == 1


def test_a_new_arbiter_takes_from_a_dead_holder_only_after_the_longest_lease() -> None:
    play = VipPlay()
    play.lose(A)
    again = play.again()
    begin = again.state.begun_at
    while again.held["web"] != B:
        again.pass_by(20 * MILLISECOND)
    assert again.now - begin >= bound_us(LEASE_LONGEST_US)
    assert not again.overlaps


def test_a_new_vip_begins_at_home_and_one_that_is_gone_is_forgotten() -> None:
    play = VipPlay()
    play.cluster = cluster_with({"web": A, "mail": B})
    for switcher in play.switchers.values():
        switcher.leases = {k: v for k, v in switcher.leases.items() if k != "api"}
    again = play.again()
    again.pass_by(2 * SECOND)
    assert again.held == {"web": A, "mail": B}
    assert again.plan.vips["mail"].term == (2, 1)
    assert again.plan.vips["web"].term == (1, 1)


def test_a_home_that_was_changed_in_the_configuration_gets_its_vip() -> None:
    play = VipPlay()
    play.cluster = cluster_with({"web": B, "api": B})
    again = play.again()
    again.pass_by(2 * SECOND)
    assert again.held["web"] == A
    moved_after(again, B, within=60 * SECOND)
    assert again.plan.vips["web"].previous == A
    assert not again.incidents(IncidentOpened)


def test_a_vip_of_a_node_that_is_configured_no_more_waits_for_its_last_lease() -> None:
    play = VipPlay(cluster=cluster_with({"web": C, "api": B}, nodes=3))
    play.cluster = cluster_with({"web": A, "api": B})
    strangers = play.switchers.pop(C)
    again = play.again()
    begin = again.state.begun_at
    while again.held["web"] != A:
        again.pass_by(20 * MILLISECOND)
    assert again.now - begin >= bound_us(LEASE_LONGEST_US)
    assert strangers.leases["web"].end < again.now


def test_a_beat_of_a_higher_epoch_makes_the_arbiter_begin_again_above_it() -> None:
    play = VipPlay()
    play.switchers[A].epoch = 9
    play.report(A)
    assert play.adoptions == 1


def test_a_foreign_claim_alarms_for_a_while() -> None:
    play = VipPlay()
    claim = ClaimSeen(node=A, vip="web", hardware="02:00:5e:00:00:01", interface="eth1", seen=3)
    play.tell(claim)
    play.tell(replace(claim, vip="stranger"))
    found = [each for each in alarms(play) if "claims its address" in each]
    assert len(found) == 1
    assert "02:00:5e:00:00:01 on eth1 of node-a" in found[0]
    play.pass_by(61 * SECOND)
    assert not [each for each in alarms(play) if "claims its address" in each]


def test_readiness_tells_who_could_take_a_vip_and_why_nobody_could() -> None:
    play = VipPlay()
    ready = readiness(play.state, play.now)
    assert [(each.vip, each.to, each.ready) for each in ready.vips] == [
        ("api", (A,), True),
        ("web", (B,), True),
    ]
    play.switchers[B].leases["web"].unfit = "eth1 has no carrier"
    play.pass_by(100 * MILLISECOND)
    web = readiness(play.state, play.now).vips[1]
    assert (web.ready, web.to) == (False, ())
    assert web.reason == "node-b: eth1 has no carrier"
    assert not readiness(play.state, play.now).ready


def test_while_automation_is_paused_a_vip_stays_where_it_is_and_that_is_said() -> None:
    from shared.messages.operator import Verb  # noqa: PLC0415

    play = VipPlay()
    play.ask(Verb.PAUSE)
    play.switchers[A].balancer = "dead: connection refused"
    play.report(A)
    play.pass_by(2 * SECOND)
    assert play.holders["web"] == A
    assert any("automation is paused" in each for each in alarms(play))
    play.ask(Verb.RESUME)
    moved_after(play, B)


def test_a_member_that_holds_nothing_changes_nothing_by_its_beats() -> None:
    play = VipPlay()
    play.tell(Heartbeat(node="witness", boot_id="x", sequence=1, configuration="c0ffee"))
    assert play.held == AT_HOME
    assert not play.incidents(IncidentUpdated)
