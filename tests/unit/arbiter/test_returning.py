"""The way back: held down, matched, ramped, compared; and doubled for relapses."""

from dataclasses import replace

from services.arbiter.core import Past
from services.arbiter.core.state import Tick
from shared.cluster import FailbackMode, Mode
from shared.instant import MILLISECOND, SECOND
from shared.messages.facts import IncidentClosed, IncidentOpened, InstanceState
from shared.messages.operator import Answer, Verb
from shared.messages.traffic import Failback, InstanceLoad, Plan, Restore
from shared.rules import Admission, Rule, original
from tests.unit.arbiter.play import POLICY, Play, cluster_of, evidence, service

OUT, SERVING, STANDBY, DRAINING = (
    Admission.OUT,
    Admission.SERVING,
    Admission.STANDBY,
    Admission.DRAINING,
)


def state_of(play: Play, node: str = "node-b", name: str = "shop") -> InstanceState:
    return play.state.instance((name, node)).state


def test_an_instance_returns_after_its_hold_down_by_a_ramp_to_the_original_settings() -> None:
    play = Play()
    play.refuse("node-b")
    play.pass_by(SECOND)
    play.heal("node-b")
    play.pass_by(9 * SECOND)
    assert state_of(play) is InstanceState.OBSERVED
    play.pass_by(1_100_000)
    assert play.weights() == {"node-a": 100, "node-b": 1}
    assert isinstance(play.orders[-1].command, Failback)
    play.pass_by(5 * SECOND)
    assert play.weights()["node-b"] in (40, 50)
    play.pass_by(6 * SECOND)
    assert play.plan.services == original(play.cluster)
    assert isinstance(play.state.command, Restore)
    closed = play.incidents(IncidentClosed)[-1]
    assert [each.name for each in closed.recovery] == ["out", "observe", "match", "ramp", "compare"]
    assert set(closed.installed.values()) == {closed.original_digest}
    assert play.state.cases == {}


def test_an_incident_stays_open_while_what_is_installed_differs() -> None:
    play = Play()
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(15 * SECOND)
    play.deaf = {"node-a"}
    play.obedient = True
    member = play.state.members["node-a"]
    play.pass_by(8 * SECOND)
    assert member.installed <= play.plan.number
    assert play.incidents(IncidentClosed) == [] or "node-a" not in play.state.present(play.now)


def test_a_failure_in_the_ramp_takes_it_back_and_doubles_the_hold_down() -> None:
    play = Play()
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(12 * SECOND)
    assert state_of(play) is InstanceState.RAMPING
    play.refuse("node-b")
    assert play.admissions()["node-b"] is OUT
    play.heal("node-b")
    play.pass_by(15 * SECOND)
    assert state_of(play) is InstanceState.OBSERVED, "20 s now"
    play.pass_by(6 * SECOND)
    assert state_of(play) is InstanceState.RAMPING
    assert len(play.incidents(IncidentOpened)) == 1, "a relapse is the same incident"


def test_a_ramp_is_taken_back_when_errors_rise() -> None:
    play = Play()
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(12 * SECOND)
    assert state_of(play) is InstanceState.RAMPING
    play.loads["shop", "node-b"] = InstanceLoad(
        requests=play.now, errors=play.now // 2, sessions=0, up=True
    )
    play.pass_by(2 * SECOND)
    assert play.admissions()["node-b"] is OUT
    assert "errors in" in next(iter(play.state.cases.values())).incident.sentence


def test_what_was_counted_before_a_new_arbiter_began_does_not_end_a_ramp() -> None:
    counted = InstanceLoad(requests=541, errors=92, sessions=0, up=True)
    play = Play(loads={("shop", "node-b"): counted})
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(12 * SECOND)
    again = play.again()
    assert state_of(again) is InstanceState.RAMPING
    again.pass_by(15 * SECOND)
    assert again.plan.services == original(play.cluster)


def test_errors_in_a_ramp_that_a_new_arbiter_goes_on_with_end_it() -> None:
    play = Play()
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(12 * SECOND)
    again = play.again()
    again.pass_by(2 * SECOND)
    counted = again.now // MILLISECOND
    again.loads["shop", "node-b"] = InstanceLoad(
        requests=counted + 100, errors=50, sessions=0, up=True
    )
    again.pass_by(2 * SECOND)
    assert again.admissions()["node-b"] is OUT


def test_an_instance_that_does_not_match_stays_out_and_both_values_are_shown() -> None:
    play = Play()
    play.refuse("node-b")
    play.identities["shop", "node-b"] = "1.1"
    play.heal("node-b")
    play.pass_by(60 * SECOND)
    assert state_of(play) is InstanceState.MATCHED
    answer = play.ask(Verb.FAILBACK, "node-b", "shop")
    assert answer.answer is Answer.UNSAFE
    assert "node-b has 1.1" in answer.text
    assert "node-a has 1.0" in answer.text
    assert play.ask(Verb.FAILBACK, "node-b", "shop", force=True).answer is Answer.ACCEPTED
    play.pass_by(15 * SECOND)
    assert play.plan.services == original(play.cluster)


