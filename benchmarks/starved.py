"""What happens for nothing on machines and networks that are bad: `python -m benchmarks.starved`.

A sandbox with its clients at 200 requests/s; beside it four programs that never rest, while its
cables lose nothing, then 1, 5 and 10 % of all frames. Nothing fails, so every move of a virtual IP,
every lapse of a lease and every incident is a false alarm; and nothing may grow.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import machine, plot
from benchmarks.enduring import BURNERS, Endured, Spell, endure
from benchmarks.parts import PICTURES, Budget, Part, table, verdict
from benchmarks.sandboxes import running
from services.sandbox.options import Profile

NAME = "starved"
RATE = 200  # requests/s
LOSSES = (0, 1, 5, 10)  # per cent
MINUTES = 60.0
SETTLE_S = 10  # the start is no idle time, and has long gaps of its own
GROWING = ("heartbeat", "health_probe", "traffic_switcher", "console", "arbiter", "nats")
POINTS_MAX = 300  # of a line in a picture: more would not be seen


def measure(minutes: float, losses: Sequence[int] = LOSSES, *words: str) -> Endured:
    """Run a sandbox, starve it for so long in all, and return what was seen."""
    spells = [Spell(loss_percent=loss, minutes=minutes / len(losses)) for loss in losses]
    with running("--rate", str(RATE), *words) as folder:

        async def whole() -> Endured:
            await asyncio.sleep(SETTLE_S)
            return await endure(folder, spells)

        return asyncio.run(whole())


def part(seen: Endured, folder: Path) -> Part:
    """Return what the document says of it, with its pictures."""
    minutes = sum(spell.minutes for spell in seen.spells)
    overlaps = [spell.overlap_ms for spell in seen.spells if spell.overlap_ms is not None]
    sections = [
        "## starved",
        (
            f"{BURNERS} programs that never rest beside a cluster and its clients ({RATE} "
            f"requests/s) for {minutes:g} minutes (n = 1), while cables lose so many of all frames "
            f"by chance: `python -m benchmarks.starved --minutes {minutes:g}`. Nothing fails: what "
            "moves does so for nothing. A request that fails where frames are lost may have lost "
            "three in a row: its time-out is 2 s, and TCP asks again after 1 s, then 2."
        ),
        _spells(seen.spells),
        *_said(seen.spells),
        f"![leases over time]({_lease_picture(seen, folder)})",
        (
            "Memory (PSS, MiB) of each program through all of it: the median of the first and of "
            "the last tenth of the samples."
        ),
        _growth(seen),
        f"![memory over time]({_memory_picture(seen, folder)})",
    ]
    return Part(
        name=NAME,
        budgets=_budgets(seen, minutes),
        section="\n\n".join(sections),
        overlap_ms=max(overlaps, default=None),
        plays=1,
    )


def _budgets(seen: Endured, minutes: float) -> list[Budget]:
    what = f"{BURNERS} burners, {'/'.join(str(x.loss_percent) for x in seen.spells)} % loss"
    what = f"{what}, {minutes:g} min"
    moves = sum(spell.moves for spell in seen.spells)
    incidents = sum(len(spell.incidents) for spell in seen.spells)
    return [
        verdict(f"{what}: needless moves of VIPs", moves, 0, "", digits=0),
        verdict(f"{what}: incidents", incidents, 0, "", digits=0),
    ]


def _spells(spells: Sequence[Spell]) -> str:
    rows = [
        ("frames lost", *(f"{spell.lost}" for spell in spells)),
        ("VIPs that moved", *(f"{spell.moves}" for spell in spells)),
        ("leases that lapsed", *(f"{spell.lapses}" for spell in spells)),
        ("incidents opened", *(f"{len(spell.incidents)}" for spell in spells)),
        ("dark, the VIP that fared worst, ms", *(f"{spell.dark_ms:.0f}" for spell in spells)),
        ("overlap, ms", *(_or_dash(spell.overlap_ms) for spell in spells)),
        ("longest silence between beats, ms", *(_most(spell.gaps_ms) for spell in spells)),
        ("lease granted, min / median / max, ms", *(_three(spell.leases_ms) for spell in spells)),
        ("requests", *(f"{spell.sent}" for spell in spells)),
        ("failed, and how", *(_failed(spell) for spell in spells)),
        ("slowest safe answer, ms", *(f"{spell.slowest_ms:.0f}" for spell in spells)),
        ("console without an answer", *(f"{spell.unanswered}" for spell in spells)),
    ]
    heading = [f"{spell.loss_percent} % for {spell.minutes:g} min" for spell in spells]
    return table(("frames lost by chance", *heading), rows)


def _said(spells: Sequence[Spell]) -> list[str]:
    said = [
        f"* {spell.loss_percent} %: {text}"
        for spell in spells
        for text in (*spell.incidents, *spell.blind)
    ]
    return ["\n".join(["Seen beside:", "", *said])] if said else []


def _growth(seen: Endured) -> str:
    rows = []
    for program, samples in sorted(seen.pss_mib.items()):
        if not program.endswith(GROWING):
            continue
        weights = [weight for _, weight in samples]
        tenth = -(-len(weights) // 10)
        first, last = median(weights[:tenth]), median(weights[-tenth:])
        rows.append((program, f"{first:.1f}", f"{last:.1f}", f"{last - first:+.1f}"))
    return table(("program", "first", "last", "grown by"), rows)


def _lease_picture(seen: Endured, folder: Path) -> str:
    title = f"lease: auto, {BURNERS} burners on {machine.cores()} cores, by share of frames lost"
    series = {
        "lease, ms": thinned(seen.leases_ms),
        "longest silence, ms": thinned(seen.gaps_ms),
    }
    return _picture(folder, NAME, plot.courses(title, series, marks=seen.marks))


def _memory_picture(seen: Endured, folder: Path) -> str:
    wanted = ("node-a/traffic_switcher", "node-a/console", "witness/arbiter", "witness/nats")
    series = {name: seen.pss_mib[name] for name in wanted if name in seen.pss_mib}
    drawn = plot.courses("memory (PSS), MiB", series, marks=seen.marks)
    return _picture(folder, f"{NAME}-memory", drawn)


def _picture(folder: Path, name: str, drawn: str) -> str:
    place = folder / PICTURES / f"{name}.svg"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(drawn)
    return f"{PICTURES}/{place.name}"


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return fewer points for a line: of each stretch the highest, so that no peak is lost."""
    length = -(-len(points) // POINTS_MAX) or 1
    stretches = (points[begin : begin + length] for begin in range(0, len(points), length))
    return [max(stretch, key=lambda point: point[1]) for stretch in stretches]


def _failed(spell: Spell) -> str:
    if not spell.failed:
        return "0"
    return ", ".join(f"{count} {how}" for how, count in sorted(spell.failed.items()))


def _or_dash(value: float | None) -> str:
    return "not observed" if value is None else f"{value:.1f}"


def _most(values: Sequence[float]) -> str:
    return f"{max(values):.0f}" if values else "-"


def _three(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{min(values):.0f} / {median(values):.0f} / {max(values):.0f}"


def main(arguments: Sequence[str]) -> int:
    """Starve a cluster, and print what was seen."""
    parser = argparse.ArgumentParser(prog="benchmarks.starved", allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all (default: 60)")
    parser.add_argument("--loss", type=int, action="append", choices=[0, 1, 2, 4, 5, 10, 20])
    parser.add_argument("--profile", default="default", choices=[each.value for each in Profile])
    options = parser.parse_args(arguments)
    losses = options.loss or LOSSES
    seen = measure(options.minutes, losses, "--profile", options.profile)
    folder = Path(tempfile.mkdtemp(prefix="starved-"))
    print(part(seen, folder).section)
    (folder / "seen.json").write_text(json.dumps(asdict(seen), indent=1))
    print(f"all that was seen, and the pictures: {folder}", file=sys.stderr)
    return 0 if not any(spell.moves or spell.incidents for spell in seen.spells) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
