"""What follows from a node's loss, and its way back."""

from services.arbiter.core.situation import alarms, situation
from services.arbiter.core.state import RETURNING_STATES
from shared.cluster import Mode
from shared.company import companions
from shared.frozen import replace
from shared.instant import MILLISECOND, SECOND
from shared.messages.facts import (
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    InstanceState,
    NodeState,
)
from shared.messages.operator import Answer, Verb
from shared.messages.traffic import Failover
from shared.rules import Admission, original
from tests.unit.arbiter.play import Play, cluster_of, service

OUT, SERVING, STANDBY = Admission.OUT, Admission.SERVING, Admission.STANDBY
LOSS_US = 250 * MILLISECOND  # three beats, and what the ticks and beats of the stage add
HOLD_US = 30 * SECOND


def lost(play: Play, node: str = "node-b") -> Play:
    """Let a node be lost, and noticed."""
    play.lose(node)
    play.pass_by(LOSS_US)
    assert play.state.members[node].is_lost
    return play


def incident_of(play: Play, node: str = "node-b") -> str:
    name = play.state.members[node].incident
    assert name is not None
    return name


def two_services() -> Play:
    return Play(cluster=cluster_of(service("api"), service("shop"), nodes=3))


def test_all_instances_of_a_lost_node_leave_in_one_plan() -> None:
    play = two_services()
    before = play.plan.sequence
    lost(play)
    assert play.plan.sequence == before + 1
    assert isinstance(play.state.command, Failover)
    for name in ("api", "shop"):
        assert play.admissions(name) == {"node-a": SERVING, "node-b": OUT, "node-c": SERVING}


def test_a_loss_is_one_incident_that_says_what_was_weighed() -> None:
    play = lost(two_services())
    opened = play.incidents(IncidentOpened)
    assert [each.id for each in opened] == [incident_of(play)]
    incident = opened[0]
    assert (incident.service, incident.node, incident.planned) == ("", "node-b", False)
    assert incident.sentence.startswith("node-b was lost: silent on the bus for ")
    assert "(2/3 of its lease are 167 ms), by UDP for " in incident.sentence
    assert "(node-a and node-c and witness)" in incident.sentence
    assert incident.sentence.endswith("; the other nodes serve api and shop")
    assert "not fenced by power" in incident.not_done
    assert sorted(incident.before) == ["api/node-b", "shop/node-b"]


def test_the_dead_are_not_waited_for() -> None:
    play = lost(two_services())
    play.pass_by(100 * MILLISECOND)
    incident = play.state.cases[incident_of(play)].incident
    assert incident.state is IncidentState.HANDLED
    assert [phase.name for phase in incident.phases] == ["detect", "decide", "switch", "verify"]
    assert incident.faster.startswith("detect took ")
    assert "lease: auto chose 250 ms because its beats came up to 100 ms" in incident.faster


def test_the_last_instance_of_a_service_stays_though_its_node_is_silent() -> None:
    play = Play()
    play.refuse("node-a")
    lost(play)
    instance = play.state.instance(("shop", "node-b"))
    assert play.admissions() == {"node-a": OUT, "node-b": SERVING}
    assert instance.state is InstanceState.HELD
    assert instance.reason == ("node-b was lost, yet left serving: nothing else would serve shop")
    play.heal("node-a")
    play.pass_by(100 * MILLISECOND)
    assert play.admissions() == {"node-a": SERVING, "node-b": OUT}
    assert play.state.instance(("shop", "node-b")).incident == incident_of(play)


def test_a_mirror_moves_to_another_node_and_comes_home() -> None:
    play = Play(cluster=cluster_of(service("db", Mode.MIRROR, home="node-b"), nodes=3))
    lost(play)
    assert play.admissions("db") == {"node-a": SERVING, "node-b": OUT, "node-c": STANDBY}
    play.find("node-b")
    play.pass_by(HOLD_US + 10 * SECOND)
    assert play.plan.services == original(play.cluster)


