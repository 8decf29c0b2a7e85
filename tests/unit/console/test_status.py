import pytest

from services.console.core.rule_rows import rule_rows
from services.console.core.state import STALE_US, State
from services.console.core.status import overrides, status
from shared.frozen import replace
from shared.instant import HOUR, MINUTE
from shared.messages.facts import (
    IncidentOpened,
    InstanceState,
    NodeState,
    Situation,
    VipState,
)
from shared.messages.leases import Held, Holding
from shared.messages.table import Message
from shared.messages.traffic import Drift, Measured, Override, OverrideKind
from shared.rules import Admission, Rule, digest, original
from tests.fakes.situations import (
    WALL,
    believed,
    heartbeat,
    held,
    incident,
    lost_b,
    measured,
    node,
    placements,
    plan,
    shop,
    situation,
    without_b,
)
from tests.unit.console.play import START, after, begun, filled, well

SHOES_B = ("shoes", "node-b")


def maintenance(kind: OverrideKind = OverrideKind.MAINTENANCE) -> Override:
    return Override(
        kind=kind,
        service=None,
        node="node-b",
        owner="ana",
        reason="disk swap",
        since_wall_us=WALL - MINUTE,
        until_wall_us=WALL + HOUR,
    )


def differing() -> Measured:
    rules = original(shop())
    rules["shoes"]["node-b"] = Rule(Admission.SERVING, 7)
    return replace(measured("node-b"), digest=digest(rules), installed=rules)


def headline(*messages: Message) -> tuple[str, str]:
    seen = status(after(well(), *messages), START, WALL)
    return seen["verdict"], seen["headline"]


HELD = {
    ("shoes", name): believed(InstanceState.HELD, reason="time-outs")
    for name in ("node-a", "node-b")
}
OUT_B = {SHOES_B: believed(InstanceState.OUT, reason="connection refused")}


@pytest.mark.parametrize(
    ("said", "verdict", "words"),
    [
        (situation(beliefs=HELD), "not-serving", "not serving: shoes"),
        (situation(plan(42, rules=without_b()), beliefs=OUT_B), "degraded", "serving, no spare"),
        (situation(paused=True), "degraded", "serving, automation is paused"),
        (situation(incidents=("7K2F0A",)), "degraded", "serving, an incident is open"),
        (situation(incidents=("A", "B")), "degraded", "serving, 2 incidents are open"),
        (
            situation(nodes={"witness": node(NodeState.DEAD)}),
            "degraded",
            "serving, witness is dead",
        ),
        (
            situation(beliefs={SHOES_B: believed(InstanceState.RAMPING)}),
            "degraded",
            "serving, shoes/node-b is ramping",
        ),
        (
            measured("node-b", balancer_ok=False),
            "degraded",
            "serving, node-b's load balancer does not answer",
        ),
        (differing(), "degraded", "serving, node-b's load balancer differs from the plan"),
        (situation(alarms=("look here",)), "degraded", "serving, an alarm"),
        (
            heartbeat("node-b", configuration="other"),
            "degraded",
            "serving, node-b runs another configuration",
        ),
    ],
)
def test_the_verdict_is_the_gravest_lack_in_words(said: Message, verdict: str, words: str) -> None:
    assert headline(said) == (verdict, words)


def test_no_load_balancer_that_answers_is_not_serving() -> None:
    dead = [measured(name, balancer_ok=False) for name in ("node-a", "node-b")]
    assert headline(*dead) == ("not-serving", "not serving: no load balancer answers")


def test_what_is_installed_and_never_tried_is_not_called_serving() -> None:
    fresh = filled(begun())
    reports = [measured(name, verified=False) for name in ("node-a", "node-b")]
    seen = status(after(fresh, situation(), *reports), START, WALL)
    assert seen["headline"] == "serving, not verified on node-a"


def test_a_service_whose_only_server_is_on_a_dead_node_is_not_serving() -> None:
    alone = situation(plan(42, rules=without_b()), nodes={"node-a": node(NodeState.DEAD)})
    assert headline(alone)[0] == "not-serving"


