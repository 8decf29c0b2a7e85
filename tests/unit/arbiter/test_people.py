"""What people ask, and what is done and refused."""

from dataclasses import replace

from shared.cluster import Mode
from shared.instant import HOUR, SECOND
from shared.messages.facts import IncidentClosed, InstanceState
from shared.messages.operator import Answer, Verb
from shared.messages.traffic import Drain, InstanceLoad, OverrideKind
from shared.rules import Admission, original
from tests.unit.arbiter.play import Play, cluster_of, service

OUT, SERVING, DRAINING = Admission.OUT, Admission.SERVING, Admission.DRAINING
TWO = (service("shop"), service("orders", Mode.MIRROR))


def test_a_planned_failover_drains_then_takes_out_and_is_one_incident() -> None:
    play = Play(cluster=cluster_of(*TWO))
    play.loads["shop", "node-a"] = InstanceLoad(requests=0, errors=0, sessions=2, up=True)
    answer = play.ask(Verb.FAILOVER, "node-a")
    assert answer.answer is Answer.ACCEPTED
    assert isinstance(play.state.command, Drain)
    assert play.admissions("shop") == {"node-a": DRAINING, "node-b": SERVING}
    assert play.admissions("orders") == {"node-a": DRAINING, "node-b": SERVING}
    assert len(play.state.cases) == 1
    play.pass_by(3 * SECOND)
    assert play.admissions("shop")["node-a"] is DRAINING
    assert play.admissions("orders")["node-a"] is OUT
    play.loads["shop", "node-a"] = InstanceLoad(requests=0, errors=0, sessions=0, up=True)
    play.pass_by(3 * SECOND)
    assert play.admissions("shop")["node-a"] is OUT


def test_draining_ends_at_its_bound() -> None:
    play = Play()
    play.loads["shop", "node-b"] = InstanceLoad(requests=0, errors=0, sessions=2, up=True)
    play.ask(Verb.FAILOVER, "node-b")
    play.pass_by(29 * SECOND)
    assert play.admissions()["node-b"] is DRAINING
    play.pass_by(2 * SECOND)
    assert play.admissions()["node-b"] is OUT


def test_what_a_person_took_out_no_automation_puts_back() -> None:
    play = Play(cluster=cluster_of(*TWO))
    play.ask(Verb.FAILOVER, "node-b")
    play.pass_by(600 * SECOND)
    assert play.admissions("shop")["node-b"] is OUT
    play.refuse("node-a")
    assert play.admissions("shop") == {"node-a": SERVING, "node-b": OUT}


def test_failback_restores_the_original_settings_exactly_and_closes_the_incident() -> None:
    play = Play(cluster=cluster_of(*TWO))
    play.ask(Verb.FAILOVER, "node-a")
    play.pass_by(5 * SECOND)
    assert play.ask(Verb.FAILBACK, "node-a").answer is Answer.ACCEPTED
    play.pass_by(20 * SECOND)
    assert play.plan.services == original(play.cluster)
    closed = play.incidents(IncidentClosed)
    assert len(closed) == 1
    assert closed[0].planned
    assert play.state.standing == ()


def test_an_override_ends_by_itself() -> None:
    play = Play()
    play.ask(Verb.MAINTENANCE_START, "node-b", for_us=60 * SECOND)
    play.pass_by(59 * SECOND)
    assert play.admissions()["node-b"] is OUT
    play.pass_by(20 * SECOND)
    assert play.plan.services == original(play.cluster)
    assert play.plan.overrides == ()


def test_the_plan_carries_the_overrides_to_the_next_arbiter() -> None:
    play = Play()
    play.ask(Verb.MAINTENANCE_START, "node-b", for_us=600 * SECOND)
    play.pass_by(5 * SECOND)
    again = play.again()
    assert again.plan.overrides[0].kind is OverrideKind.MAINTENANCE
    again.pass_by(300 * SECOND)
    assert again.admissions()["node-b"] is OUT
    again.pass_by(320 * SECOND)
    assert again.plan.services == original(again.cluster)


def test_nothing_that_would_empty_a_service_is_done_even_when_forced() -> None:
    play = Play()
    play.ask(Verb.FAILOVER, "node-b")
    answer = play.ask(Verb.FAILOVER, "node-a", force=True)
    assert answer.answer is Answer.UNSAFE
    assert "nothing would serve shop" in answer.text
    assert play.admissions()["node-a"] is SERVING


