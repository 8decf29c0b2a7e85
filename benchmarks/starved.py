"""What moves for nothing while others burn the processors: `python -m benchmarks.starved`.

A sandbox with its client at 200 requests/s, and four programs beside it that never rest. Nothing
fails, so every move of a virtual IP, every lapse of a lease and every incident is a false alarm.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic

from benchmarks import machine, plot
from benchmarks.parts import PICTURES, Budget, Part, table, verdict
from benchmarks.sandboxes import running
from services.sandbox.audit import summarise
from services.sandbox.drills.console import Console
from services.sandbox.errors import DrillError
from services.sandbox.observers.judging import Window, judge, moves
from services.sandbox.observers.observations import Asked, Observation, Reader
from services.sandbox.parts import OBSERVATIONS, RECORDS
from services.sandbox.records import Record, RecordReader
from shared.clock import SystemClock
from shared.instant import MILLISECOND, Instant

BURNERS = 4
RATE = 200  # requests/s
SETTLE_S = 10  # the start is no idle time, and has long gaps of its own
SAMPLE_S = 1.0
NAME = "starved"
BURN = "while True: pass"
LAPSED = b'"event":"vip_lapsed"'
SAID = (LAPSED, b'"event":"not_able"')


@dataclass(slots=True)
class Seen:
    """What was seen of a cluster while it starved."""

    minutes: float
    leases_ms: list[tuple[float, float]] = field(default_factory=list)  # seconds, longest granted
    unanswered: int = 0  # samples that the console did not answer
    incidents: list[str] = field(default_factory=list)
    moves: int = 0
    lapses: int = 0
    overlap_ms: float | None = None
    dark_ms: float = 0.0
    blind: list[str] = field(default_factory=list)
    sent: int = 0
    failed: int = 0
    slowest_ms: float = 0.0
    log: list[str] = field(default_factory=list)  # what nodes said that they could not do


async def watch(folder: Path, minutes: float) -> Seen:
    """Look at a cluster for so long."""
    clock, console = SystemClock(), Console(folder / "witness" / "api.sock")
    observations, requests = Reader(folder / OBSERVATIONS), RecordReader(folder / RECORDS)
    observed: list[Observation] = []
    records: list[Record] = []
    seen = Seen(minutes)
    before = {each["id"] for each in await console.incidents()}
    logs = {path: path.stat().st_size for path in (folder / "logs").iterdir()}
    begin_at = clock.now()
    begun, end = monotonic(), monotonic() + minutes * 60
    with burning():
        while (now := monotonic()) < end:
            await asyncio.sleep(SAMPLE_S)
            observed += observations.read()
            records += requests.read()
            await _sample(console, seen, now - begun)
    seen.incidents = [
        f"{each['id']}: {each['sentence']}"
        for each in await console.incidents()
        if each["id"] not in before
    ]
    observed += observations.read()
    records = [each for each in records if each.scheduled_at >= begin_at]
    _judge(seen, observed, begin_at, clock.now())
    summary = summarise(records)
    seen.sent, seen.failed = summary.sent, summary.failed
    seen.slowest_ms = summary.slowest_us / MILLISECOND
    seen.log = [line for path, size in logs.items() for line in _said(path, size)]
    seen.lapses = sum(LAPSED.decode() in line for line in seen.log)
    return seen


async def _sample(console: Console, seen: Seen, at_s: float) -> None:
    try:
        status = await console.status()
    except DrillError:
        seen.unanswered += 1
        return
    nodes = [each for each in status["nodes"] if each["role"] == "node"]
    lengths = [each["lease_us"] for each in nodes if each["lease_us"] is not None]
    if lengths:
        seen.leases_ms.append((round(at_s, 1), max(lengths) / MILLISECOND))


def _judge(seen: Seen, observed: Sequence[Observation], begin_at: Instant, end_at: Instant) -> None:
    asked = [each for each in observed if isinstance(each, Asked) and each.at >= begin_at]
    vips = tuple(sorted({each.vip for each in asked}))
    nodes = tuple(sorted({each.node for each in observed if not isinstance(each, Asked)}))
    window = Window(
        begin_at=begin_at,
        end_at=end_at - 2 * 1_000 * MILLISECOND,  # what observers have not written yet
        fault_at=begin_at,
        nodes=nodes,
        vips=vips,
    )
    found = judge(observed, window)
    seen.moves = sum(len(moves(x for x in asked if x.vip == vip)) for vip in vips)
    seen.overlap_ms = None if found.overlap_us is None else found.overlap_us / MILLISECOND
    seen.dark_ms = max(found.dark_us.values(), default=0) / MILLISECOND
    seen.blind = [*found.unobserved, *(each.text for each in found.overlaps)]


def _said(path: Path, size: int) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(size)
        for line in file:
            if any(each in line for each in SAID):
                yield line.decode(errors="replace").strip()


@contextmanager
def burning() -> Iterator[None]:
    """Burn the processors until the block ends."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def measure(minutes: float, *words: str) -> Seen:
    """Run a sandbox, starve it, and say what was seen."""
    with running("--rate", str(RATE), *words) as folder:
        asyncio.run(asyncio.sleep(SETTLE_S))
        return asyncio.run(watch(folder, minutes))


