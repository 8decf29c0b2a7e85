"""Every play is kept, and what is kept is not measured again."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.idle import Cost
from benchmarks.peers.__main__ import Task, agree
from benchmarks.peers.faults import Fault
from benchmarks.peers.play import moment, unless_in_time
from benchmarks.peers.results import Conditions, Problem, Writer, commit, place, read
from benchmarks.peers.rounds import PROBLEMS_MAX, Play, outlook, seconds, turn, wanted
from benchmarks.peers.stacks import OURS, stack
from shared.errors import ConfigError
from tests.unit.benchmarks.peer_plays import CONDITIONS, MOVED, kept

ALONE = stack("haproxy")
PLAYED = replace(MOVED, fault=Fault.KILL_INSTANCE, dark_ms=None, held_twice_ms=None)
COST = Cost(program="node-a/haproxy", processes=2, cpu_percent=1.25, pss_mib=10.5)
PROBLEM = Problem(fault=Fault.HANG_INSTANCE, node="node-b", why="it goes on")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept(tmp_path, ALONE, MOVED, PLAYED)
    writer = Writer(tmp_path, ALONE.name)
    writer.problem(PROBLEM)
    writer.idle([COST])
    kept(tmp_path, ALONE, MOVED)
    found = read(tmp_path, ALONE.name)
    assert [len(each.plays) for each in found.turns] == [2, 1]
    assert found.turns[0].conditions == CONDITIONS
    assert found.plays == [MOVED, PLAYED, MOVED]
    assert (found.problems, found.idles) == ([PROBLEM], [[COST]])


def test_nothing_is_known_of_who_was_never_measured(tmp_path: Path) -> None:
    assert read(tmp_path, ALONE.name).plays == []


def test_a_line_that_was_interrupted_is_no_line_and_is_not_in_the_way(tmp_path: Path) -> None:
    kept(tmp_path, ALONE, PLAYED)
    with place(tmp_path, ALONE.name).open("a") as file:
        file.write('{"play":{"fault":"inst')
    assert read(tmp_path, ALONE.name).plays == [PLAYED]
    Writer(tmp_path, ALONE.name).play(MOVED)
    assert read(tmp_path, ALONE.name).plays == [PLAYED, MOVED]


def test_why_it_was_skipped_holds_until_it_is_not(tmp_path: Path) -> None:
    Writer(tmp_path, ALONE.name).skipped("it is not here")
    assert read(tmp_path, ALONE.name).skipped == "it is not here"
    kept(tmp_path, ALONE, PLAYED)
    assert read(tmp_path, ALONE.name).skipped is None


def test_a_turn_plays_each_fault_on_each_node(tmp_path: Path) -> None:
    plays = turn(ALONE, read(tmp_path, ALONE.name), 20)
    assert [play.fault for play in plays] == [*ALONE.faults, *ALONE.faults]
    assert {(play.fault, play.node) for play in plays} == {
        (fault, node) for fault in ALONE.faults for node in ("node-a", "node-b")
    }


def test_each_turn_begins_with_another_fault(tmp_path: Path) -> None:
    firsts = []
    for _ in ALONE.faults:
        firsts.append(turn(ALONE, read(tmp_path, ALONE.name), 20)[0].fault)
        kept(tmp_path, ALONE)
    assert set(firsts) == set(ALONE.faults)


def test_it_goes_on_where_it_stood(tmp_path: Path) -> None:
    kept(tmp_path, ALONE, PLAYED)
    known = read(tmp_path, ALONE.name)
    assert wanted(ALONE, known, 2) == {
        Fault.KILL_INSTANCE: 1,
        Fault.HANG_INSTANCE: 2,
        Fault.FAIL_INSTANCE: 2,
    }
    killed = [play for play in turn(ALONE, known, 2) if play.fault is Fault.KILL_INSTANCE]
    assert killed == [Play(Fault.KILL_INSTANCE, 1, "node-b")]


def test_what_is_measured_often_enough_has_no_turn(tmp_path: Path) -> None:
    plays = [replace(PLAYED, fault=fault) for fault in ALONE.faults]
    kept(tmp_path, ALONE, *plays)
    known = read(tmp_path, ALONE.name)
    assert turn(ALONE, known, 1) == []
    assert seconds(ALONE, known, 1) == 0
    assert turn(ALONE, known, 2) != []


def test_what_can_never_be_proved_is_not_tried_for_ever(tmp_path: Path) -> None:
    kept(tmp_path, ALONE)
    for _ in range(PROBLEMS_MAX):
        assert Fault.HANG_INSTANCE in wanted(ALONE, read(tmp_path, ALONE.name), 20)
        Writer(tmp_path, ALONE.name).problem(PROBLEM)
    assert Fault.HANG_INSTANCE not in wanted(ALONE, read(tmp_path, ALONE.name), 20)


def test_what_is_left_is_foretold_by_what_it_took(tmp_path: Path) -> None:
    kept(tmp_path, ALONE, *[replace(PLAYED, fault=fault) for fault in ALONE.faults])
    writer = Writer(tmp_path, ALONE.name)
    for _ in range(3):
        writer.idle([COST])
    known = read(tmp_path, ALONE.name)
    assert seconds(ALONE, known, 21) == 3 * 20 * MOVED.took_s + 10 * CONDITIONS.start_s
    assert outlook([ALONE], {ALONE.name: known}, 21) == "60 of 63 plays remain, about 7 minutes"


def test_the_moment_is_drawn_and_can_be_drawn_again() -> None:
    plays = [Play(Fault.CUT_NODE, number, "node-a") for number in range(20)]
    drawn = [moment(OURS, play, 1) for play in plays]
    assert drawn == [moment(OURS, play, 1) for play in plays]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= each < OURS.rhythm_us for each in drawn)
    assert drawn != [moment(OURS, play, 2) for play in plays]


@pytest.mark.parametrize(
    ("late_ms", "outage_ms", "counts"),
    [(250, 0, True), (251, 0, False), (251, 2_000, False), (900, 9_000, True), (901, 9_000, False)],
)
def test_what_a_late_client_saw_is_no_measurement(
    late_ms: float, outage_ms: float, *, counts: bool
) -> None:
    seen = replace(PLAYED, client_late_ms=late_ms, outage_ms=outage_ms)
    assert (unless_in_time(seen) is None) is counts


@pytest.mark.parametrize(
    "other",
    [
        replace(CONDITIONS, commit="another"),
        replace(CONDITIONS, machine="another"),
        replace(CONDITIONS, rate=5),
    ],
)
def test_other_conditions_are_mixed_only_when_that_is_wanted(
    tmp_path: Path, other: Conditions
) -> None:
    kept(tmp_path, ALONE, PLAYED)
    same, changed = (
        Task(stacks=[ALONE], count=2, conditions=each, folder=tmp_path, end=None)
        for each in (CONDITIONS, other)
    )
    agree(same, goes_on=False)
    agree(changed, goes_on=True)
    with pytest.raises(ConfigError, match="--continue adds to it all the same"):
        agree(changed, goes_on=False)


def test_another_seed_is_no_other_measurement(tmp_path: Path) -> None:
    kept(tmp_path, ALONE, PLAYED)
    seeded = replace(CONDITIONS, seed=7, load=3.0, began="later")
    task = Task(stacks=[ALONE], count=2, conditions=seeded, folder=tmp_path, end=None)
    agree(task, goes_on=False)


def test_the_commit_is_that_of_what_is_measured() -> None:
    assert commit().rstrip("+")
