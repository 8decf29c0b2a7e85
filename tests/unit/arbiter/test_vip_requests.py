"""What people ask of virtual IPs."""

from shared.cluster import FailbackMode
from shared.frozen import replace
from shared.instant import MINUTE, SECOND
from shared.messages.facts import IncidentClosed, IncidentOpened, VipState
from shared.messages.operator import Answer, Verb
from shared.messages.traffic import Drain
from tests.unit.arbiter.leasing import AT_HOME, VipPlay, cluster_with
from tests.unit.arbiter.test_vips import moved_after

A, B, C = "node-a", "node-b", "node-c"


def test_a_vip_is_sent_away_with_draining_and_kept_away_until_a_person_says_so() -> None:
    play = VipPlay()
    answer = play.ask(Verb.FAILOVER, vip="web")
    assert answer.answer is Answer.ACCEPTED
    assert (dict(answer.vips_before), dict(answer.vips_after)) == (
        AT_HOME,
        {"web": B, "api": B},
    )
    assert answer.undo == "equipoise failback web"
    assert isinstance(play.orders[-1].command, Drain)
    placement = play.plan.vips["web"]
    assert (placement.previous, placement.drain_us) == (A, play.cluster.policy.drain_us)
    moved_after(play, B)
    play.pass_by(MINUTE)
    assert play.held["web"] == B
    assert play.belief().waiting_for == "node-a: taken out by ana"
    opened = play.incidents(IncidentOpened)
    assert [(each.planned, each.owner) for each in opened] == [(True, "ana")]
    back = play.ask(Verb.FAILBACK, vip="web")
    assert back.vips_after["web"] == A
    moved_after(play, A)
    play.pass_by(SECOND)
    assert [each.id for each in play.incidents(IncidentClosed)] == [opened[0].id]


def test_a_dry_run_shows_where_vips_would_be_and_changes_nothing() -> None:
    play = VipPlay()
    answer = play.ask(Verb.FAILOVER, vip="web", dry_run=True)
    assert answer.vips_after["web"] == B
    assert play.holders == AT_HOME


def test_a_vip_is_sent_to_the_node_that_is_named() -> None:
    play = VipPlay(cluster=cluster_with(nodes=3))
    assert play.ask(Verb.FAILOVER, vip="web", to=B).answer is Answer.ACCEPTED
    moved_after(play, B)
    assert play.ask(Verb.FAILOVER, vip="web", to=B).answer is Answer.WRONG


def test_a_vip_that_is_sent_home_is_kept_off_nowhere() -> None:
    play = VipPlay()
    play.switchers[A].leaving = "it is being stopped"
    play.report(A)
    play.switchers[A].leaving = ""
    play.pass_by(2 * SECOND)
    assert play.ask(Verb.FAILOVER, vip="web", to=A).undo == ""
    moved_after(play, A)
    assert not play.state.standing
    play.pass_by(40 * SECOND)
    assert not play.state.cases


def test_what_makes_no_sense_or_is_not_safe_is_refused() -> None:
    play = VipPlay()
    assert "there is no virtual IP 'mail'" in play.ask(Verb.FAILOVER, vip="mail").text
    assert play.ask(Verb.FAILOVER, vip="web", to="node-z").answer is Answer.WRONG
    assert play.ask(Verb.FAILOVER, A, to=B).answer is Answer.WRONG
    assert play.ask(Verb.FAILOVER, A, vip="web").answer is Answer.WRONG
    assert play.ask(Verb.FAILBACK, vip="web").answer is Answer.WRONG
    play.switchers[B].balancer = "hung: no answer for 300 ms"
    play.report(B)
    for to in (None, B):
        answer = play.ask(Verb.FAILOVER, vip="web", to=to)
        assert answer.answer is Answer.UNSAFE
        assert "load balancer hung" in answer.text
    assert play.ask(Verb.FAILOVER, A).answer is Answer.UNSAFE
    assert play.holders["web"] == A


def test_who_is_kept_off_by_another_wish_is_told_how_to_end_that() -> None:
    play = VipPlay()
    play.ask(Verb.FAILOVER, vip="web")
    moved_after(play, B)
    answer = play.ask(Verb.FAILOVER, vip="web", to=A)
    assert answer.answer is Answer.UNSAFE
    assert answer.text == "node-a is taken out by ana; end that first: equipoise failback web"
    play = VipPlay()
    play.ask(Verb.MAINTENANCE_START, A)
    moved_after(play, B)
    answer = play.ask(Verb.FAILBACK, vip="web")
    assert answer.answer is Answer.UNSAFE
    assert answer.text == (
        "node-a is in maintenance by ana; end that first: equipoise maintenance end node-a"
    )


