"""Whom the drills hit, and what is said of it."""

from services.sandbox.configuration import cluster_file
from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.drill import Aim
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.play import differing
from services.sandbox.drills.scene import recent
from services.sandbox.network import addresses, node_names
from services.sandbox.options import Options
from shared.api import RuleRow, Rules
from shared.cluster import Cluster
from shared.settings.load import examine_text


def cluster(count: int = 2) -> Cluster:
    nodes = node_names(count)
    text = cluster_file(Options(nodes=count), "sandbox", nodes, addresses(nodes))
    report = examine_text(text, "equipoise.yaml", {})
    assert report.settings is not None, report.text()
    return report.settings.cluster


def targets(name: Name, count: int = 2) -> list[str]:
    return [aim.target for aim in DRILLS[name].aims(cluster(count))]


def test_there_is_a_drill_for_every_name() -> None:
    assert set(DRILLS) == set(Name)
    assert all(drill.name is name for name, drill in DRILLS.items())


def test_what_can_be_lost_without_loss_is_hit_everywhere_in_turn() -> None:
    for name in (Name.KILL_INSTANCE, Name.HANG_INSTANCE):
        assert targets(name) == ["shop/node-b", "shop/node-a", "orders/node-a"]
    assert targets(Name.PLANNED_FAILOVER) == [
        "node-b",
        "node-a",
        "shop/node-b",
        "shop/node-a",
        "orders/node-a",
    ]
    assert targets(Name.KILL_INSTANCE, 3)[:3] == ["shop/node-c", "shop/node-b", "shop/node-a"]


def test_every_node_is_lost_in_every_way_in_turn_the_primary_last() -> None:
    lost = [name for name, drill in DRILLS.items() if drill.toll is Toll.TAKEOVER]
    assert lost == [
        Name.KILL_BALANCER,
        Name.HANG_BALANCER,
        Name.UNPLUG_NODE,
        Name.CUT_NODE,
        Name.CUT_NODE_IN,
        Name.CUT_NODE_OUT,
        Name.FREEZE_NODE,
        Name.KILL_NODE,
        Name.CLIENT_NETWORK_DOWN,
    ]
    assert all(targets(name, 3) == ["node-c", "node-b", "node-a"] for name in lost)
    assert targets(Name.RESTART_EVERYTHING) == ["everything"]


def test_what_is_done_to_a_node_is_said() -> None:
    aim = Aim(node="node-b")
    assert [DRILLS[name].words(aim) for name in (Name.CUT_NODE_IN, Name.UNPLUG_NODE)] == [
        "all frames to node-b are dropped in silence",
        "node-b loses carrier on all its networks",
    ]
    assert DRILLS[Name.CLIENT_NETWORK_DOWN].words(aim) == (
        "node-b loses carrier on the network of the clients"
    )
    assert DRILLS[Name.PLANNED_FAILOVER].words(aim) == (
        "a person moves everything away from node-b"
    )


def test_an_error_of_a_mirror_is_its_answer_and_so_no_drill() -> None:
    assert targets(Name.ERROR_INSTANCE) == ["shop/node-b", "shop/node-a"]


def test_both_switchers_are_killed_in_turn_the_others_first() -> None:
    aims = DRILLS[Name.KILL_SWITCHER_MEANWHILE].aims(cluster())
    assert [(aim.node, aim.also) for aim in aims] == [
        ("node-b", "node-a/traffic_switcher"),
        ("node-b", "node-b/traffic_switcher"),
        ("node-a", "node-b/traffic_switcher"),
        ("node-a", "node-a/traffic_switcher"),
    ]


def test_the_order_of_two_deaths_is_told() -> None:
    aim = Aim(service="shop", node="node-b", also="witness/arbiter")
    assert DRILLS[Name.KILL_ARBITER_MEANWHILE].words(aim) == (
        "kill -9 of witness/arbiter, and at once kill -9 of shop on node-b"
    )
    assert DRILLS[Name.KILL_SWITCHER_MEANWHILE].words(aim) == (
        "kill -9 of shop on node-b, and at once kill -9 of witness/arbiter"
    )


def test_what_heals_by_itself_says_nothing_of_it() -> None:
    aim = Aim(service="shop", node="node-b")
    assert DRILLS[Name.KILL_INSTANCE].healing(aim) is None
    assert DRILLS[Name.HANG_INSTANCE].healing(aim) == "kill -CONT of shop on node-b"


def test_a_journal_is_read_from_an_instant_on() -> None:
    journals = {"node-a/shop": ["o100", "o200", "by-hand", "o300"], "node-b/shop": ["o150"]}
    assert recent(journals, 200) == {"node-a/shop": ["o200", "o300"], "node-b/shop": []}


def rules(installed: str | None, *, fresh: bool = True) -> Rules:
    row = RuleRow(
        node="node-a",
        service="shop",
        target="node-b",
        wanted="weight 100",
        installed=installed,
        verified="yes",
        verified_us=1,
        measured_us=1,
        original="weight 100",
        differs=installed != "weight 100",
        by="plan 1.1",
    )
    knowledge = {"fresh": fresh, "age_us": 1, "bus": True, "history": True, "text": "no news"}
    return Rules(
        knowledge=knowledge,  # type: ignore[typeddict-item]  # literal keys, as they come in JSON
        plan=None,
        differs=False,
        away=0,
        rules=[row],
        vips=[],
    )


def test_rules_that_are_not_known_or_not_original_are_told() -> None:
    assert differing(rules("weight 100")) == []
    assert differing(rules("weight 100", fresh=False)) == ["rules are not known: no news"]
    assert differing(rules("weight 50")) == [
        "node-a has shop/node-b at weight 50, originally weight 100"
    ]
    assert len(differing(rules(None))) == 1
