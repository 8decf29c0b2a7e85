"""A play as it might have been, and how it is kept."""

from pathlib import Path

from benchmarks.peers.faults import Fault
from benchmarks.peers.results import Conditions, Played, Writer
from benchmarks.peers.stacks import Stack

CONDITIONS = Conditions(
    commit="c0ffee",
    machine="2 cores",
    rate=1_000,
    seed=1,
    began="2026-01-01T00:00:00+00:00",
    load=0.1,
    versions={"keepalived": "2.2.7"},
    start_s=4.0,
)
MOVED = Played(
    fault=Fault.CUT_NODE,
    node="node-a",
    number=0,
    waited_ms=12.5,
    load=0.5,
    took_s=6.0,
    coped=True,
    lasted_ms=1_000.0,
    safe_sent=900,
    safe_failed=7,
    posts_sent=100,
    posts_failed=1,
    posts_repeated=0,
    slowest_ms=31.0,
    outage_ms=1_234.0,
    dark_ms=160.0,
    after_failed=2,
    after_dark_ms=20.0,
    held_twice_ms=1_100.0,
    answered_twice_ms=11.0,
    restored_ms=1_500.0,
    client_late_ms=9.0,
)


def kept(folder: Path, stack: Stack, *plays: Played) -> None:
    """Keep plays of one turn."""
    writer = Writer(folder, stack.name)
    writer.turn(CONDITIONS)
    for play in plays:
        writer.play(play)
