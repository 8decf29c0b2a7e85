"""What the documents say of it: a chapter of docs/benchmarks.md, and a part of docs/comparison.md.

Both are made of the same rows. A cell has the median, and the smallest and the largest; a p99 only
where there are a hundred. The best of a column is bold, whosever it is.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

from benchmarks import plot
from benchmarks.idle import Cost
from benchmarks.parts import PICTURES, Part, table
from benchmarks.peers.faults import INSTANCES, MOVING, Fault
from benchmarks.peers.places import NODES
from benchmarks.peers.play import LATE_MAX_US
from benchmarks.peers.results import Conditions, Measured, Played, read
from benchmarks.peers.stacks import OURS, STACKS, Stack
from services.sandbox.configuration import SERVICES
from services.sandbox.drills.figures import Figures, figures
from shared.instant import MILLISECOND

BEGIN = "<!-- measured: written by make bench-peers -->"
END = "<!-- end of what is measured -->"
DOCUMENT = "comparison.md"
COMMAND = "make bench-peers"
NOTHING = f"Nothing is measured yet: `{COMMAND}`."
WITNESS = "witness"
COSTS = (
    "What it costs while nothing happens and nobody asks: processor and memory (PSS) of a node "
    "with its load balancer and without its applications. Equipoise needs a third machine beside "
    "its nodes:"
)
Known: TypeAlias = Mapping[str, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A figure of plays; less is better."""

    words: str
    of: Callable[[Played], float | None]
    unit: str = ""
    digits: int = 0
    is_of_vips: bool = False  # it says something only where addresses move


SAFE = Column(words="safe requests failed", of=lambda play: play.safe_failed)
POSTS = Column(words="POSTs failed", of=lambda play: play.posts_failed)
OUTAGE = Column(words="outage", unit="ms", of=lambda play: play.outage_ms)
SLOWEST = Column(words="slowest answer", unit="ms", of=lambda play: play.slowest_ms)
DARK = Column(words="VIP dark", unit="ms", of=lambda play: play.dark_ms, is_of_vips=True)
HELD = Column(words="held by two", unit="ms", of=lambda play: play.held_twice_ms, is_of_vips=True)
ANSWERED = Column(
    words="answered by two", unit="ms", of=lambda play: play.answered_twice_ms, is_of_vips=True
)
AFTER = Column(words="failed afterwards", of=lambda play: play.after_failed)
AFTER_DARK = Column(
    words="VIP dark afterwards", unit="ms", of=lambda play: play.after_dark_ms, is_of_vips=True
)
RESTORED = Column(
    words="restored after",
    unit="s",
    digits=1,
    of=lambda play: None if play.restored_ms is None else play.restored_ms / 1_000,
)
ALL = (SAFE, POSTS, OUTAGE, SLOWEST, DARK, HELD, ANSWERED, AFTER, AFTER_DARK, RESTORED)
SHORT = (SAFE, POSTS, OUTAGE, DARK, HELD, AFTER, RESTORED)
JUDGED = (SAFE, POSTS, OUTAGE, DARK, RESTORED)
WORDS = (
    "The client is open-loop: half of its requests go over new connections and half over kept "
    "ones, one in ten is a POST, and what is not answered within 2 s has failed. A cell is *median "
    "(smallest to largest)* of n plays, with a p99 only where n is 100 or more; the best of a "
    "column is **bold**. *Failed* counts requests that were due before the fault's end, *failed "
    "afterwards* those of both kinds that were due from then until all was restored: what failing "
    "back costs. *Outage* is from when the first safe request was due that failed or took over "
    "250 ms until the last such one ended. *VIP dark*: nobody answered for it. *Held by two* is "
    "what the nodes' kernels say, *answered by two* what clients could have met on their network. "
    "† what clients had until the fault was ended by us: it was not made up for before."
)


def known(folder: Path) -> Known:
    """Return what is measured of every stack."""
    return {each.name: read(folder, each.name) for each in STACKS}


