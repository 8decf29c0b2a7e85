"""Plays each drill N times on the composed cluster, and writes what it cost.

    python -m tests.compose --measure N          docs/benchmarks/compose.json, and a table

The same figures as the sandbox's report has, summed up by the same code; counted from the moment
at which the engine (or the kernel) was asked, so that they include what the engine itself takes.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.parts import table
from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.drill import Aim, Drill, of_nodes
from services.sandbox.drills.names import Name
from services.sandbox.drills.report import DrillResult, Report, Sum, report
from shared.cluster import Cluster
from tests.compose import catalogue
from tests.compose.cluster import ROOT
from tests.compose.playing import Running, running

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
COLUMNS = {
    "noticed_ms": "noticed",
    "switched_ms": "switched",
    "vip_moved_ms": "VIP elsewhere",
    "vip_dark_ms": "VIP dark",
    "slowest_ms": "slowest safe answer",
    "safe_failed": "failed (count)",
}
WRITTEN = ROOT / "docs" / "benchmarks" / "compose.json"


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


def measured(count: int) -> Report:
    """Play all of them."""
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
    return report(results, nodes=2, rate=RATE, findings=[])


def shown(found: Sum | None) -> str:
    """Return one figure: median and largest."""
    return "" if found is None else f"{found['p50']:.0f} ({found['max']:.0f})"


def rows(found: Report) -> list[tuple[str, ...]]:
    """Return the table: a drill a line, p50 (max)."""
    return [
        (
            sums["drill"],
            str(sums["played"]),
            *(shown(sums["figures"][name]) for name in COLUMNS),
        )
        for sums in found["repeated"]
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure, and write."""
    found = measured(int(arguments[0]))
    WRITTEN.parent.mkdir(parents=True, exist_ok=True)
    WRITTEN.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(table(("drill", "n", *COLUMNS.values()), rows(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