def test_a_mirrors_standby_on_a_lost_node_is_no_standby_any_more() -> None:
    play = Play(cluster=cluster_of(service("db", Mode.MIRROR, home="node-a"), nodes=3))
    lost(play)
    assert play.admissions("db") == {"node-a": SERVING, "node-b": OUT, "node-c": STANDBY}


def test_refused_probes_that_come_first_go_on_in_the_incident_of_the_node() -> None:
    play = two_services()
    play.lose("node-b")
    play.refuse("node-b", "api", observer="node-a")
    play.refuse("node-b", "shop", observer="node-a")
    play.pass_by(LOSS_US)
    name = incident_of(play)
    assert len(play.incidents(IncidentOpened)) == 3
    assert list(play.state.cases) == [name]
    closed = play.incidents(IncidentClosed)
    assert [each.merged_into for each in closed] == [name, name]
    assert all(f"it was the loss of node-b: goes on as {name}" in each.sentence for each in closed)
    incident = play.state.cases[name].incident
    assert any(item.what == "connection refused" for item in incident.evidence)
    assert sorted(incident.before) == ["api/node-b", "shop/node-b"]
    assert {play.state.instance((s, "node-b")).incident for s in ("api", "shop")} == {name}
    play.sick.clear()
    play.find("node-b")
    play.pass_by(90 * SECOND)
    assert not play.state.cases
    assert play.plan.services == original(play.cluster)


def test_an_older_incident_of_an_instance_goes_its_own_way() -> None:
    play = two_services()
    play.refuse("node-b", "api")
    own = play.state.instance(("api", "node-b")).incident
    play.pass_by(5 * SECOND)
    lost(play)
    assert own in play.state.cases
    assert play.state.instance(("api", "node-b")).incident == own
    play.sick.clear()
    play.find("node-b")
    play.pass_by(120 * SECOND)
    assert not play.state.cases
    assert play.plan.services == original(play.cluster)


def test_a_node_is_observed_before_its_instances_are_ramped() -> None:
    play = lost(two_services())
    play.pass_by(5 * SECOND)
    play.find("node-b")
    play.pass_by(HOLD_US - SECOND)
    where = {play.state.instance((name, "node-b")).state for name in ("api", "shop")}
    assert where == {InstanceState.OBSERVED}
    belief = situation(play.state, play.now)
    assert belief.nodes["node-b"].waiting_for.startswith("being heard for ")
    assert belief.instances["shop"]["node-b"].waiting_for.startswith("node-b being heard for ")
    play.pass_by(2 * SECOND)
    where = {play.state.instance((name, "node-b")).state for name in ("api", "shop")}
    assert where == {InstanceState.RAMPING}


def test_a_return_ends_with_the_original_settings_and_its_phases() -> None:
    play = lost(two_services())
    play.find("node-b")
    play.pass_by(60 * SECOND)
    assert play.plan.services == original(play.cluster)
    closed = play.incidents(IncidentClosed)
    assert len(closed) == 1
    names = [phase.name for phase in closed[0].recovery]
    assert names == ["out", "observe", "match", "ramp", "compare"]
    assert play.state.members["node-b"].incident is None


def test_a_blip_is_a_loss_and_a_return() -> None:
    play = Play()
    play.lose("node-b")
    play.pass_by(200 * MILLISECOND)
    play.find("node-b")
    play.pass_by(100 * MILLISECOND)
    assert play.state.members["node-b"].state is NodeState.UP
    assert play.admissions()["node-b"] is OUT
    play.pass_by(60 * SECOND)
    assert play.admissions()["node-b"] is SERVING


def test_a_relapse_doubles_the_time_of_observation() -> None:
    play = lost(Play())
    play.find("node-b")
    play.pass_by(10 * SECOND)
    lost(play)
    assert play.state.members["node-b"].relapses == 1
    assert len(play.incidents(IncidentOpened)) == 1
    assert "; again: node-b was lost" in play.state.cases[incident_of(play)].incident.sentence
    play.find("node-b")
    play.pass_by(2 * HOLD_US - SECOND)
    assert play.state.instance(("shop", "node-b")).state in RETURNING_STATES
    play.pass_by(20 * SECOND)
    assert play.admissions()["node-b"] is SERVING


