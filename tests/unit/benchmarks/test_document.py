"""The document: every figure with its n, and nothing called a p99 that is none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.composed import composed_part
from benchmarks.decide import Row
from benchmarks.document import (
    Drilled,
    commands_part,
    decided_part,
    document,
    drilled_part,
    idle_part,
)
from benchmarks.idle import Cost
from benchmarks.parts import Part, saved, table
from services.sandbox.drills.names import Name
from services.sandbox.drills.report import report, result
from services.sandbox.options import Profile
from tests.unit.sandbox.drilling import incident, seen, summary


def drilled(name: Name, count: int, *, switch: float = 8, safe_failed: int = 0) -> Drilled:
    of = incident(detect=1, decide=0.5, switch=switch, verify=4)
    plays = [result(seen(of=of, felt=summary(safe_failed=safe_failed))) for _ in range(count)]
    played = report(plays, nodes=2, rate=1_000, findings=[])
    return Drilled(name=name, report=played, command=f"equipoise sandbox --drill {name}")


def measured(*drills: Drilled, picture: str | None = None) -> list[Part]:
    parts = [
        *(drilled_part(each, picture) for each in drills),
        decided_part([Row(what="conclusive", nodes=2, services=2, n=9, p50_us=44, p99_us=60)]),
        idle_part(
            [
                Cost(program="node-a/heartbeat", processes=1, cpu_percent=1.5, pss_mib=25),
                Cost(program="node-a/shop", processes=1, cpu_percent=50, pss_mib=500),
                Cost(program="node-a/haproxy", processes=2, cpu_percent=0.5, pss_mib=10),
            ],
            30,
        ),
        commands_part([100, 120, 140]),
    ]
    for part in parts:
        part.machine, part.load, part.took_s = "2 cores", 0.1, 300
    return parts


def both(count: int, **fields: float) -> list[Part]:
    switch = fields.get("switch", 8)
    failed = int(fields.get("safe_failed", 0))
    return measured(
        drilled(Name.KILL_INSTANCE, count, switch=switch, safe_failed=failed),
        drilled(Name.HANG_INSTANCE, count),
    )


def test_budgets_that_are_met_are_called_so() -> None:
    text = document(both(100))
    assert "switched and read back, p50 | 11.5 ms | 15 ms | met |" in text
    assert "switched and read back, p99 | 11.5 ms | 50 ms | met |" in text
    assert "missed" not in text


@pytest.mark.parametrize("fields", [{"switch": 60}, {"safe_failed": 1}])
def test_a_budget_that_is_missed_is_called_so(fields: dict[str, float]) -> None:
    assert "**missed**" in document(both(100, **fields))


def test_fewer_than_a_hundred_have_no_p99() -> None:
    text = document(both(20))
    assert "read back, largest of 20 |" in text
    assert "read back, p99" not in text


def test_every_figure_has_its_n_and_its_rate_and_its_command() -> None:
    text = document(both(20))
    assert "n = 20 at 1000 requests/s" in text
    assert "`equipoise sandbox --drill kill-instance`" in text
    assert "| switched | 20 | 11.5 | 11.5 | - | 11.5 |" in text
    assert "| `equipoise status` | 3 | 100.0 | 120.0 | - | 140.0 |" in text


def test_an_idle_node_is_all_of_it_but_the_applications() -> None:
    text = document(both(20))
    assert "| **node-a without its applications** |  | 2.00 | 35.0 |" in text


def test_what_was_found_wrong_stands_there() -> None:
    assert "* shop/node-b: 1 of 90 safe requests failed" in document(both(20, safe_failed=1))


def test_pictures_are_linked() -> None:
    part = drilled(Name.KILL_INSTANCE, 20)
    text = document(measured(part, picture="benchmarks/kill-instance.svg"))
    assert "](benchmarks/kill-instance.svg)" in text


def test_a_table_is_one() -> None:
    lines = table(("a", "b"), [("1", "2")]).splitlines()
    assert lines == ["| a | b |", "| --- | ---: |", "| 1 | 2 |"]


def test_reports_survive_the_way_through_a_process() -> None:
    played = drilled(Name.KILL_INSTANCE, 3).report
    assert json.loads(json.dumps(played)) == played


def lost_node(name: Name, moved_ms: float, profile: Profile = Profile.DEFAULT) -> Part:
    of = drilled(name, 1)
    play = of.report["drills"][0]
    play["vip_moved_ms"], play["vip_overlap_ms"] = {"web": moved_ms, "api": 1.0}, 0.0
    return drilled_part(replace(of, profile=profile), None)


def test_a_node_lost_in_silence_has_a_budget_by_profile() -> None:
    default = lost_node(Name.FREEZE_NODE, 300)
    fast = lost_node(Name.FREEZE_NODE, 300, Profile.FAST)
    assert default.budgets[0][1:] == ("300.0 ms", "350 ms", "met")
    assert fast.budgets[0][1:] == ("300.0 ms", "170 ms", "**missed**")
    assert "two holders of a VIP, longest of 2 plays | 0.0 ms" in document([default, fast])


def test_parts_that_were_not_measured_again_are_remembered(tmp_path: Path) -> None:
    first = lost_node(Name.CUT_NODE, 300)
    first.save(tmp_path)
    lost_node(Name.FREEZE_NODE, 200).save(tmp_path)
    remembered = saved(tmp_path, ["freeze-node", "never-measured", "cut-node"])
    assert [part.name for part in remembered] == ["freeze-node", "cut-node"]
    assert "cut-node: until its VIP answers" in document(remembered)


def test_containers_stand_beside_the_sandbox_drill_by_drill() -> None:
    theirs, ours = drilled(Name.KILL_INSTANCE, 3).report, drilled(Name.KILL_INSTANCE, 3, switch=80)
    part = composed_part(ours.report, theirs, [9.5, 21.0], is_urgent=False)
    row = next(line for line in part.section.splitlines() if line.startswith("| kill-instance"))
    switched = row.split(" | ")[3]
    slow, quick = (float(each.split()[0]) for each in switched.split(" / "))
    assert slow > quick
    assert "COUNT=3" in part.section
    assert "9.5, 21.0 s" in part.section
    assert [budget[3] for budget in part.budgets] == ["**missed**", "met"]


def test_a_drill_that_the_sandbox_lacks_has_no_figures_of_it() -> None:
    theirs, ours = drilled(Name.KILL_INSTANCE, 1).report, drilled(Name.KILL_INSTANCE, 1).report
    ours["drills"][0]["drill"] = Name.KILL_NODE.value
    part = composed_part(ours, theirs, [9.5], is_urgent=True)
    row = next(line for line in part.section.splitlines() if line.startswith("| kill-node"))
    assert row.endswith(" / - |")