def test_a_node_in_maintenance_is_called_so_as_long_as_it_lives() -> None:
    resting = plan(42, rules=without_b(), overrides=(maintenance(),))
    assert _node(after(well(), situation(resting)))["state"] == "maintenance"
    dead = situation(resting, nodes={"node-b": node(NodeState.DEAD)})
    assert _node(after(well(), dead))["state"] == "dead"


def _node(state: State) -> dict[str, object]:
    nodes = status(state, START, WALL)["nodes"]
    return dict(next(item for item in nodes if item["name"] == "node-b"))


def test_readiness_is_said_in_sentences_with_the_reason() -> None:
    seen = status(after(well(), situation(plan(42, rules=without_b()))), START, WALL)
    assert [item["sentence"] for item in seen["readiness"]] == [
        "if node-a fails, node-b cannot take shoes, because node-b: out: connection refused",
        "if node-a fails, node-b can take orders",
    ]


def test_overrides_are_shown_with_owner_reason_and_end_and_how_to_end_them() -> None:
    state = after(well(), situation(plan(42, overrides=(maintenance(),))))
    (item,) = overrides(state, START, WALL)["overrides"]
    assert (item["owner"], item["reason"], item["left_us"]) == ("ana", "disk swap", HOUR)
    assert item["until"] == "2026-11-19T05:12:08.000000Z"
    advice = status(state, START, WALL)["next"]
    assert advice == ["end early: equipoise maintenance end node-b --reason …"]


def test_the_next_steps_name_what_to_repair_and_what_to_read() -> None:
    broken = situation(
        plan(42, rules=without_b()),
        beliefs=OUT_B,
        nodes={"witness": node(NodeState.DEAD, reason="silent for 4 s")},
        incidents=("7K2F0A",),
    )
    state = after(well(), IncidentOpened(incident=incident()), broken)
    seen = status(state, START, WALL)
    assert seen["next"] == [
        "repair witness, because silent for 4 s; it comes back by itself",
        "repair shoes/node-b, because connection refused",
        "why: equipoise explain 7K2F0A",
    ]
    assert [item["id"] for item in seen["incidents"]] == ["7K2F0A"]


def test_without_a_bus_the_last_word_is_shown_with_its_age_and_what_to_do() -> None:
    state = replace(well(), bus=False)
    seen = status(state, START + STALE_US + 4_000_000, WALL)
    assert seen["knowledge"]["text"] == (
        "the arbiter on witness was last heard 7 s ago; the bus is not reachable from here"
    )
    assert seen["next"] == ["look whether nats-server runs and is reachable: nats://127.0.0.1:4222"]


def test_a_console_that_never_heard_anything_says_so() -> None:
    seen = status(begun(), START + 5_000_000, WALL)
    assert (seen["verdict"], seen["headline"]) == ("unknown", "unknown: nothing is known")
    assert seen["plan"] is None
    assert seen["knowledge"]["text"].startswith("no arbiter has been heard since this console")


def test_rules_show_every_instance_in_every_load_balancer() -> None:
    rows = rule_rows(well(), START)
    assert len(rows["rules"]) == 2 * 2 * 2
    assert (rows["differs"], rows["away"]) == (False, 0)
    assert {row["verified"] for row in rows["rules"]} == {"yes"}


def test_a_rule_that_is_not_as_wanted_differs_and_says_by_whom() -> None:
    drift = Drift(
        node="node-b",
        service="shoes",
        target="node-b",
        wanted="weight 100",
        installed="weight 7",
        repaired=False,
        by="someone else",
    )
    rows = rule_rows(after(well(), differing(), drift), START)
    (row,) = [row for row in rows["rules"] if row["differs"]]
    assert (row["node"], row["service"], row["target"]) == ("node-b", "shoes", "node-b")
    assert (row["wanted"], row["installed"]) == ("weight 100", "weight 7")
    assert row["by"] == "someone else"


def test_rules_away_from_the_original_settings_are_counted() -> None:
    wanted = plan(42, rules=without_b())
    state = after(well(), situation(wanted), *(measured(n, wanted) for n in ("node-a", "node-b")))
    rows = rule_rows(state, START)
    assert (rows["differs"], rows["away"]) == (False, 1)


def test_what_is_not_known_now_differs_and_is_never_shown_as_installed() -> None:
    rows = rule_rows(well(), START + STALE_US + 1)
    assert rows["differs"]
    assert {row["installed"] for row in rows["rules"]} == {None}
    assert {row["wanted"] for row in rows["rules"]} == {None}


