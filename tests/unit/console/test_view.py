from services.console.core.history import history
from services.console.core.incidents import listed
from services.console.core.state import STALE_US, Filling, State
from services.console.core.status import status
from services.console.core.view import (
    EVENTS_MAX,
    INCIDENTS_MAX,
    RETRY_US,
    Past,
    ReadPast,
    Tick,
    Unread,
    Wake,
    decide,
)
from services.console.shell import HEARD, heard_patterns
from shared.api import Event
from shared.frozen import replace
from shared.instant import MINUTE, SECOND
from shared.messages.facts import IncidentClosed, IncidentOpened, IncidentState, IncidentUpdated
from shared.messages.table import BY_MESSAGE
from shared.messages.traffic import Applied, Drift, Failover, Stage
from shared.rules import digest
from tests.fakes.situations import (
    WALL,
    heartbeat,
    incident,
    measured,
    plan,
    refused,
    situation,
    without_b,
)
from tests.unit.console.play import START, after, begun, filled, said, well


def applied(
    sequence: int, stage: Stage = Stage.INSTALLED, *, node: str = "node-b", name: str | None = None
) -> Applied:
    return Applied(
        node=node,
        boot_id="00",
        epoch=3,
        sequence=sequence,
        stage=stage,
        digest=digest(without_b()),
        incident=name,
        detail="",
        persist_us=400,
        install_us=900,
        verify_us=1_100,
    )


def test_a_cluster_of_which_everything_is_known_and_well_is_serving() -> None:
    seen = status(well(), START, WALL)
    assert (seen["verdict"], seen["headline"]) == ("serving", "serving")


def test_nothing_is_called_well_for_longer_than_three_seconds_after_the_last_word() -> None:
    state = well()
    assert status(state, START + STALE_US, WALL)["verdict"] == "serving"
    stale = status(state, START + STALE_US + 1, WALL)
    assert stale["verdict"] == "unknown"
    assert "well" not in stale["headline"]
    assert not stale["knowledge"]["fresh"]
    assert stale["knowledge"]["text"] == "the arbiter on witness was last heard 3 s ago"
    assert {node["state"] for node in stale["nodes"]} == {"unknown"}
    assert {node["was"] for node in stale["nodes"]} == {"up"}
    assert {i["state"] for s in stale["services"] for i in s["instances"]} == {"unknown"}
    assert {node["installed"] for node in stale["nodes"]} == {"unknown", "none"}
    assert stale["readiness"] == []


def test_a_load_balancer_that_falls_silent_is_unknown_while_the_rest_is_known() -> None:
    later = START + STALE_US + 1
    state = after(well(), situation(), measured("node-a"), at=later)
    seen = status(state, later, WALL)
    nodes = {node["name"]: node for node in seen["nodes"]}
    assert (nodes["node-a"]["installed"], nodes["node-a"]["verified"]) == ("yes", "yes")
    assert (nodes["node-b"]["installed"], nodes["node-b"]["verified"]) == ("unknown", "unknown")
    assert seen["verdict"] == "degraded"


def test_a_new_plan_is_wanted_before_it_is_installed_and_installed_before_it_is_verified() -> None:
    wanted = plan(42, rules=without_b())
    state = after(well(), situation(wanted))
    assert _truths(state) == ("no", "unknown")
    state = after(state, applied(42))
    assert _truths(state) == ("yes", "unknown")
    state = after(state, applied(42, Stage.VERIFIED))
    assert _truths(state) == ("yes", "yes")


def _truths(state: State) -> tuple[str, str]:
    seen = status(state, START, WALL)
    node = next(node for node in seen["nodes"] if node["name"] == "node-b")
    return node["installed"], node["verified"]


def test_a_plan_that_could_not_be_installed_is_neither_installed_nor_verified() -> None:
    state = after(well(), situation(plan(42, rules=without_b())), applied(42, Stage.FAILED))
    assert _truths(state) == ("no", "no")