def test_a_relapse_is_forgotten_after_a_quiet_hour() -> None:
    play = lost(Play())
    play.find("node-b")
    play.pass_by(60 * SECOND)
    member = play.state.members["node-b"]
    assert member.lost_at is not None
    old = replace(member, lost_at=member.lost_at - play.cluster.policy.forget_us)
    play.state = replace(play.state, members={**play.state.members, "node-b": old})
    lost(play)
    assert play.state.members["node-b"].relapses == 0


def test_a_zombie_returns_like_everybody_else() -> None:
    play = lost(Play())
    boot = play.state.members["node-b"].boot_id
    play.pass_by(10 * SECOND)
    play.find("node-b")
    play.pass_by(10 * SECOND)
    assert play.state.members["node-b"].boot_id == boot
    assert play.admissions()["node-b"] is OUT
    play.pass_by(40 * SECOND)
    assert play.admissions()["node-b"] is SERVING


def test_the_incident_stays_open_while_the_nodes_switcher_is_absent() -> None:
    play = lost(Play())
    play.find("node-b")
    play.deaf.add("node-b")
    play.pass_by(90 * SECOND)
    assert play.admissions()["node-b"] is SERVING
    case = play.state.cases[incident_of(play)]
    assert case.incident.waiting_for == "the switcher of node-b, which is not heard"
    play.deaf.clear()
    play.install(play.plan, ("node-b",))
    play.pass_by(2 * SECOND)
    assert not play.state.cases


def test_no_incident_closes_while_the_switcher_of_a_living_node_is_absent() -> None:
    play = Play(cluster=cluster_of(nodes=3))
    play.deaf.add("node-c")
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(60 * SECOND)
    assert play.admissions()["node-b"] is SERVING
    assert [c.incident.waiting_for for c in play.state.cases.values()] == [
        "the switcher of node-c, which is not heard"
    ]


def test_a_lost_node_keeps_no_other_incident_open() -> None:
    play = lost(Play(cluster=cluster_of(nodes=3)), "node-c")
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(60 * SECOND)
    assert play.admissions()["node-b"] is SERVING
    assert list(play.state.cases) == [incident_of(play, "node-c")]


def test_a_restarted_arbiter_goes_on_with_a_lost_node() -> None:
    play = lost(Play())
    name = incident_of(play)
    again = play.again()
    again.pass_by(10 * SECOND)
    assert again.admissions()["node-b"] is OUT
    assert again.state.members["node-b"].is_lost
    assert list(again.state.cases) == [name]
    again.find("node-b")
    again.pass_by(HOLD_US - SECOND)
    assert again.admissions()["node-b"] is OUT
    again.pass_by(30 * SECOND)
    assert again.plan.services == original(again.cluster)
    assert [each.id for each in again.incidents(IncidentClosed)] == [name]


def test_a_restarted_arbiter_that_has_lost_the_document_still_knows_what_it_is_about() -> None:
    play = lost(Play())
    again = Play(past=replace(play.past, plans=(play.state.command.plan,)), now=play.now)
    incident = again.state.cases[incident_of(play)].incident
    assert (incident.node, incident.service) == ("node-b", "")
    assert incident.sentence == "node-b was lost before this arbiter began"
    assert incident.cause.startswith("silent on the bus")


def test_a_closed_incident_is_not_opened_again_by_a_restart() -> None:
    play = lost(Play())
    name = incident_of(play)
    play.find("node-b")
    play.pass_by(60 * SECOND)
    assert not play.state.cases
    closed = play.incidents(IncidentClosed)[0]
    past = replace(play.past, plans=(play.state.command.plan,), incidents={name: closed})
    again = Play(past=past, now=play.now)
    assert not again.state.cases
    assert again.state.members["node-b"].incident is None


