"""Taking instances out: what is enough, what is not, and what is never done."""

from dataclasses import replace
from itertools import pairwise

from services.arbiter.core import start
from services.arbiter.core.state import RESEND_RULE_US, SITUATION_PAUSE_US, Tick
from shared.cluster import Mode
from shared.instant import MILLISECOND, SECOND
from shared.messages.facts import (
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    InstanceState,
    ServiceChanged,
    Situation,
)
from shared.messages.health import Grade, Sign, Verdict
from shared.messages.operator import Answer, Verb
from shared.messages.traffic import Failover
from shared.rules import Admission
from tests.unit.arbiter.play import POLICY, Play, cluster_of, evidence, service

OUT, SERVING, STANDBY = Admission.OUT, Admission.SERVING, Admission.STANDBY


def test_conclusive_evidence_is_decided_on_the_event() -> None:
    play = Play()
    before = play.now
    play.refuse("node-b")
    assert play.admissions() == {"node-a": SERVING, "node-b": OUT}
    assert play.now == before
    assert isinstance(play.orders[-1].command, Failover)
    assert play.orders[-1].to == ("node-a", "node-b")


def test_suspicion_of_all_observers_moves_at_the_next_tick_and_not_before() -> None:
    play = Play()
    play.hang("node-b")
    assert play.admissions()["node-b"] is SERVING
    play.pass_by(20 * MILLISECOND)
    assert play.admissions() == {"node-a": SERVING, "node-b": OUT}


def test_one_suspicious_observer_of_two_moves_nothing_and_says_so() -> None:
    play = Play()
    play.suspect("node-b", "node-a")
    play.pass_by(100 * MILLISECOND)
    assert play.admissions()["node-b"] is SERVING
    facts = [each for each in play.said if isinstance(each, ServiceChanged)]
    assert facts[-1].after is InstanceState.SUSPECT
    assert "1 of 2 observers needed" in facts[-1].reason


def test_a_new_arbiter_believes_no_lone_suspicion_before_the_others_could_speak() -> None:
    play = Play()
    play.state, _ = start(play.cluster, "witness", play.past, play.now)
    for _ in range(10):
        play.now += 100 * MILLISECOND
        play.suspect("node-b", "node-b")
        play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.admissions()["node-b"] is SERVING


def test_a_lone_observer_is_believed_once_all_others_are_known_to_be_silent() -> None:
    play = Play()
    for _ in range(100):
        play.now += 100 * MILLISECOND
        play.beat()
        play.suspect("node-b", "node-b")
        play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.admissions()["node-b"] is OUT


def test_what_was_said_long_ago_confirms_no_suspicion() -> None:
    play = Play(cluster=cluster_of(nodes=3))
    play.suspect("node-b", "node-a")
    for _ in range(50):
        play.now += 100 * MILLISECOND
        play.sequence += 1
        play.tell(evidence("node-c", "shop", "node-b", sequence=play.sequence))
        play.tell(Tick(wall_us=play.wall_us + play.now))
    play.suspect("node-b", "node-b")
    play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.admissions()["node-b"] is SERVING


def test_an_observer_that_abstains_does_not_count() -> None:
    play = Play()
    for observer in ("node-a", "node-b"):
        play.tell(
            evidence(
                observer,
                "shop",
                "node-b",
                verdict=Verdict.UNHEALTHY,
                grade=Grade.CONCLUSIVE,
                sign=Sign.REFUSED,
                sequence=10_000,
                abstains=True,
            )
        )
    play.pass_by(100 * MILLISECOND)
    assert play.admissions()["node-b"] is SERVING


def test_who_abstains_beside_an_instance_keeps_another_from_accusing_it_alone() -> None:
    play = Play()
    for _ in range(100):
        play.now += 100 * MILLISECOND
        play.beat()
        play.sequence += 1
        play.tell(
            evidence(
                "node-b",
                "shop",
                "node-b",
                verdict=Verdict.UNHEALTHY,
                grade=Grade.SUSPICIOUS,
                sign=Sign.TIMEOUT,
                sequence=play.sequence,
                abstains=True,
            )
        )
        play.suspect("node-b", "node-a")
        play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.admissions()["node-b"] is SERVING


