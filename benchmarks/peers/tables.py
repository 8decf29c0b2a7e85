"""The measured part of docs/comparison.md: between two marks, and nothing else of it is touched."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import plot
from benchmarks.idle import Cost
from benchmarks.parts import PICTURES, table
from benchmarks.peers.faults import MOVING, Fault
from benchmarks.peers.measured import Measured, remembered
from benchmarks.peers.play import Played
from benchmarks.peers.stacks import NODES, Stack
from services.sandbox.configuration import SERVICES
from services.sandbox.drills.figures import figures

BEGIN = "<!-- measured: written by python -m benchmarks.peers -->"
END = "<!-- end of what is measured -->"
DOCUMENT, PICTURE = "comparison.md", "peers.svg"
HEADING = (
    "fault",
    "stack",
    "n",
    "safe requests failed",
    "POSTs repeated",
    "slowest answer, ms",
    "outage, ms",
    "VIP dark, ms",
    "held by two, ms",
    "answered by two, ms",
    "restored exactly",
)


def write(folder: Path) -> Path:
    """Write the picture and the measured part of the document; return the document's place."""
    measured = remembered(folder)
    place = folder / DOCUMENT
    text = place.read_text() if place.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    picture = folder / PICTURES / PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(drawn(measured))
    place.write_text(f"{before}{BEGIN}\n\n{section(measured)}\n\n{END}{after}")
    return place


def section(measured: Sequence[Measured]) -> str:
    """Return all that is measured, in words and tables."""
    return "\n\n".join(
        (
            conditions(measured),
            table(HEADING, list(_rows(measured)), words=2),
            f"![Outage that clients had, by fault and stack]({PICTURES}/{PICTURE})",
            (
                "What a node costs while nothing happens and nobody asks, with its HAProxy and "
                "without its applications; Equipoise needs a third machine beside its nodes:"
            ),
            table(
                ("stack", "where", "CPU, % of a core", "PSS, MiB"), list(_idle(measured)), words=2
            ),
        )
    )


def conditions(measured: Sequence[Measured]) -> str:
    """Say how it was measured: no figure means anything without that."""
    machines = "; and on ".join(sorted({each.machine for each in measured}))
    versions = ", ".join(sorted({each.keepalived for each in measured}))
    loads = [each.load for each in measured] or [0.0]
    minutes = sum(each.took_s for each in measured) / 60
    rates = ", ".join(sorted({str(each.rate) for each in measured}))
    late_ms = max((x.client_late_ms for each in measured for x in each.plays), default=0.0)
    idle_s = ", ".join(sorted({f"{each.idle_s:g}" for each in measured}))
    return (
        f"Measured by `python -m benchmarks.peers` on {machines}, keepalived {versions} (load "
        f"average before a stack from {min(loads):.1f} to {max(loads):.1f}; {minutes:.0f} minutes "
        f"in all; {rates} requests/s; idle for {idle_s} s). A cell is *median / largest* of n "
        "plays. † marks what clients had until the fault was ended by us: it was not made up for "
        "before. *Not observed*: no kernel told of any change, so that no zero is claimed. "
        f"The client was at most {late_ms:.0f} ms late itself."
    )


def _rows(measured: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    for fault in Fault:
        for each in measured:
            plays = each.of(fault)
            if plays:
                yield fault.value, each.stack.words, *_cells(plays)


def _cells(plays: Sequence[Played]) -> Iterator[str]:
    late = sum(not play.coped for play in plays)
    yield str(len(plays))
    yield _two([play.safe_failed for play in plays])
    yield str(sum(play.posts_repeated for play in plays))
    yield _two([play.slowest_ms for play in plays])
    yield _two([play.outage_ms for play in plays]) + (" †" if late else "")
    moving = plays[0].fault in MOVING
    for seen in (
        [play.dark_ms for play in plays],
        [play.held_twice_ms for play in plays],
        [play.answered_twice_ms for play in plays],
    ):
        known = [value for value in seen if value is not None]
        yield _two(known) if known else "not observed" if moving else "-"
    yield _restored(plays)


def _restored(plays: Sequence[Played]) -> str:
    after = [play.restored_ms for play in plays if play.restored_ms is not None]
    found = figures(after)
    said = f"{sum(play.restored for play in plays)} of {len(plays)}"
    if found is None:
        return said
    return f"{said}, after {found.median / 1_000:.1f} / {found.maximum / 1_000:.1f} s"


def _two(values: Sequence[float]) -> str:
    found = figures(values)
    return "-" if found is None else f"{found.median:,.0f} / {found.maximum:,.0f}"


def _idle(measured: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    for each in measured:
        yield each.stack.words, "a node", *_sums(each.costs, NODES[0])
        if each.stack is Stack.EQUIPOISE:
            yield each.stack.words, "the witness", *_sums(each.costs, "witness")


def _sums(costs: Sequence[Cost], member: str) -> tuple[str, str]:
    applications = {f"{member}/{service.name}" for service in SERVICES}
    ours = [
        cost
        for cost in costs
        if cost.program.startswith(f"{member}/") and cost.program not in applications
    ]
    cpu, pss = sum(cost.cpu_percent for cost in ours), sum(cost.pss_mib for cost in ours)
    return f"{cpu:.1f}", f"{pss:.0f}"


def drawn(measured: Sequence[Measured]) -> str:
    """Return the picture: the outage that clients had."""
    groups = {
        fault.value: {
            each.stack.words: (found.median, found.maximum)
            for each in measured
            if (found := figures([play.outage_ms for play in each.of(fault)])) is not None
        }
        for fault in Fault
    }
    title = "Outage that clients had, in ms: median (bar) and longest (line)"
    return plot.bars(title, groups, [each.stack.words for each in measured])
