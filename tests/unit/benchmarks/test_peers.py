"""Others: what is said of them is what was measured, and where they are better is said."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.document import document
from benchmarks.idle import Cost
from benchmarks.peers.faults import INSTANCES, MOST_US, MOVING, Fault
from benchmarks.peers.results import Conditions, Measured, Played, Problem, Turn
from benchmarks.peers.stacks import OURS, STACKS, stack
from benchmarks.peers.tables import (
    BEGIN,
    DOCUMENT,
    END,
    NOTHING,
    PICTURED,
    better,
    chapter,
    draw,
    part,
    short,
    write,
)
from benchmarks.plot import bars
from tests.unit.benchmarks.peer_plays import CONDITIONS, MOVED, kept

TIGHTEST = stack("keepalived-20ms")
HTTP = stack("keepalived-http")


def found(**measured: Measured) -> dict[str, Measured]:
    named = {name.replace("_", "-"): each for name, each in measured.items()}
    return {each.name: named.get(each.name, Measured()) for each in STACKS}


def of(*plays: Played, conditions: Conditions = CONDITIONS) -> Measured:
    return Measured(turns=[Turn(conditions=conditions, plays=list(plays))])


def row(words: str, text: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {words} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_cell_has_the_median_the_smallest_and_the_largest() -> None:
    plays = [replace(MOVED, dark_ms=ms, safe_failed=int(ms)) for ms in (3_000, 100, 150)]
    words, n, safe, posts, outage, slowest, dark, *rest = row(
        TIGHTEST.words, chapter(found(keepalived_20ms=of(*plays)))
    )
    assert (words, n, safe, posts) == (TIGHTEST.words, "3", "150 (100 to 3,000)", "1")
    assert (outage, slowest, dark) == ("1,234", "31", "150 (100 to 3,000)")
    assert rest == ["1,100", "11", "2", "20", "1.5"]


def test_a_p99_is_said_only_of_a_hundred() -> None:
    plays = [replace(MOVED, dark_ms=ms) for ms in range(1, 101)]
    for some, said in ((plays, "50 (1 to 100; p99 99)"), (plays[:-1], "50 (1 to 99)")):
        assert row(TIGHTEST.words, chapter(found(keepalived_20ms=of(*some))))[6] == said


def test_the_best_is_bold_whosever_it_is() -> None:
    ours, theirs = replace(MOVED, dark_ms=200, held_twice_ms=0), MOVED
    text = chapter(found(equipoise=of(ours), keepalived_20ms=of(theirs)))
    assert row(OURS.words, text)[6:8] == ["200", "**0**"]
    assert row(TIGHTEST.words, text)[6:8] == ["**160**", "1,100"]


def test_where_all_are_alike_nothing_is_bold() -> None:
    text = chapter(found(equipoise=of(MOVED), keepalived_20ms=of(MOVED)))
    assert not any("**" in cell for each in (OURS, TIGHTEST) for cell in row(each.words, text))


def test_the_same_median_with_a_longer_tail_is_not_the_best() -> None:
    tail = [replace(MOVED, safe_failed=failed) for failed in (0, 0, 147)]
    none = [replace(MOVED, safe_failed=0) for _ in range(3)]
    text = chapter(found(keepalived_http=of(*tail), keepalived_20ms=of(*none)))
    assert row(HTTP.words, text)[2] == "0 (0 to 147)"
    assert row(TIGHTEST.words, text)[2] == "**0**"


def test_where_another_is_better_is_said() -> None:
    ours, theirs = replace(MOVED, dark_ms=200, outage_ms=1_000), replace(MOVED, restored_ms=500)
    (said,) = better(found(equipoise=of(ours), keepalived_20ms=of(theirs)))
    assert f"* {MOVED.fault}, VIP dark: {TIGHTEST.words} 160 ms, Equipoise 200 ms" in said
    assert f"restored after: {TIGHTEST.words} 0.5 s, Equipoise 1.5 s" in said
    assert "outage" not in said
    assert better(found(equipoise=of(MOVED), keepalived_20ms=of(MOVED))) == []


def test_what_was_not_made_up_for_is_marked_and_what_was_not_restored_is_counted() -> None:
    lost = replace(MOVED, coped=False, restored_ms=None)
    cells = row(TIGHTEST.words, chapter(found(keepalived_20ms=of(MOVED, lost))))
    assert cells[4].endswith("†")
    assert cells[-1] == "1 of 2: 1.5"
    assert row(TIGHTEST.words, chapter(found(keepalived_20ms=of(lost))))[-1] == "never"


def test_who_was_not_always_restored_is_never_the_first_to_be() -> None:
    lost = replace(MOVED, restored_ms=None)
    text = chapter(found(equipoise=of(replace(MOVED, restored_ms=9_000)),
                         keepalived_20ms=of(MOVED, lost)))  # fmt: skip
    assert row(TIGHTEST.words, text)[-1] == "1 of 2: 1.5"
    assert better(found(equipoise=of(replace(MOVED, restored_ms=9_000)),
                        keepalived_20ms=of(MOVED, lost))) == []  # fmt: skip


def test_a_zero_that_was_not_observed_is_not_claimed() -> None:
    unseen = replace(MOVED, held_twice_ms=None, answered_twice_ms=None)
    cells = row(TIGHTEST.words, chapter(found(keepalived_20ms=of(unseen))))
    assert cells[7:9] == ["not observed", "not observed"]


def test_a_fault_of_an_instance_says_nothing_of_vips() -> None:
    still = replace(MOVED, fault=Fault.KILL_INSTANCE, dark_ms=None, after_dark_ms=None)
    known = found(haproxy=of(still))
    assert "VIP" not in chapter(known).partition("### Instance killed")[2].partition("!")[0]
    assert row(Fault.KILL_INSTANCE, short(known))[6:8] == ["", ""]


def test_the_short_table_has_the_same_figures() -> None:
    plays = [replace(MOVED, dark_ms=ms) for ms in (3_000, 100, 150)]
    known = found(keepalived_20ms=of(*plays))
    cells = row(MOVED.fault, short(known))
    long = row(TIGHTEST.words, chapter(known))
    assert cells == [MOVED.fault, *long[:5], *long[6:8], long[9], long[11]]


def test_what_is_missing_is_said() -> None:
    problem = Problem(fault=Fault.CUT_NODE, node="node-a", why="no frame in was dropped")
    turn = Turn(conditions=CONDITIONS, plays=[MOVED], problems=[problem, problem])
    text = chapter(
        found(keepalived_20ms=Measured(turns=[turn]), envoy=Measured(skipped="envoy is not here"))
    )
    assert "*Envoy alone, as documented* was skipped: envoy is not here." in text
    assert "*HAProxy alone, tightest* is not measured yet." in text
    assert "2 plays are no measurements (no frame in was dropped)" in text


def test_mixed_commits_are_told() -> None:
    other = replace(CONDITIONS, commit="0ther")
    one = chapter(found(keepalived=of(MOVED), keepalived_20ms=of(MOVED)))
    both = chapter(found(keepalived=of(MOVED), keepalived_20ms=of(MOVED, conditions=other)))
    assert "commit `c0ffee`;" in one
    assert "**mixed**: `0ther` (1 plays), `c0ffee` (1 plays)" in both


def test_applications_are_no_part_of_what_a_stack_costs() -> None:
    costs = [
        Cost(program="node-a/haproxy", processes=2, cpu_percent=1, pss_mib=10),
        Cost(program="node-b/keepalived", processes=2, cpu_percent=0.5, pss_mib=5),
        Cost(program="node-a/shop", processes=1, cpu_percent=40, pss_mib=400),
        Cost(program="witness/nats", processes=1, cpu_percent=4, pss_mib=40),
    ]
    measured = Measured(turns=[Turn(conditions=CONDITIONS, plays=[MOVED], idles=[costs, costs])])
    text = chapter(found(keepalived_20ms=measured, equipoise=measured))
    assert f"| {TIGHTEST.words} | a node | 4 | 0.5 (0.5 to 1.0) | 5 (5 to 10) |" in text
    assert "| Equipoise | the witness | 2 | 4.0 | 40 |" in text
    assert f"| {TIGHTEST.words} | the witness" not in text


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    kept(tmp_path, TIGHTEST, MOVED)
    (tmp_path / DOCUMENT).write_text(f"before\n\n{BEGIN}\nstale words\n{END}\n\nafter\n")
    text = write(tmp_path).read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n\n`make bench-peers`: 1 plays in 1 turns")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "stale words" not in text
    assert write(tmp_path).read_text() == text


def test_every_picture_that_is_shown_is_drawn(tmp_path: Path) -> None:
    kept(tmp_path, TIGHTEST, MOVED)
    draw(tmp_path)
    for name in PICTURED:
        ElementTree.parse(tmp_path / "benchmarks" / name)
        assert f"(benchmarks/{name})" in short(found(keepalived_20ms=of(MOVED)))


def test_the_chapter_is_a_part_of_the_benchmarks(tmp_path: Path) -> None:
    assert part(tmp_path) is None
    kept(tmp_path, TIGHTEST, MOVED)
    kept(tmp_path, OURS, replace(MOVED, held_twice_ms=0.0))
    beside = part(tmp_path)
    assert beside is not None
    assert (beside.overlap_ms, beside.plays) == (0, 1)  # others' are no budget of ours
    assert "## Beside others" in document([beside])


def test_nothing_measured_is_said_too() -> None:
    assert short(found()) == NOTHING
    assert short(found(envoy=Measured(skipped="envoy is not here"))) == NOTHING


def test_longer_bars_are_longer() -> None:
    picture = bars("x", {"one": {"a": (20, 30), "b": (2_000, 9_000)}}, ["a", "b"])
    widths = [
        float(each.attrib["width"])
        for each in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}rect")
        if each.attrib.get("fill") != "#fff"
    ]
    assert len(widths) == 2
    assert widths[0] < widths[1]


def test_every_name_of_a_picture_stands_in_it() -> None:
    names = [f"name {number}" for number in range(7)]
    picture = ElementTree.fromstring(bars("x", {"one": {"name 6": (20, 30)}}, names))
    high = float(picture.attrib["viewBox"].split()[3])
    texts = {
        each.text: float(each.attrib["y"])
        for each in picture.iter("{http://www.w3.org/2000/svg}text")
    }
    assert all(texts[name] < high for name in names)


def test_every_fault_ends_some_time_and_is_of_one_kind() -> None:
    assert set(MOST_US) == set(Fault) == {*INSTANCES, *MOVING}
    assert not set(INSTANCES) & set(MOVING)


def test_each_is_compared_on_what_it_takes_care_of() -> None:
    for each in STACKS:
        wanted = set(Fault) if each.is_ours else set(MOVING if each.router else INSTANCES)
        assert set(each.faults) <= wanted, each.name
        assert bool(each.differs_in) is (set(each.faults) < wanted), each.name
    assert len({each.name for each in STACKS}) == len({each.words for each in STACKS})