def test_the_last_instance_keeps_serving_whatever_is_heard() -> None:
    play = Play()
    play.refuse("node-b")
    play.refuse("node-a")
    assert play.admissions() == {"node-a": SERVING, "node-b": OUT}
    assert play.state.instance(("shop", "node-a")).state is InstanceState.HELD
    play.pass_by(SECOND)
    assert play.admissions() == {"node-a": SERVING, "node-b": OUT}


def test_when_only_a_bad_instance_is_left_a_healthy_one_returns_at_once() -> None:
    play = Play()
    play.refuse("node-b")
    play.refuse("node-a")
    play.heal("node-b")
    play.pass_by(100 * MILLISECOND)
    assert play.admissions() == {"node-a": OUT, "node-b": SERVING}


def test_a_recovering_instance_takes_over_in_the_same_plan_that_takes_the_other_out() -> None:
    play = Play()
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(SECOND)
    assert play.admissions()["node-b"] is OUT
    play.refuse("node-a")
    assert play.admissions() == {"node-a": OUT, "node-b": SERVING}


def test_a_mirror_moves_to_its_standby_and_never_serves_twice() -> None:
    play = Play(cluster=cluster_of(service("orders", Mode.MIRROR)))
    assert play.admissions("orders") == {"node-a": SERVING, "node-b": STANDBY}
    play.refuse("node-a", "orders")
    assert play.admissions("orders") == {"node-a": OUT, "node-b": SERVING}


def test_a_failed_standby_is_taken_out_without_moving_traffic() -> None:
    play = Play(cluster=cluster_of(service("orders", Mode.MIRROR)))
    play.refuse("node-b", "orders")
    assert play.admissions("orders") == {"node-a": SERVING, "node-b": OUT}


def test_another_service_of_the_node_is_left_as_it_is() -> None:
    play = Play(cluster=cluster_of(service("shop"), service("orders", Mode.MIRROR)))
    before = play.plan.services["orders"]
    play.refuse("node-b", "shop")
    assert play.plan.services["orders"] is before
    assert "only shop failed" in play.incidents(IncidentOpened)[0].not_done


def test_the_phases_add_up_to_the_whole_time_and_begin_at_the_first_sign() -> None:
    play = Play(obedient=False)
    play.install(play.plan, ("node-a", "node-b"))
    play.refuse("node-b")
    decided = play.now
    play.now += 3 * MILLISECOND
    play.install(play.plan, ("node-a",))
    play.now += 4 * MILLISECOND
    play.install(play.plan, ("node-b",))
    incident = play.incidents(IncidentUpdated)[-1]
    assert incident.state is IncidentState.HANDLED
    assert [each.name for each in incident.phases] == ["detect", "decide", "switch", "verify"]
    assert incident.phases[0].duration_us == 2 * MILLISECOND
    assert sum(each.duration_us for each in incident.phases) == play.now - decided + 2 * MILLISECOND


def test_a_command_is_repeated_until_every_reachable_node_has_installed_it() -> None:
    play = Play()
    play.deaf = {"node-b"}
    play.refuse("node-b")
    play.orders.clear()
    play.pass_by(200 * MILLISECOND)
    assert len(play.orders) >= 3
    assert {each.to for each in play.orders} == {("node-b",)}
    play.deaf = set()
    play.pass_by(100 * MILLISECOND)
    play.orders.clear()
    play.pass_by(200 * MILLISECOND)
    assert play.orders == []


def test_the_last_move_of_the_window_is_never_spent_on_a_return() -> None:
    play = Play(cluster=cluster_of(policy=replace(POLICY, moves_max=2)))
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(60 * SECOND)
    assert play.admissions()["node-b"] is OUT
    play.pass_by(600 * SECOND)
    assert play.admissions()["node-b"] is SERVING, "the window has passed"


def test_beyond_the_bound_of_moves_it_only_advises() -> None:
    play = Play(cluster=cluster_of(policy=replace(POLICY, moves_max=1)))
    play.refuse("node-b")
    play.heal("node-b")
    assert play.ask(Verb.FAILBACK, "node-b", "shop").answer is Answer.ACCEPTED
    play.pass_by(15 * SECOND)
    assert play.admissions()["node-b"] is SERVING
    play.refuse("node-b")
    assert play.admissions()["node-b"] is SERVING
    assert play.state.instance(("shop", "node-b")).state is InstanceState.HELD
    assert "now it only advises" in play.state.instance(("shop", "node-b")).reason