def test_while_automation_is_paused_a_loss_moves_nothing_and_is_an_incident() -> None:
    play = Play()
    assert play.ask(Verb.PAUSE).answer is Answer.ACCEPTED
    lost(play)
    assert play.admissions() == {"node-a": SERVING, "node-b": SERVING}
    assert play.state.instance(("shop", "node-b")).state is InstanceState.HELD
    assert incident_of(play) in play.state.cases
    play.ask(Verb.RESUME)
    play.pass_by(100 * MILLISECOND)
    assert play.admissions()["node-b"] is OUT


def test_the_loss_of_a_node_in_maintenance_surprises_nobody() -> None:
    play = Play()
    assert play.ask(Verb.MAINTENANCE_START, node="node-b").answer is Answer.ACCEPTED
    play.pass_by(40 * SECOND)
    lost(play)
    assert play.state.members["node-b"].incident is None
    assert len(play.incidents(IncidentOpened)) == 1


def test_nobody_returns_to_a_silent_node_whatever_its_kernel_accepts() -> None:
    play = lost(Play())
    play.dark.clear()
    play.pass_by(60 * SECOND)
    assert play.admissions()["node-b"] is OUT
    answer = play.ask(Verb.FAILBACK, node="node-b")
    assert answer.answer is Answer.UNSAFE


def test_a_person_may_bring_a_node_back_without_waiting() -> None:
    play = lost(Play())
    play.find("node-b")
    play.pass_by(3 * SECOND)
    assert play.ask(Verb.FAILBACK, node="node-b").answer is Answer.ACCEPTED
    play.pass_by(20 * SECOND)
    assert play.admissions()["node-b"] is SERVING


def test_all_nodes_but_one_may_be_lost() -> None:
    play = Play(cluster=cluster_of(nodes=4))
    play.lose("node-b", "node-c", "node-d")
    play.pass_by(SECOND)
    assert play.admissions() == {
        "node-a": SERVING,
        "node-b": OUT,
        "node-c": OUT,
        "node-d": OUT,
    }
    assert len(play.state.cases) == 3
    play.find("node-b", "node-c", "node-d")
    play.pass_by(120 * SECOND)
    assert not play.state.cases
    assert play.plan.services == original(play.cluster)


def test_when_all_nodes_are_silent_the_last_of_each_service_stays() -> None:
    play = two_services()
    play.lose("node-a", "node-b", "node-c")
    play.pass_by(2 * SECOND)
    for name in ("api", "shop"):
        assert list(play.admissions(name).values()).count(SERVING) == 1


def test_a_lost_node_is_an_alarm() -> None:
    play = lost(Play())
    assert "node-b is suspect: nothing is sent to it" in alarms(play.state, play.now)


def test_nothing_is_repeated_to_a_lost_node_until_it_is_heard_again() -> None:
    play = lost(Play())
    begin = len(play.orders)
    play.pass_by(2 * SECOND)
    assert len(play.orders) == begin
    play.find("node-b")
    play.pass_by(200 * MILLISECOND)
    assert play.orders[-1].to == ("node-b",)
    assert play.state.members["node-b"].installed == play.plan.number


def test_in_a_large_cluster_a_nodes_company_is_enough_to_miss_it() -> None:
    play = Play(cluster=cluster_of(service("shop"), nodes=12))
    company = companions(play.cluster, "node-b")
    play.unheard.update(name for name in play.cluster.members if name not in (*company, "node-b"))
    play.pass_by(SECOND)
    lost(play)
    evidence = play.incidents(IncidentOpened)[0].evidence
    assert {each.observer for each in evidence if each.what.startswith("hears nothing")} <= {
        *company
    }


def test_who_is_of_anothers_company_cannot_speak_for_a_node() -> None:
    play = Play(cluster=cluster_of(service("shop"), nodes=12))
    company = (*companions(play.cluster, "node-b"), "node-b")
    stranger = next(name for name in play.cluster.nodes if name not in company)
    play.lose("node-b")
    for _ in range(LOSS_US // (10 * MILLISECOND)):
        play.pass_by(20 * MILLISECOND)
        beat = play.heartbeat(stranger)
        play.tell(replace(beat, sequence=beat.sequence + 1, hears_us={"node-b": 0}))
    assert play.state.members["node-b"].is_lost
