"""Others: their files are accepted, and what is said of them is what was measured."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.idle import Cost
from benchmarks.peers.faults import MOST_US, MOVING, Fault
from benchmarks.peers.measured import Measured, remembered
from benchmarks.peers.play import Played
from benchmarks.peers.stacks import NODES, Places, Stack, balancer, router
from benchmarks.peers.tables import BEGIN, DOCUMENT, END, PICTURE, section, write
from benchmarks.plot import bars
from services.sandbox.machine import find_tools
from tests.eventually import eventually

SEEN = Played(
    stack=Stack.TUNED,
    fault=Fault.CUT_NODE,
    node="node-a",
    coped=True,
    lasted_ms=1_000,
    safe_sent=900,
    safe_failed=7,
    posts_sent=100,
    posts_failed=1,
    posts_repeated=0,
    slowest_ms=31,
    outage_ms=1_234,
    dark_ms=160,
    held_twice_ms=1_100,
    answered_twice_ms=11,
    restored=True,
    restored_ms=1_500,
    client_late_ms=9,
)


def measured(*plays: Played, stack: Stack = Stack.TUNED) -> Measured:
    costs = [
        Cost(program="node-a/haproxy", processes=2, cpu_percent=1, pss_mib=10),
        Cost(program="node-a/keepalived", processes=2, cpu_percent=0.5, pss_mib=5),
        Cost(program="node-a/shop", processes=1, cpu_percent=40, pss_mib=400),
    ]
    return Measured(
        stack=stack,
        machine="2 cores",
        keepalived="v2",
        load=0.1,
        took_s=60,
        rate=500,
        count=len(plays),
        plays=plays,
        idle_s=8,
        costs=costs,
    )


def row(*plays: Played) -> list[str]:
    lines = section([measured(*plays)]).splitlines()
    (line,) = (line for line in lines if line.startswith(f"| {plays[0].fault.value} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_the_median_and_the_largest() -> None:
    plays = [replace(SEEN, dark_ms=ms, safe_failed=int(ms)) for ms in (100, 150, 3_000)]
    words, stack, n, failed, repeated, slowest, outage, dark, held, answered, restored = row(*plays)
    assert (words, stack) == ("node cut off in silence", "keepalived + HAProxy, tuned")
    assert (n, failed, repeated, dark) == ("3", "150 / 3,000", "0", "150 / 3,000")
    assert (slowest, outage, held, answered) == (
        "31 / 31",
        "1,234 / 1,234",
        "1,100 / 1,100",
        "11 / 11",
    )
    assert restored == "3 of 3, after 1.5 / 1.5 s"


def test_what_was_not_made_up_for_is_marked_and_what_was_not_restored_is_counted() -> None:
    lost = replace(SEEN, coped=False, restored=False, restored_ms=None, posts_repeated=2)
    cells = row(SEEN, lost)
    assert cells[4] == "2"
    assert cells[6].endswith("†")
    assert cells[-1] == "1 of 2, after 1.5 / 1.5 s"


def test_a_zero_that_was_not_observed_is_not_claimed() -> None:
    assert row(replace(SEEN, held_twice_ms=None, answered_twice_ms=None))[8:10] == [
        "not observed",
        "not observed",
    ]
    still = replace(
        SEEN, fault=Fault.KILL_INSTANCE, dark_ms=None, held_twice_ms=None, answered_twice_ms=None
    )
    assert row(still)[7:10] == ["-", "-", "-"]


def test_applications_are_no_part_of_what_a_stack_costs() -> None:
    assert "| keepalived + HAProxy, tuned | a node | 1.5 | 15 |" in section([measured(SEEN)])


def test_a_stack_measured_anew_replaces_itself_alone(tmp_path: Path) -> None:
    ours, theirs = measured(SEEN, stack=Stack.EQUIPOISE), measured(SEEN)
    theirs.save(tmp_path)
    ours.save(tmp_path)
    newer = measured(replace(SEEN, dark_ms=1), stack=Stack.TUNED)
    newer.save(tmp_path)
    found = remembered(tmp_path)
    assert [each.stack for each in found] == [Stack.EQUIPOISE, Stack.TUNED]
    assert [each.plays[0].dark_ms for each in found] == [160, 1]


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    measured(SEEN).save(tmp_path)
    (tmp_path / DOCUMENT).write_text(f"before\n\n{BEGIN}\nstale words\n{END}\n\nafter\n")
    text = write(tmp_path).read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n\nMeasured by `python -m benchmarks.peers`")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "stale words" not in text
    assert write(tmp_path).read_text() == text
    ElementTree.parse(tmp_path / "benchmarks" / PICTURE)


def test_longer_bars_are_longer() -> None:
    picture = bars("x", {"one": {"a": (20, 30), "b": (2_000, 9_000)}}, ["a", "b"])
    widths = [
        float(each.attrib["width"])
        for each in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}rect")
        if each.attrib.get("fill") != "#fff"
    ]
    assert len(widths) == 2
    assert widths[0] < widths[1]


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("node", NODES)
def test_haproxy_accepts_what_is_written_for_others(
    tmp_path: Path, node: str, *, tuned: bool
) -> None:
    configured = tmp_path / "haproxy.cfg"
    configured.write_text(balancer(Places(folder=tmp_path, node=node), tuned=tuned))
    command = [find_tools(None).haproxy, "-c", "-f", str(configured)]
    environ = {"EQUIPOISE_RUN_DIR": "/run"}
    result = subprocess.run(command, env=environ, capture_output=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr


def test_each_vip_has_one_home_and_one_number_on_both_nodes(tmp_path: Path) -> None:
    texts = [router(Places(folder=tmp_path, node=node), tuned=True) for node in NODES]
    for text in texts:
        assert text.count("state MASTER") == text.count("state BACKUP") == 1
        assert text.count("{") == text.count("}")
    first, second = ([x for x in text.split() if x in {"MASTER", "BACKUP"}] for text in texts)
    assert first == second[::-1]
    assert "advert_int" not in router(Places(folder=tmp_path, node="node-a"), tuned=False)


def test_every_fault_ends_some_time_and_those_that_move_are_faults() -> None:
    assert set(MOST_US) == set(Fault)
    assert set(MOVING) < set(Fault)


def test_the_end_of_a_load_balancer_is_told(tmp_path: Path) -> None:
    number, told = tmp_path / "pid", tmp_path / "down"
    listening = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", listening],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    port = victim.stdout.readline().strip()
    number.write_text(str(victim.pid))
    command = [sys.executable, "-m", "benchmarks.peers.watch", str(number), str(told), port]
    watch = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))
    try:
        asyncio.run(eventually(lambda: told.exists() and told.read_text() == "0\n"))
        victim.kill()
        asyncio.run(eventually(lambda: told.read_text() == "1\n"))
    finally:
        for process in (victim, watch):
            process.kill()
            process.wait()
        victim.communicate()