def sentence(play: Played) -> str:
    """Say what came of a play, as it goes by."""
    dark = "" if play.dark_ms is None else f", dark {play.dark_ms:.0f} ms"
    twice = f", held by two {play.held_twice_ms:.0f} ms" if play.held_twice_ms else ""
    back = "not restored" if play.restored_ms is None else f"restored {play.restored_ms:.0f} ms"
    return (
        f"{play.fault} on {play.node}: {play.safe_failed} safe and {play.posts_failed} POSTs "
        f"failed, outage {play.outage_ms:.0f} ms{'' if play.coped else ' (not coped)'}{dark}"
        f"{twice}; then {play.after_failed} failed, {back}; {play.took_s:.1f} s"
    )


def part(folder: Path) -> Part | None:
    """Return the chapter of docs/benchmarks.md; None as long as nothing is measured."""
    found = known(folder)
    turns = [turn for each in found.values() for turn in each.turns if turn.plays]
    if not turns:
        return None
    ours = [play for each in STACKS if each.is_ours for play in found[each.name].plays]
    overlaps = [play.held_twice_ms for play in ours if play.held_twice_ms is not None]
    return Part(
        name="peers",
        budgets=[],
        section=chapter(found),
        overlap_ms=max(overlaps, default=None),
        plays=len(overlaps),
        machine=turns[0].conditions.machine,
        load=max(turn.conditions.load for turn in turns),
        took_s=sum(play.took_s for turn in turns for play in turn.plays),
    )


def chapter(found: Known) -> str:
    """Return all that is known, in words, tables and pictures."""
    parts = ["## Beside others", conditions(found), WORDS, *absent(found)]
    for fault in Fault:
        rows = list(_rows(found, fault, ALL))
        if rows:
            heading = ("stack", "n", *(_heading(each) for each in _columns(fault, ALL)))
            parts += [f"### {fault.value[0].upper()}{fault.value[1:]}", table(heading, rows)]
    return "\n\n".join([*parts, *_pictures(), *better(found), *_idle(found)])


def short(found: Known) -> str:
    """Return what docs/comparison.md says of it: the same figures, fewer of them."""
    if not any(each.plays for each in found.values()):
        return NOTHING
    rows = [
        (fault.value, *row[:2], *_padded(fault, row[2:]))
        for fault in Fault
        for row in _rows(found, fault, SHORT)
    ]
    heading = ("fault", "stack", "n", *(_heading(each) for each in SHORT))
    parts = [conditions(found), WORDS, *absent(found), table(heading, rows, words=2)]
    return "\n\n".join([*parts, *_pictures(), *better(found), *_idle(found)])


def _padded(fault: Fault, cells: Sequence[str]) -> Iterator[str]:
    """Yield a row's cells with nothing where a figure says nothing of a fault."""
    filled = dict(zip(_columns(fault, SHORT), cells, strict=True))
    return (filled.get(column, "") for column in SHORT)


def _columns(fault: Fault, columns: Sequence[Column]) -> list[Column]:
    return [each for each in columns if fault in MOVING or not each.is_of_vips]


def _heading(column: Column) -> str:
    return f"{column.words}, {column.unit}" if column.unit else column.words


