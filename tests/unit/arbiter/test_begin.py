"""Starting, restarting, and being told of a newer plan."""

from dataclasses import replace

from services.arbiter.core import Past
from shared.instant import SECOND
from shared.messages.facts import IncidentClosed, IncidentOpened, InstanceState, LeaderChanged
from shared.messages.traffic import Refused
from shared.rules import Admission, Rule, original
from tests.unit.arbiter.play import POLICY, Play, cluster_of, service

OUT, SERVING = Admission.OUT, Admission.SERVING


def test_a_new_cluster_begins_with_the_original_settings() -> None:
    play = Play()
    assert play.plan.services == original(play.cluster)
    assert play.plan.epoch == 1
    assert play.orders[0].to == ("node-a", "node-b")
    assert any(isinstance(each, LeaderChanged) and each.epoch == 1 for each in play.said)


def test_a_restart_moves_no_traffic_and_speaks_under_a_higher_epoch() -> None:
    play = Play()
    play.refuse("node-b")
    again = play.again()
    assert again.plan.epoch == 2
    assert again.plan.services == play.plan.services
    again.pass_by(60 * SECOND)
    assert again.admissions()["node-b"] is OUT


def test_an_incident_goes_on_after_a_restart_and_is_closed() -> None:
    play = Play()
    play.refuse("node-b")
    again = play.again()
    again.heal("node-b")
    again.pass_by(60 * SECOND)
    assert again.plan.services == original(play.cluster)
    assert [each.id for each in again.incidents(IncidentClosed)] == [
        play.incidents(IncidentOpened)[0].id
    ]


def test_a_restart_in_the_ramp_goes_on_with_it() -> None:
    play = Play()
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(15 * SECOND)
    assert play.state.instance(("shop", "node-b")).state is InstanceState.RAMPING
    again = play.again()
    assert again.state.instance(("shop", "node-b")).state is InstanceState.RAMPING
    again.pass_by(20 * SECOND)
    assert again.plan.services == original(play.cluster)


def test_the_newest_of_all_plans_found_is_the_one_in_force() -> None:
    play = Play()
    old = play.plan
    play.refuse("node-b")
    again = play.again(plans=(old, play.state.command.plan, replace(old, epoch=0)))
    assert again.admissions()["node-b"] is OUT


def test_relapses_and_moves_outlive_a_restart() -> None:
    play = Play(cluster=cluster_of(policy=replace(POLICY, moves_max=2)))
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(5 * SECOND)
    again = play.again()
    again.pass_by(60 * SECOND)
    assert again.admissions()["node-b"] is OUT, "the window of moves is not forgotten"


def test_a_plan_of_an_older_configuration_is_taken_for_what_is_configured_now() -> None:
    play = Play()
    play.refuse("node-b")
    wider = cluster_of(service("shop"), service("till"), nodes=3, capacities=(200, 100, 100))
    again = Play(cluster=wider, past=Past(plans=(play.state.command.plan,), incidents={}))
    assert again.admissions() == {"node-a": SERVING, "node-b": OUT, "node-c": SERVING}
    assert again.weights()["node-c"] == 50
    assert again.plan.services["till"] == original(wider)["till"]


def test_a_plan_in_force_that_serves_nothing_is_not_adopted() -> None:
    play = Play()
    empty = {"shop": dict.fromkeys(("node-a", "node-b"), Rule(OUT, 0))}
    again = play.again(plans=(replace(play.plan, services=empty),))
    assert again.plan.services == original(play.cluster)


def test_a_switcher_with_a_newer_plan_makes_the_arbiter_begin_again() -> None:
    play = Play()
    play.tell(
        Refused(
            node="node-a",
            epoch=1,
            sequence=1,
            fence_epoch=7,
            fence_sequence=3,
            reason="older than the persisted plan",
        )
    )
    assert play.adoptions == 1