def test_a_situation_about_unknown_services_breaks_nothing() -> None:
    strange: Situation = replace(situation(), nodes={}, instances={})
    state = after(well(), replace(strange, plan=plan(50, rules={"x": {}})))
    assert status(state, START, WALL)["verdict"] == "not-serving"
    assert rule_rows(state, START)["differs"]


def test_a_vip_that_nobody_holds_is_the_gravest_lack_and_all_of_them_are_no_service() -> None:
    one = situation(vips={"api": held("api", state=VipState.DARK, reason="nobody is fit")})
    assert headline(one) == ("degraded", "serving, 1 of 2 VIPs")
    dark = {name: held(name, state=VipState.DARK) for name in ("web", "api")}
    assert headline(situation(vips=dark)) == ("not-serving", "not serving: all 2 VIPs are dark")
    advice = status(after(well(), one), START, WALL)["next"]
    assert advice == ["api is dark, because nobody is fit: equipoise why api"]


def test_a_vip_away_from_home_and_one_not_yet_answered_are_named() -> None:
    moved = plan(42, vips=placements(api="node-a"))
    reports = [measured(name, moved) for name in ("node-a", "node-b")]
    assert headline(situation(moved), *reports) == (
        "degraded",
        "serving, api is away from home, on node-a",
    )
    taking = situation(vips={"api": held("api", state=VipState.TAKING)})
    assert headline(taking) == ("degraded", "serving, api is being taken by node-b")


def test_an_arbiter_that_says_nothing_of_vips_leaves_them_unknown() -> None:
    silent = replace(situation(), vips={})
    seen = status(after(well(), silent), START, WALL)
    assert seen["headline"] == "serving, 0 of 2 VIPs"
    assert {vip["state"] for vip in seen["vips"]} == {"unknown"}


def test_a_vip_is_unknown_three_seconds_after_the_last_word_and_says_what_it_was() -> None:
    (web, _) = status(well(), START + STALE_US + 1, WALL)["vips"]
    assert (web["state"], web["was"], web["answers"]) == ("unknown", "held", "unknown")


def test_a_node_that_returns_says_what_it_waits_for_and_which_vips_it_holds() -> None:
    seen = _node(after(well(), lost_b()))
    assert (seen["state"], seen["vips"], seen["waiting_for"]) == ("dead", [], "its beats")
    assert seen["signals"] == ["silent on the bus for 320 ms", "not heard by UDP for 310 ms"]


def test_rules_show_where_each_vip_is_to_be_and_is() -> None:
    rows = rule_rows(well(), START)["vips"]
    assert [(row["node"], row["vip"], row["wanted"], row["installed"]) for row in rows] == [
        ("node-a", "web", "here", "here"),
        ("node-b", "api", "here", "here"),
    ]
    assert not any(row["differs"] for row in rows)


def test_while_a_lease_is_waited_for_both_nodes_are_shown_and_differ() -> None:
    taken = Held(node="node-b", vip="api", term=(3, 1), holding=Holding.TAKEN, reason="granted")
    moved = plan(42, vips=placements(api="node-a"))
    waiting = situation(moved, vips={"api": held("api", moved, state=VipState.WAITING)})
    rows = rule_rows(after(well(), taken, waiting), START)["vips"]
    of_api = [row for row in rows if row["vip"] == "api"]
    assert [(row["node"], row["wanted"], row["installed"]) for row in of_api] == [
        ("node-a", "here", "not here"),
        ("node-b", "elsewhere", "here"),
    ]
    assert all(row["differs"] for row in of_api)
    done = situation(moved)  # whoever was lost never said that it released it
    assert [row["node"] for row in rule_rows(after(well(), taken, done), START)["vips"]] == [
        "node-a",
        "node-a",
    ]


def test_vips_away_from_home_count_as_rules_away_from_the_original_settings() -> None:
    moved = plan(42, vips=placements(api="node-a"))
    reports = [measured(name, moved) for name in ("node-a", "node-b")]
    rows = rule_rows(after(well(), situation(moved), *reports), START)
    assert (rows["differs"], rows["away"]) == (False, 1)