def _rows(found: Known, fault: Fault, columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each stack that played a fault."""
    played = {each: plays for each in STACKS if (plays := found[each.name].of(fault))}
    best = {column: _best(column, played.values()) for column in columns}
    for stack, plays in played.items():
        cells = (_cell(column, plays, best[column]) for column in _columns(fault, columns))
        yield stack.words, str(len(plays)), *cells


def _best(column: Column, played: Iterable[Sequence[Played]]) -> tuple[float, float] | None:
    """Return the least median, with the least largest; None where all are alike."""
    marks = {mark for plays in played if (mark := _mark(column, plays)) is not None}
    return min(marks) if len(marks) > 1 else None


def _mark(column: Column, plays: Sequence[Played]) -> tuple[float, float] | None:
    found = _figures(column, plays)
    if found is None or (column is RESTORED and found.n < len(plays)):
        return None
    return round(found.median, column.digits), round(found.maximum, column.digits)


def _figures(column: Column, plays: Sequence[Played]) -> Figures | None:
    return figures([value for play in plays if (value := column.of(play)) is not None])


def _cell(column: Column, plays: Sequence[Played], best: tuple[float, float] | None) -> str:
    found = _figures(column, plays)
    if found is None:
        return "never" if column is RESTORED else "not observed"
    text = _text(found, column.digits)
    if column is RESTORED and found.n < len(plays):
        text = f"{found.n} of {len(plays)}: {text}"
    if column is OUTAGE and not all(play.coped for play in plays):
        text += " †"
    return f"**{text}**" if best is not None and _mark(column, plays) == best else text


def _text(found: Figures, digits: int) -> str:
    def said(value: float) -> str:
        return f"{value:,.{digits}f}"

    if said(found.minimum) == said(found.maximum):
        return said(found.median)
    p99 = "" if found.p99 is None else f"; p99 {said(found.p99)}"
    return f"{said(found.median)} ({said(found.minimum)} to {said(found.maximum)}{p99})"


def conditions(found: Known) -> str:
    """Say how it was measured: no figure means anything without that."""
    turns = [turn for each in found.values() for turn in each.turns if turn.plays]
    plays = [play for turn in turns for play in turn.plays]
    under = [turn.conditions for turn in turns]
    least, most = _span([len(turn_of) for turn_of in _counts(found)])
    repeated = sum(play.posts_repeated for play in plays)
    late = [play.client_late_ms for play in plays]
    loads = [play.load for play in plays]
    each = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"`{COMMAND}`: {len(plays):,} plays in {len(turns)} turns, {each} of each fault on each "
        f"stack, on {'; and on '.join(_all(under, lambda x: x.machine))}; "
        f"{' and '.join(_versions(under))}; {' and '.join(_all(under, lambda x: str(x.rate)))} "
        f"requests/s; commit {_commits(found)}; seed "
        f"{', '.join(_all(under, lambda x: str(x.seed)))}; load average before a play from "
        f"{min(loads):.1f} to {max(loads):.1f}. Stacks took turns. A fault came at a drawn moment, "
        "and was proved by the kernel before it was ended. The client was at most "
        f"{max(late):,.0f} ms late itself (median of plays {median(late):.0f} ms); where it was "
        f"over {LATE_MAX_US // MILLISECOND} ms and over a tenth of the outage, the play is no "
        f"measurement. {repeated} POSTs were done twice."
    )


def _counts(found: Known) -> Iterator[list[Played]]:
    for each in STACKS:
        for fault in each.faults:
            if plays := found[each.name].of(fault):
                yield plays


def _span(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _all(under: Sequence[Conditions], of: Callable[[Conditions], str]) -> list[str]:
    return sorted({of(each) for each in under})


def _versions(under: Sequence[Conditions]) -> list[str]:
    return sorted({f"{name} {said}" for each in under for name, said in each.versions.items()})


def _commits(found: Known) -> str:
    """Say of which commit it is; of several, how many plays each has."""
    counted = Counter[str]()
    for each in found.values():
        for turn in each.turns:
            counted[turn.conditions.commit] += len(turn.plays)
    if len(counted) == 1:
        return f"`{next(iter(counted))}`"
    said = ", ".join(f"`{commit}` ({plays:,} plays)" for commit, plays in sorted(counted.items()))
    return f"**mixed**: {said}"


def absent(found: Known) -> list[str]:
    """Say what is not in the tables, and why."""
    lines: list[str] = []
    for each in STACKS:
        lines += _absent(each, found[each.name])
    return ["\n".join(["What is missing:", "", *lines])] if lines else []


def _absent(stack: Stack, measured: Measured) -> Iterator[str]:
    if measured.skipped is not None:
        yield f"* *{stack.words}* was skipped: {measured.skipped}."
    elif not measured.plays:
        yield f"* *{stack.words}* is not measured yet."
    counted = Counter((problem.fault, problem.why) for problem in measured.problems)
    for (fault, why), times in counted.items():
        yield f"* *{stack.words}*, {fault}: {times} plays are no measurements ({why})."


def better(found: Known) -> list[str]:
    """Say where others did better than Equipoise as it comes."""
    lines = [
        f"* {fault.value}, {column.words}: {stack.words} {_said(theirs, column)}, "
        f"Equipoise {_said(ours, column)}"
        for fault in Fault
        for column in _columns(fault, JUDGED)
        if (ours := _mark(column, found[OURS.name].of(fault))) is not None
        for stack, theirs in _better(found, fault, column, ours)
    ]
    heading = "Where another did better than Equipoise as it comes, by the median:"
    return ["\n".join([heading, "", *lines])] if lines else []


def _better(
    found: Known, fault: Fault, column: Column, ours: tuple[float, float]
) -> Iterator[tuple[Stack, tuple[float, float]]]:
    """Yield the best of the others, if it is better."""
    others = {
        stack: mark
        for stack in STACKS
        if not stack.is_ours and (mark := _mark(column, found[stack.name].of(fault))) is not None
    }
    if others:
        stack = min(others, key=lambda each: others[each])
        if others[stack][0] < ours[0]:
            yield stack, others[stack]


def _said(mark: tuple[float, float], column: Column) -> str:
    return f"{mark[0]:,.{column.digits}f} {column.unit}".strip()


def _idle(found: Known) -> list[str]:
    rows = []
    for each in STACKS:
        idles = found[each.name].idles
        members = (*NODES, WITNESS) if each.is_ours else NODES
        rows += [(each.words, *row) for row in _costs(idles, members)]
    if not rows:
        return []
    return [
        COSTS,
        table(("stack", "where", "n", "CPU, % of a core", "PSS, MiB"), rows, words=2),
    ]


def _costs(
    idles: Sequence[Sequence[Cost]], members: Sequence[str]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for a node, by what each cost each time, and one for the witness."""
    for words, of in (
        ("a node", [member for member in members if member != WITNESS]),
        ("the witness", [member for member in members if member == WITNESS]),
    ):
        sums = [_sums(costs, member) for costs in idles for member in of]
        cpu, pss = figures([cpu for cpu, _ in sums]), figures([pss for _, pss in sums])
        if cpu is not None and pss is not None:
            yield words, str(cpu.n), _text(cpu, 1), _text(pss, 0)


def _sums(costs: Sequence[Cost], member: str) -> tuple[float, float]:
    applications = {f"{member}/{service.name}" for service in SERVICES}
    theirs = [
        cost
        for cost in costs
        if cost.program.startswith(f"{member}/") and cost.program not in applications
    ]
    return sum(cost.cpu_percent for cost in theirs), sum(cost.pss_mib for cost in theirs)


PICTURED = {
    "peers-instances.svg": ("Outage that clients had, an instance failing", OUTAGE, INSTANCES),
    "peers-nodes.svg": ("Outage that clients had, a load balancer or node failing", OUTAGE, MOVING),
    "peers-dark.svg": ("How long the VIP was dark", DARK, MOVING),
    "peers-back.svg": ("How long the VIP was dark after the fault's end", AFTER_DARK, MOVING),
}


def _pictures() -> list[str]:
    return [f"![{title}]({PICTURES}/{name})" for name, (title, _, _) in PICTURED.items()]


def draw(folder: Path) -> None:
    """Draw the pictures of what is measured."""
    found = known(folder)
    if not any(each.plays for each in found.values()):
        return
    for name, (title, column, faults) in PICTURED.items():
        shown = [each for each in STACKS if set(each.faults) & set(faults)]
        groups = {
            fault.value: {
                each.words: (each_found.median, each_found.maximum)
                for each in shown
                if (each_found := _figures(column, found[each.name].of(fault))) is not None
            }
            for fault in faults
        }
        picture = folder / PICTURES / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        words = f"{title}, in ms: median (bar) and longest (line)"
        picture.write_text(plot.bars(words, groups, [each.words for each in shown]))


def write(folder: Path) -> Path:
    """Write the pictures, and the measured part of docs/comparison.md; return its place."""
    draw(folder)
    place = folder / DOCUMENT
    text = place.read_text() if place.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    place.write_text(f"{before}{BEGIN}\n\n{short(known(folder))}\n\n{END}{after}")
    return place