def test_manual_failback_waits_for_a_person() -> None:
    play = Play(cluster=cluster_of(policy=replace(POLICY, failback=FailbackMode.MANUAL)))
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(120 * SECOND)
    assert play.admissions()["node-b"] is OUT
    assert play.ask(Verb.FAILBACK, "node-b", "shop").answer is Answer.ACCEPTED
    play.pass_by(15 * SECOND)
    assert play.plan.services == original(play.cluster)


def test_a_sick_instance_does_not_return_even_when_a_person_insists() -> None:
    play = Play()
    play.refuse("node-b")
    answer = play.ask(Verb.FAILBACK, "node-b", "shop", force=True)
    assert answer.answer is Answer.UNSAFE
    play.pass_by(5 * SECOND)
    assert play.admissions()["node-b"] is OUT


def test_a_mirror_goes_home_at_once_and_the_stand_in_drains_before_it_stands_by() -> None:
    play = Play(cluster=cluster_of(service("orders", Mode.MIRROR)))
    play.loads["orders", "node-b"] = InstanceLoad(requests=0, errors=0, sessions=3, up=True)
    play.refuse("node-a", "orders")
    play.heal("node-a", "orders")
    play.pass_by(11_500_000)
    assert play.admissions("orders") == {"node-a": SERVING, "node-b": DRAINING}
    play.loads["orders", "node-b"] = InstanceLoad(requests=0, errors=0, sessions=0, up=True)
    play.pass_by(3 * SECOND)
    assert play.plan.services == original(play.cluster)
    assert play.state.cases == {}


def test_a_stand_in_that_a_person_takes_out_while_it_drains_does_not_stand_by() -> None:
    play = Play(cluster=cluster_of(service("orders", Mode.MIRROR)))
    play.loads["orders", "node-b"] = InstanceLoad(requests=0, errors=0, sessions=3, up=True)
    play.refuse("node-a", "orders")
    play.heal("node-a", "orders")
    play.pass_by(11_500_000)
    assert play.admissions("orders") == {"node-a": SERVING, "node-b": DRAINING}
    play.ask(Verb.MAINTENANCE_START, "node-b")
    play.loads["orders", "node-b"] = InstanceLoad(requests=0, errors=0, sessions=0, up=True)
    play.pass_by(3 * SECOND)
    assert play.admissions("orders") == {"node-a": SERVING, "node-b": OUT}
    play.ask(Verb.MAINTENANCE_END, "node-b")
    play.pass_by(20 * SECOND)
    assert play.plan.services == original(play.cluster)
    assert play.state.cases == {}


def test_a_mirrors_home_that_was_relieved_while_bad_comes_home_when_well() -> None:
    play = Play(cluster=cluster_of(service("orders", Mode.MIRROR)))
    play.refuse("node-b", "orders")
    play.refuse("node-a", "orders")
    play.sick.pop(("orders", "node-b"))
    for observer in play.cluster.nodes:
        play.tell(evidence(observer, "orders", "node-b", sequence=play.sequence + 1))
    play.tell(Tick(wall_us=play.wall_us + play.now))
    assert play.admissions("orders")["node-b"] is SERVING
    play.sequence += 1
    play.heal("node-a", "orders")
    play.pass_by(60 * SECOND)
    assert play.plan.services == original(play.cluster)
    assert play.state.cases == {}


def test_a_new_arbiter_brings_a_mirrors_home_back_that_was_relieved() -> None:
    cluster = cluster_of(service("orders", Mode.MIRROR))
    rules = {
        "orders": {"node-a": Rule(Admission.STANDBY, 0), "node-b": Rule(Admission.SERVING, 100)}
    }
    relieved = Plan(epoch=1, sequence=7, services=rules, reason="node-a is bad")
    play = Play(cluster=cluster, past=Past(plans=(relieved,), incidents={}))
    play.pass_by(60 * SECOND)
    assert play.plan.services == original(cluster)


def test_weights_by_capacity_are_restored_exactly() -> None:
    play = Play(cluster=cluster_of(capacities=(300, 100)))
    assert play.weights() == {"node-a": 99, "node-b": 33}
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(25 * SECOND)
    assert play.weights() == {"node-a": 99, "node-b": 33}
    assert play.state.cases == {}


def test_relapses_are_forgotten_after_a_quiet_hour() -> None:
    play = Play()
    for _ in range(2):
        play.refuse("node-b")
        play.heal("node-b")
        play.pass_by(60 * SECOND)
    assert play.state.instance(("shop", "node-b")).relapses == 1
    instance = play.state.instance(("shop", "node-b"))
    assert instance.failed_at is not None
    aged = replace(instance, failed_at=instance.failed_at - 3_700 * SECOND)
    some = {**play.state.instances["shop"], "node-b": aged}
    play.state = replace(play.state, instances={**play.state.instances, "shop": some})
    play.refuse("node-b")
    assert play.state.instance(("shop", "node-b")).relapses == 0