def test_a_late_word_about_an_older_plan_takes_nothing_back() -> None:
    wanted = plan(42, rules=without_b())
    state = after(well(), situation(wanted), applied(42, Stage.VERIFIED))
    assert _truths(after(state, measured("node-b"))) == ("yes", "yes")
    assert _truths(after(state, applied(40, Stage.FAILED))) == ("yes", "yes")


def test_a_report_proves_again_what_a_lost_word_had_verified() -> None:
    wanted = plan(42, rules=without_b())
    state = after(well(), situation(wanted), measured("node-b", wanted))
    assert _truths(state) == ("yes", "yes")


def test_a_deposed_arbiter_is_not_believed_while_the_leader_speaks() -> None:
    state = after(begun(), situation(plan(1, epoch=4)), situation(plan(99, epoch=3)))
    assert status(state, START, WALL)["plan"] == {"epoch": 4, "sequence": 1}
    later = START + STALE_US + 1
    state = after(state, situation(plan(99, epoch=3)), at=later)
    assert status(state, later, WALL)["plan"] == {"epoch": 3, "sequence": 99}


def test_what_strangers_say_is_not_remembered() -> None:
    stranger = replace(refused("mallory"), node="node-z")
    state = after(begun(), heartbeat("mallory"), measured("mallory"), stranger)
    assert (state.heartbeats, state.balancers, state.evidence) == ({}, {}, {})


def test_memory_is_bounded_whatever_is_said() -> None:
    state = begun()
    for number in range(EVENTS_MAX + 100):
        opened = incident(f"I{number:05}", began_wall_us=WALL + number)
        drift = Drift(
            node="node-a",
            service=f"service-{number}",
            target="node-b",
            wanted="out",
            installed="weight 1",
            repaired=True,
            by="someone else",
        )
        state = after(state, IncidentOpened(incident=opened), drift)
    assert len(state.events) == EVENTS_MAX
    assert len(state.incidents) == INCIDENTS_MAX
    assert len(state.drifts) <= 100
    assert len(state.installs) <= 1
    newest = listed(state, WALL)["incidents"][0]["id"]
    assert newest == f"I{EVENTS_MAX + 99:05}"


def test_one_incident_takes_little_memory_whoever_wrote_it() -> None:
    huge = replace(
        incident(),
        sentence="x" * 4_000,
        evidence=incident().evidence * 5_000,
        phases=incident().phases * 2_000,
    )
    known = after(begun(), IncidentOpened(incident=huge)).incidents["7K2F0A"].incident
    assert len(known.sentence) <= 400
    assert len(known.evidence) <= 100
    assert len(known.phases) <= 50


def test_a_plan_repeated_to_every_node_is_one_event() -> None:
    state = begun()
    for _ in range(20):
        state = after(state, Failover(plan=plan(42, reason="shoes failed on node-b")))
    texts = [event["text"] for event in _events(state)]
    assert texts == ["plan 3.42 (failover): shoes failed on node-b"]


def _events(state: State) -> list[Event]:
    found = history(state, since_wall_us=None, incident=None, limit=100)
    return found["events"]


def test_new_events_wake_those_who_follow_and_repeated_ones_do_not() -> None:
    told = said(Failover(plan=plan(42)))
    state, actions = decide(begun(), told, START)
    assert actions == (Wake(),)
    _, actions = decide(state, told, START)
    assert actions == ()


def test_the_past_is_read_when_the_bus_is_found_and_again_when_that_failed() -> None:
    state, actions = decide(begun(), Tick(bus=False), START)
    assert actions == ()
    state, actions = decide(state, Tick(bus=True), START)
    assert actions == (ReadPast(),)
    state, actions = decide(state, Tick(bus=True), START)
    assert actions == ()
    state, _ = decide(state, Unread(), START)
    state, actions = decide(state, Tick(bus=True), START + RETRY_US - 1)
    assert actions == ()
    state, actions = decide(state, Tick(bus=True), START + RETRY_US)
    assert actions == (ReadPast(),)
    state, _ = decide(state, Past(heard=(), done=True), START)
    assert state.filling is Filling.FILLED