def part(seen: Seen, folder: Path) -> Part:
    """Return what the document says of it, with its picture."""
    lengths = sorted(length for _, length in seen.leases_ms)
    title = f"lease: auto, {BURNERS} burners beside a cluster on {machine.cores()} cores"
    picture = folder / PICTURES / f"{NAME}.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(plot.course(title, "lease, ms", seen.leases_ms))
    rows = [
        ("VIPs that moved", str(seen.moves)),
        ("leases that lapsed", str(seen.lapses)),
        ("incidents opened", str(len(seen.incidents))),
        ("longest that a VIP was dark, all together", f"{seen.dark_ms:.0f} ms"),
        ("overlap", "not observed" if seen.overlap_ms is None else f"{seen.overlap_ms:.1f} ms"),
        ("leases granted, min / median / max", _three(lengths)),
        ("requests failed", f"{seen.failed} of {seen.sent}"),
        ("slowest safe answer", f"{seen.slowest_ms:.0f} ms"),
    ]
    said = [*seen.incidents, *seen.blind]
    section = "\n\n".join(
        [
            "## starved",
            (
                f"{BURNERS} programs that never rest beside a cluster and its clients ({RATE} "
                f"requests/s) for {seen.minutes:g} minutes (n = 1): `python -m benchmarks.starved "
                f"--minutes {seen.minutes:g}`. Nothing fails: what moves does so for nothing."
            ),
            table(("what", "seen"), rows),
            f"![leases over time]({PICTURES}/{NAME}.svg)",
            *(["\n".join(["Seen beside:", "", *(f"* {text}" for text in said)])] if said else []),
        ]
    )
    what = f"{BURNERS} burners, {seen.minutes:g} min"
    budgets: list[Budget] = [
        verdict(f"{what}: needless moves of VIPs", seen.moves, 0, "", digits=0),
        verdict(f"{what}: incidents", len(seen.incidents), 0, "", digits=0),
    ]
    return Part(name=NAME, budgets=budgets, section=section, overlap_ms=seen.overlap_ms, plays=1)


def _three(ordered: Sequence[float]) -> str:
    if not ordered:
        return "none seen"
    median = ordered[len(ordered) // 2]
    return f"{ordered[0]:.0f} / {median:.0f} / {ordered[-1]:.0f} ms"


def main(arguments: Sequence[str]) -> int:
    """Starve a cluster, and print what was seen."""
    parser = argparse.ArgumentParser(prog="benchmarks.starved", allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--profile", default="default", choices=["default", "fast"])
    options = parser.parse_args(arguments)
    seen = measure(options.minutes, "--profile", options.profile)
    folder = Path(tempfile.mkdtemp(prefix="starved-"))
    print(part(seen, folder).section)
    shown: Mapping[str, object] = asdict(seen)
    print(json.dumps(shown, indent=1), file=sys.stderr)
    print(f"picture: {folder / PICTURES / NAME}.svg; {Counter(seen.incidents).total()} incidents")
    return 0 if not seen.moves and not seen.incidents else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