def test_moving_to_an_instance_that_is_not_healthy_needs_insistence() -> None:
    play = Play()
    play.suspect("node-b", "node-a")
    assert play.ask(Verb.FAILOVER, "node-a").answer is Answer.UNSAFE
    assert play.ask(Verb.FAILOVER, "node-a", force=True).answer is Answer.ACCEPTED


def test_a_dry_run_shows_the_plan_and_changes_nothing() -> None:
    play = Play()
    before = play.state
    answer = play.ask(Verb.FAILOVER, "node-b", dry_run=True)
    assert answer.answer is Answer.ACCEPTED
    assert answer.after["shop"]["node-b"].admission is DRAINING
    assert play.state.plan is before.plan
    assert play.state.standing == ()


def test_a_request_made_on_an_older_plan_is_refused() -> None:
    play = Play()
    seen = play.plan.number
    play.refuse("node-b")
    assert play.ask(Verb.FAILOVER, "node-a", expects=seen).answer is Answer.CHANGED


def test_wrong_requests_say_what_is_wrong() -> None:
    play = Play(cluster=cluster_of(*TWO))
    cases = [
        (play.ask(Verb.FAILOVER, "node-z"), "there is no node 'node-z'; there are: node-a, node-b"),
        (play.ask(Verb.FAILOVER, "node-a", "bank"), "there is no service 'bank'"),
        (play.ask(Verb.FAILOVER, "node-a", reason=" "), "needs an owner and a reason"),
        (play.ask(Verb.FAILOVER, None, "shop"), "name the node, shop/NODE"),
        (play.ask(Verb.MAINTENANCE_START, "node-a", for_us=99 * HOUR), "lasts from 1 s to 4 h"),
        (play.ask(Verb.MAINTENANCE_END, "node-a"), "is not in maintenance"),
        (play.ask(Verb.RESUME), "not paused"),
        (play.ask(Verb.FAILBACK, "node-a"), "nothing that you name is out"),
    ]
    for answer, text in cases:
        assert answer.answer is Answer.WRONG
        assert text in answer.text


def test_while_paused_automation_moves_nothing_and_afterwards_it_does() -> None:
    play = Play()
    assert play.ask(Verb.PAUSE).answer is Answer.ACCEPTED
    play.refuse("node-b")
    play.pass_by(5 * SECOND)
    assert play.admissions()["node-b"] is SERVING
    assert "paused" in play.state.instance(("shop", "node-b")).reason
    assert play.ask(Verb.RESUME).answer is Answer.ACCEPTED
    play.pass_by(2 * SECOND)
    assert play.admissions()["node-b"] is OUT


def test_while_paused_the_end_of_a_drain_moves_no_mirror() -> None:
    play = Play(cluster=cluster_of(service("orders", Mode.MIRROR), nodes=4))
    play.refuse("node-a", "orders")
    assert play.admissions("orders")["node-b"] is SERVING
    assert play.ask(Verb.PAUSE).answer is Answer.ACCEPTED
    assert play.ask(Verb.MAINTENANCE_START, "node-c").answer is Answer.ACCEPTED
    play.refuse("node-b", "orders")
    play.pass_by(60 * SECOND)
    assert play.admissions("orders")["node-c"] is OUT
    assert play.admissions("orders")["node-b"] is SERVING
    assert play.ask(Verb.RESUME).answer is Answer.ACCEPTED
    play.pass_by(SECOND)
    assert play.admissions("orders")["node-d"] is SERVING


def test_a_failed_instance_under_maintenance_returns_only_after_both() -> None:
    play = Play()
    play.refuse("node-b")
    play.ask(Verb.MAINTENANCE_START, "node-b")
    play.heal("node-b")
    play.pass_by(60 * SECOND)
    assert play.admissions()["node-b"] is OUT
    assert play.ask(Verb.MAINTENANCE_END, "node-b").answer is Answer.ACCEPTED
    play.pass_by(30 * SECOND)
    assert play.plan.services == original(play.cluster)
    assert play.state.instance(("shop", "node-b")).state is InstanceState.HOME
    assert play.state.cases == {}


def test_the_owner_and_the_reason_are_in_the_plan() -> None:
    play = Play()
    play.ask(Verb.MAINTENANCE_START, "node-b", for_us=SECOND)
    override = play.plan.overrides[0]
    assert (override.owner, override.reason) == ("ana", "a reason")
    assert override.until_wall_us - override.since_wall_us == SECOND
    assert replace(override, incident=None).node == "node-b"