def test_the_past_is_read_again_after_the_bus_was_away() -> None:
    state = filled(begun())
    state, actions = decide(state, Tick(bus=False), START)
    assert actions == ()
    _, actions = decide(state, Tick(bus=True), START)
    assert actions == (ReadPast(),)


def test_the_past_fills_gaps_and_never_replaces_what_is_newer() -> None:
    live = IncidentClosed(incident=incident(state=IncidentState.CLOSED))
    state = after(begun(), said(live, time="2026-11-19T04:13:00Z"))
    old = said(IncidentOpened(incident=incident()), time="2026-11-19T04:12:08Z")
    other = said(IncidentOpened(incident=incident("OLDER1", began_wall_us=WALL - MINUTE)))
    state = filled(state, old, other)
    states = {item["id"]: item["state"] for item in listed(state, WALL)["incidents"]}
    assert states == {"7K2F0A": "closed", "OLDER1": "handled"}


def test_what_the_bus_kept_while_we_were_away_is_taken() -> None:
    state = after(begun(), said(IncidentOpened(incident=incident()), time="2026-11-19T04:12:08Z"))
    closed = IncidentClosed(incident=incident(state=IncidentState.CLOSED))
    state = filled(state, said(closed, time="2026-11-19T04:12:33Z"))
    assert listed(state, WALL)["incidents"][0]["state"] == "closed"


def test_an_events_id_is_the_same_live_and_from_the_past() -> None:
    told = said(Failover(plan=plan(42)), name="one")
    again = said(Failover(plan=plan(42)), name="another")
    assert len(filled(after(begun(), told), again).events) == 1


def test_how_each_node_followed_an_incidents_first_plan_is_kept_apart_from_its_return() -> None:
    opened = IncidentOpened(incident=incident())
    state = after(begun(), applied(42, name="7K2F0A"), opened)
    state = after(state, applied(42, Stage.VERIFIED, name="7K2F0A"))
    state = after(state, applied(42, name="7K2F0A"), applied(43, Stage.VERIFIED, name="7K2F0A"))
    state = after(state, IncidentUpdated(incident=incident(state=IncidentState.RETURNING)))
    installs = state.incidents["7K2F0A"].installs
    assert {node: item.stage for node, item in installs.items()} == {"node-b": Stage.VERIFIED}
    assert installs["node-b"].sequence == 42


def test_failed_requests_are_counted_over_restarts_of_the_load_balancer_and_forgotten() -> None:
    state = well()
    for requests, failed in ((100, 3), (120, 4), (10, 1)):
        state = after(state, measured("node-a", requests=requests, failed=failed))
    assert _failed(state, START) == 5
    assert _failed(state, START + 61 * MINUTE) == 0


def _failed(state: State, now: int) -> int | None:
    return status(state, now, WALL)["services"][0]["failed"]


def test_rates_and_shares_come_from_what_is_counted() -> None:
    state = well()
    for second in range(1, 11):
        now = START + second * SECOND
        reports = [measured(name, requests=100 * second) for name in ("node-a", "node-b")]
        state = after(state, situation(), *reports, at=now)
    seen = status(state, START + 10 * SECOND, WALL)
    assert [service["requests_per_s"] for service in seen["services"]] == [200.0, 200.0]
    assert [node["share_percent"] for node in seen["nodes"]] == [50, 50, None]


def test_a_console_hears_everything_but_each_plan_only_once() -> None:
    cluster = well().cluster
    for member, node in (("node-b", "node-b"), ("witness", "node-a")):
        patterns = heard_patterns(cluster, member)
        assert [each for each in patterns if each.startswith("command")] == [f"command.{node}"]
        assert {BY_MESSAGE[kind].pattern for kind in HEARD} - {"command.*"} < set(patterns)
