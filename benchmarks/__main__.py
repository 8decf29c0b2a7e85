"""`make bench`: measure everything, and write docs/benchmarks.md. `--quick` only tries it out.

`--only NAME` (several times: several) measures some parts and keeps what is remembered of the
others; `--count N` plays their drills so often (of the part `starved`: for so many minutes). What
containers cost is measured where an engine is, by `make bench-compose`, and what others do by
`make bench-peers`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

from benchmarks import commands, composed, decide, idle, machine, plot, starved
from benchmarks.document import (
    HUNG_BALANCER_MS,
    IN_SILENCE,
    KILLED_BALANCER_MS,
    NOTICED_MS,
    SILENCE_MS,
    SWITCHED_P50_MS,
    Drilled,
    commands_part,
    decided_part,
    document,
    drilled_part,
    idle_part,
)
from benchmarks.growth import chapter as growth, measuring
from benchmarks.parts import PICTURES, Part, saved
from benchmarks.peers import tables
from benchmarks.sandboxes import ROOT, drills
from services.sandbox.drills.names import Name
from services.sandbox.options import Profile

RATE = 1_000  # requests/s, of the drills


@dataclass(frozen=True, slots=True)
class Plays:
    """A drill, and how often it is played: a p99 needs a hundred."""

    drill: Name
    count: int
    profile: Profile = Profile.DEFAULT

    @property
    def part(self) -> str:
        """What its part is called."""
        return Drilled.called(self.drill, self.profile)


DRILLS = (
    Plays(Name.KILL_INSTANCE, 100),
    Plays(Name.HANG_INSTANCE, 100),
    Plays(Name.ERROR_INSTANCE, 20),
    *(Plays(name, 20, profile) for name in IN_SILENCE for profile in Profile),
    Plays(Name.KILL_BALANCER, 20),
    Plays(Name.HANG_BALANCER, 20),
    Plays(Name.PLANNED_FAILOVER, 20),
    Plays(Name.KILL_SWITCHER_MEANWHILE, 12),
    Plays(Name.KILL_ARBITER_MEANWHILE, 12),
    Plays(Name.RESTART_EVERYTHING, 2),
)
QUICK = 2  # plays of each
IDLE_S, IDLE_QUICK_S = 30, 3
STATUSES = 20
STARVED_QUICK_MINUTES = 1.0
MOVED = ("vip_moved_ms", "VIP answers elsewhere")
PLOTTED = {
    Name.KILL_INSTANCE: ("switched_ms", "switched and read back"),
    Name.HANG_INSTANCE: ("noticed_ms", "noticed"),
    **dict.fromkeys((*IN_SILENCE, Name.KILL_BALANCER, Name.HANG_BALANCER), MOVED),
}
LIMITS_MS = {
    Name.KILL_INSTANCE: SWITCHED_P50_MS,
    Name.HANG_INSTANCE: NOTICED_MS,
    Name.KILL_BALANCER: KILLED_BALANCER_MS,
    Name.HANG_BALANCER: HUNG_BALANCER_MS,
}


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def measures(folder: Path, *, quick: bool, count: int | None) -> Mapping[str, Callable[[], Part]]:
    """Return how each part is measured, in the order of the document's chapters."""
    minutes = float(count or (STARVED_QUICK_MINUTES if quick else starved.MINUTES))
    idle_s = IDLE_QUICK_S if quick else IDLE_S
    found: dict[str, Callable[[], Part]] = {}
    for plays in DRILLS:
        repeat = count or (QUICK if quick else plays.count)
        found[plays.part] = partial(_drill, plays, repeat, folder)
    found[starved.NAME] = lambda: starved.part(starved.measure(minutes), folder)
    found["decide"] = lambda: decided_part(decide.rows())
    found["idle"] = lambda: idle_part(idle.measure(idle_s), idle_s)
    found[growth.NAME] = lambda: measuring.part(folder, quick=quick)
    found["commands"] = lambda: commands_part(commands.status_ms(QUICK if quick else STATUSES))
    return found


def _drill(plays: Plays, repeat: int, folder: Path) -> Part:
    is_default = plays.profile is Profile.DEFAULT
    more = () if is_default else ("--profile", plays.profile.value)
    report, command = drills(plays.drill, repeat, RATE, *more)
    drilled = Drilled(name=plays.drill, report=report, command=command, profile=plays.profile)
    return drilled_part(drilled, _picture(drilled, folder))


def _picture(drilled: Drilled, folder: Path) -> str | None:
    """Draw how long it took; return the picture's place beside the document."""
    if drilled.name not in PLOTTED:
        return None
    figure, words = PLOTTED[drilled.name]
    limit_ms = LIMITS_MS.get(drilled.name, SILENCE_MS[drilled.profile])
    series = {words: drilled.values(figure), "slowest safe answer": drilled.values("slowest_ms")}
    series = {what: values for what, values in series.items() if values}
    if not series:
        return None
    picture = folder / PICTURES / f"{drilled.title}.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    title = f"{drilled.title} at {drilled.report['rate']} requests/s"
    picture.write_text(plot.distributions(title, series, limit_ms))
    return f"{PICTURES}/{picture.name}"


def measured(measure: Callable[[], Part]) -> Part:
    """Measure one part, and note on what."""
    load, begin = machine.load(), monotonic()
    part = measure()
    part.machine, part.load, part.took_s = machine.description(), load, monotonic() - begin
    return part


def write(folder: Path) -> None:
    """Write the document of all that is remembered."""
    names = [*measures(ROOT, quick=False, count=None), composed.NAME]
    beside = tables.part(folder)
    parts = [*saved(folder, names), *([beside] if beside else [])]
    (folder / "benchmarks.md").write_text(document(parts))


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="benchmarks", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a few of each, written elsewhere")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where to write (default: docs)")
    names = list(measures(ROOT, quick=False, count=None))
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="a part")
    parser.add_argument("--count", type=int, metavar="N", help="plays of a drill (or minutes)")
    options = parser.parse_args(arguments)
    folder = options.to or (Path(tempfile.mkdtemp()) if options.quick else ROOT / "docs")
    ways = measures(folder, quick=options.quick, count=options.count)
    for name in options.only or names:
        say(name)
        measured(ways[name]).save(folder)
        write(folder)  # after every part: it is there if a later one cannot be measured
    say(f"{folder / 'benchmarks.md'} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