def test_a_vip_that_was_left_on_a_node_in_maintenance_survives_a_restart_there() -> None:
    play = VipPlay()
    play.switchers[B].balancer = "dead: connection refused"
    play.report(B)
    play.pass_by(2 * SECOND)
    assert play.ask(Verb.MAINTENANCE_START, A, force=True).answer is Answer.ACCEPTED
    play.switchers[A].leaving = "it is being stopped"
    play.report(A)
    play.switchers[A].leaving = ""
    moved_after(play, A)
    play.switchers[B].balancer = ""
    play.pass_by(2 * SECOND)
    play.switchers[A].leaving = "it is being stopped"
    play.report(A)
    play.switchers[A].leaving = ""
    play.report(A)
    moved_after(play, B)
    assert not play.overlaps


def test_a_persons_override_of_a_vip_ends_in_time_and_it_comes_home() -> None:
    play = VipPlay()
    play.ask(Verb.FAILOVER, vip="web", for_us=20 * SECOND)
    moved_after(play, B)
    moved_after(play, A, within=25 * SECOND)
    play.pass_by(SECOND)
    assert len(play.incidents(IncidentClosed)) == 1


def test_a_vip_off_a_node_does_not_take_the_nodes_instances_out() -> None:
    play = VipPlay()
    before = play.weights()
    play.ask(Verb.FAILOVER, vip="web")
    play.pass_by(5 * SECOND)
    assert play.weights() == before


def test_maintenance_moves_a_nodes_vips_and_they_come_home_with_its_instances() -> None:
    play = VipPlay(cluster=cluster_with({"web": A, "api": B, "mail": A}))
    answer = play.ask(Verb.MAINTENANCE_START, A)
    assert dict(answer.vips_after) == {"web": B, "api": B, "mail": B}
    moved_after(play, B)
    play.pass_by(40 * SECOND)
    opened = play.incidents(IncidentOpened)
    assert sorted(each.vip for each in opened[0].vips) == ["mail", "web"]
    assert play.belief().state is VipState.HELD
    assert play.ask(Verb.MAINTENANCE_END, A).answer is Answer.ACCEPTED
    moved_after(play, A, within=60 * SECOND)
    moved_after(play, A, "mail")
    play.pass_by(SECOND)
    assert [each.id for each in play.incidents(IncidentClosed)] == [opened[0].id]
    assert len(play.incidents(IncidentOpened)) == 1


def test_a_node_that_is_failed_over_gives_its_vips_away_and_back() -> None:
    play = VipPlay()
    play.ask(Verb.FAILOVER, A)
    moved_after(play, B)
    play.pass_by(40 * SECOND)
    assert play.held["web"] == B
    play.ask(Verb.FAILBACK, A)
    moved_after(play, A, within=60 * SECOND)


def test_with_manual_failback_a_vip_waits_for_a_person() -> None:
    cluster = cluster_with()
    policy = replace(cluster.policy, failback=FailbackMode.MANUAL)
    play = VipPlay(cluster=replace(cluster, policy=policy))
    play.switchers[A].leaving = "it is being stopped"
    play.report(A)
    play.switchers[A].leaving = ""
    play.pass_by(MINUTE)
    assert play.held["web"] == B
    assert play.belief().waiting_for == "a person: equipoise failback web"
    assert play.ask(Verb.FAILBACK, vip="web").answer is Answer.ACCEPTED
    moved_after(play, A)


def test_a_vip_does_not_fall_back_to_where_a_person_keeps_it_off() -> None:
    play = VipPlay(cluster=cluster_with(nodes=3))
    play.ask(Verb.FAILOVER, vip="web", to=B)
    moved_after(play, B)
    play.lose(B)
    moved_after(play, C)
    assert play.holders["web"] == C


def test_a_persons_move_survives_a_restart_of_the_arbiter() -> None:
    play = VipPlay()
    play.ask(Verb.FAILOVER, vip="web")
    moved_after(play, B)
    again = play.again()
    again.pass_by(MINUTE)
    assert again.held["web"] == B
    again.ask(Verb.FAILBACK, vip="web")
    moved_after(again, A)
    again.pass_by(SECOND)
    assert len(again.incidents(IncidentClosed)) == 1
