"""`make bench`: measure everything, and write docs/benchmarks.md. `--quick` only tries it out."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from benchmarks import commands, decide, idle, machine, plot
from benchmarks.document import (
    NOTICED_MS,
    SWITCHED_P50_MS,
    Drilled,
    Measured,
    document,
)
from benchmarks.sandboxes import ROOT, drills
from services.sandbox.drills.names import Name

RATE = 1_000  # requests/s, of the drills
# How often each is played, and in a quick run. A p99 needs a hundred.
PLAYS = {
    Name.KILL_INSTANCE: (100, 3),
    Name.HANG_INSTANCE: (100, 3),
    Name.ERROR_INSTANCE: (20, 2),
    Name.PLANNED_FAILOVER: (20, 2),
    Name.KILL_SWITCHER_MEANWHILE: (12, 2),
    Name.KILL_ARBITER_MEANWHILE: (12, 2),
}
IDLE_S = (30, 3)
STATUSES = (20, 3)
PLOTTED = {
    Name.KILL_INSTANCE: ("switched_ms", "switched and read back", SWITCHED_P50_MS),
    Name.HANG_INSTANCE: ("noticed_ms", "noticed", NOTICED_MS),
}


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def measure(*, quick: bool) -> Measured:
    """Measure everything, what needs the quietest machine first."""
    load, begin = machine.load(), monotonic()
    say("deciding")
    decided = decide.rows()
    say("idle")
    idle_s = IDLE_S[quick]
    costs = idle.measure(idle_s)
    say("equipoise status")
    statuses = commands.status_ms(STATUSES[quick])
    drilled = []
    for name, counts in PLAYS.items():
        say(f"{name}, {counts[quick]} times")
        report, command = drills(name, counts[quick], RATE)
        drilled.append(Drilled(name=name, report=report, command=command))
    return Measured(
        machine=machine.description(),
        load=load,
        took_s=monotonic() - begin,
        quick=quick,
        decided=decided,
        drilled=drilled,
        idle=costs,
        idle_s=idle_s,
        status_ms=statuses,
    )


def write(measured: Measured, folder: Path) -> Path:
    """Write the document and its pictures."""
    pictures = folder / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    plots = {}
    for drilled in measured.drilled:
        if drilled.name not in PLOTTED:
            continue
        figure, words, budget_ms = PLOTTED[drilled.name]
        series = {
            words: drilled.values(figure),
            "slowest safe answer": [x["requests"]["slowest_ms"] for x in drilled.report["drills"]],
        }
        title = f"{drilled.name} at {drilled.report['rate']} requests/s"
        picture = pictures / f"{drilled.name}.svg"
        picture.write_text(plot.distributions(title, series, budget_ms))
        plots[drilled.name] = f"benchmarks/{picture.name}"
    path = folder / "benchmarks.md"
    path.write_text(document(measured, plots))
    return path


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="benchmarks", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a few of each, written elsewhere")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to write (default: docs)")
    options = parser.parse_args(arguments)
    folder = options.to or (Path(tempfile.mkdtemp()) if options.quick else ROOT / "docs")
    say(f"{write(measure(quick=options.quick), folder)} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