def test_evidence_from_before_a_pause_of_ours_does_not_count() -> None:
    play = Play()
    play.suspect("node-b", "node-a")
    play.now += 10 * SECOND
    play.tell(
        evidence(
            "node-b",
            "shop",
            "node-b",
            verdict=Verdict.UNHEALTHY,
            grade=Grade.CONCLUSIVE,
            sign=Sign.REFUSED,
            sequence=play.sequence + 1,
        )
    )
    play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.admissions()["node-b"] is SERVING
    play.now += 1
    play.refuse("node-b")
    assert play.admissions()["node-b"] is OUT


def test_evidence_that_arrives_out_of_order_changes_nothing() -> None:
    play = Play()
    newest = play.sequence
    play.tell(
        evidence(
            "node-b",
            "shop",
            "node-b",
            verdict=Verdict.UNHEALTHY,
            grade=Grade.CONCLUSIVE,
            sign=Sign.REFUSED,
            sequence=newest - 20,
        )
    )
    assert play.admissions()["node-b"] is SERVING


def test_strangers_are_not_believed() -> None:
    play = Play()
    for observer, name, node in (
        ("eve", "shop", "node-b"),
        ("node-a", "bank", "node-b"),
        ("node-a", "shop", "node-z"),
    ):
        play.tell(
            evidence(
                observer,
                name,
                node,
                verdict=Verdict.UNHEALTHY,
                grade=Grade.CONCLUSIVE,
                sign=Sign.REFUSED,
                sequence=10_000,
            )
        )
    assert play.admissions() == {"node-a": SERVING, "node-b": SERVING}


def test_no_evidence_is_no_action() -> None:
    play = Play()
    before = play.plan
    play.pass_by(60 * SECOND, quiet=True)
    assert play.plan is before


def test_the_cost_is_counted_from_before_the_first_sign() -> None:
    play = Play()
    play.failed = 5
    play.pass_by(3 * SECOND)
    play.refuse("node-b")
    play.failed = 9
    play.pass_by(3 * SECOND)
    play.heal("node-b")
    play.pass_by(5 * SECOND)
    incident = play.state.cases[play.incidents(IncidentOpened)[0].id].incident
    assert incident.cost.failed == 8, "four more on each of two load balancers"


def test_changes_are_told_at_once_in_a_small_cluster_and_together_in_a_large_one() -> None:
    small, large = (
        Play(),
        Play(cluster=cluster_of(*(service(f"s{k}") for k in range(20)), nodes=12)),
    )
    for play, name in ((small, "shop"), (large, "s1")):
        for node in ("node-a", "node-b"):
            play.suspect(node, "node-a", name)
            play.pass_by(20 * MILLISECOND)
            play.heal(node, name)
        play.timed.clear()
        for _ in range(5):
            play.suspect("node-b", "node-a", name)
            play.pass_by(20 * MILLISECOND)
            play.heal("node-b", name)
            play.pass_by(20 * MILLISECOND)
    told = {len(play.cluster.nodes): told_at(play) for play in (small, large)}
    assert min(after - before for before, after in pairwise(told[2])) == 20 * MILLISECOND
    pause_us = 240 * SITUATION_PAUSE_US
    assert min(after - before for before, after in pairwise(told[12])) >= pause_us


def told_at(play: Play) -> list[int]:
    return [at for at, message in play.timed if isinstance(message, Situation)]


def test_a_plan_is_repeated_the_more_seldom_the_more_it_is_for_the_network() -> None:
    small, large = (
        Play(),
        Play(cluster=cluster_of(*(service(f"s{k}") for k in range(20)), nodes=40)),
    )
    for play, name in ((small, "shop"), (large, "s1")):
        play.obedient = False
        play.orders.clear()
        play.refuse("node-b" if play is small else "node-001", name)
        play.pass_by(SECOND)
    assert len(small.orders) > 10
    assert 2 < len(large.orders) <= 1 + SECOND // (20 * 40 * 40 * RESEND_RULE_US)
