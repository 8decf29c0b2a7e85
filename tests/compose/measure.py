"""Plays each drill N times on the composed cluster, and writes what it cost.

    python -m tests.compose --measure N          a chapter of docs/benchmarks.md

The same drills are then played in the sandbox, at the same rate. Figures count from the moment at
which the engine (or the kernel) was asked, so that they include what the engine itself takes.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import sandboxes
from benchmarks.__main__ import measured, write
from benchmarks.composed import composed_part
from benchmarks.parts import Part
from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.drill import Aim, Drill, of_nodes
from services.sandbox.drills.names import Name
from services.sandbox.drills.report import DrillResult, Report, report
from shared.cluster import Cluster
from shared.instant import SECOND
from tests.compose import catalogue
from tests.compose.cluster import ROOT
from tests.compose.playing import Running, running

DOCS = ROOT / "docs"
UPS = 3  # with images present, without volumes
RATE = 200  # the compose file's own client's
NAMES = (
    Name.KILL_INSTANCE,
    Name.HANG_INSTANCE,
    Name.KILL_BALANCER,
    Name.HANG_BALANCER,
    Name.CUT_NODE,
    Name.UNPLUG_NODE,
    Name.FREEZE_NODE,
    Name.KILL_NODE,
    Name.PLANNED_FAILOVER,
)


def drills(found: Running) -> Iterator[tuple[Drill, Sequence[Aim]]]:
    """Return what is played, and whom it hits in turn."""
    cluster: Cluster = found.composed.cluster
    for name in NAMES:
        yield DRILLS[name], DRILLS[name].aims(cluster)
    disconnect = catalogue.Disconnect(composed=found.composed, seeing=found.seeing)
    yield disconnect, of_nodes(cluster)


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"measure: {text}\n")


def in_containers(count: int) -> tuple[Report, list[float]]:
    """Play all of them, each `count` times; return the report, and how long each `up` took."""
    results: list[DrillResult] = []
    with (
        tempfile.TemporaryDirectory(prefix="equipoise-measure-") as folder,
        running(Path(folder), dict(os.environ), rate=RATE) as found,
    ):
        found.until_serving()
        for drill, aims in drills(found):
            for number in range(count):
                results.append(found.play(drill, aims[number % len(aims)]))
                say(f"{drill.name} {results[-1]['target']}: {results[-1]['findings'] or 'ok'}")
        ups_s = [up_s(found) for _ in range(UPS)]
    return report(results, nodes=2, rate=RATE, findings=[]), ups_s


def up_s(found: Running) -> float:
    """Take it down and bring it up; return the seconds from then until it serves."""
    found.composed.compose("down", "--volumes", "--timeout", "5")
    begin_at = found.clock.now()
    found.composed.compose("up", "--detach")
    found.until_serving()
    took_s = (found.clock.now() - begin_at) / SECOND
    say(f"up: {took_s:.1f} s")
    return took_s


def in_the_sandbox(count: int) -> Report:
    """Play the same ones there, at the same rate."""
    results: list[DrillResult] = []
    for name in NAMES:
        say(f"{name} in the sandbox")
        results += sandboxes.drills(name, count, RATE)[0]["drills"]
    return report(results, nodes=2, rate=RATE, findings=[])


def main(arguments: Sequence[str]) -> int:
    """Measure, and write."""
    count = int(arguments[0])
    is_urgent = os.environ.get("EQUIPOISE_RTPRIO") != "0"

    def measure() -> Part:
        containers, ups_s = in_containers(count)
        return composed_part(containers, in_the_sandbox(count), ups_s, is_urgent=is_urgent)

    part = measured(measure)
    part.save(DOCS)
    write(DOCS)
    sys.stdout.write(part.section + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
