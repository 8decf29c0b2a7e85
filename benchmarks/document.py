"""docs/benchmarks.md: every figure with its n, its rate, and the command that measured it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.decide import Row
from benchmarks.idle import Cost
from services.sandbox.drills.figures import Figures, figures
from services.sandbox.drills.names import Name
from services.sandbox.drills.report import PHASES, STEPS, Report, Sum

SWITCHED_P50_MS, SWITCHED_P99_MS = 15.0, 50.0
NOTICED_MS = 150.0
SLOWEST_MS = 300.0
DECIDE_US, TICK_US = 50.0, 1_000.0
STATUS_MS = 150.0
NODE_CPU_PERCENT, NODE_PSS_MIB = 3.0, 200.0
FIGURES = {
    "first_sign_ms": "first sign",
    "noticed_ms": "noticed",
    "switched_ms": "switched",
    "slowest_ms": "slowest safe answer",
    "outage_ms": "outage",
    "recovery_ms": "until restored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """A drill that was played many times."""

    name: Name
    report: Report
    command: str

    def values(self, figure: str) -> list[float]:
        """Return one figure of every play that has it."""
        plays = (dict(play) | dict(play["requests"]) for play in self.report["drills"])
        return [value for play in plays if isinstance(value := play[figure], float | int)]

    @property
    def lost(self) -> int:
        """How many safe requests failed, in all plays together."""
        return sum(play["requests"]["safe_failed"] for play in self.report["drills"])

    @property
    def sums(self) -> Mapping[str, Sum | None]:
        """What its figures amount to."""
        repeated = self.report["repeated"]
        return repeated[0]["figures"] if repeated else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that one run of the benchmarks measured."""

    machine: str
    load: float
    took_s: float
    quick: bool
    decided: Sequence[Row]
    drilled: Sequence[Drilled]
    idle: Sequence[Cost]
    idle_s: float
    status_ms: Sequence[float]


def document(measured: Measured, plots: Mapping[Name, str]) -> str:
    """Return the whole document; `plots` are the names of pictures."""
    parts = [
        _head(measured),
        _budgets(measured),
        *(_drill(drilled, plots.get(drilled.name)) for drilled in measured.drilled),
        _decisions(measured),
        _idle(measured),
        _commands(measured),
    ]
    return "\n\n".join(parts) + "\n"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """Return a table; the first columns are words, the others figures."""
    marks = ["---" if column < words else "---:" for column in range(len(heading))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, marks, *rows))


def _head(measured: Measured) -> str:
    kind = "a quick run, only to see that everything works; " if measured.quick else ""
    return (
        "# Benchmarks\n\n"
        "What failures and idling cost. Written by `make bench`; do not edit.\n\n"
        f"Measured on {measured.machine} ({kind}load average {measured.load:.1f} before the start, "
        f"{measured.took_s / 60:.0f} minutes). Everything runs on this one machine: both nodes, "
        "the witness, and the clients, about twenty processes.\n\n"
        "Every instant counts from the fault, on the one clock that all namespaces share. "
        "*First sign*: the first bad probe began, or a kept connection ended. *Noticed*: the "
        "arbiter has the evidence that it decides by. *Switched*: every load balancer has been "
        "told, and read back. *Outage*: from when the first safe request was due that failed or "
        "took over 250 ms until the last such one ended. The client is open-loop: a latency counts "
        "from when the request was due. Percentiles are nearest-rank; a p99 needs n of 100."
    )


def _budgets(measured: Measured) -> str:
    rows = [*_drill_budgets(measured), *_decision_budgets(measured), *_cost_budgets(measured)]
    return "## Budgets\n\n" + table(("what", "measured", "budget", ""), rows)


def _drill_budgets(measured: Measured) -> Iterator[Sequence[str]]:
    drills = {drilled.name: drilled for drilled in measured.drilled}
    killed, hung = drills[Name.KILL_INSTANCE], drills[Name.HANG_INSTANCE]
    what = "instance killed: all load balancers switched and read back"
    if found := figures(killed.values("switched_ms")):
        yield _verdict(f"{what}, p50", found.median, SWITCHED_P50_MS, "ms")
        which = f"largest of {found.n}" if found.p99 is None else "p99"
        last = found.maximum if found.p99 is None else found.p99
        yield _verdict(f"{what}, {which}", last, SWITCHED_P99_MS, "ms")
    if found := figures(hung.values("noticed_ms")):
        yield _verdict("instance hangs: noticed, p50", found.median, NOTICED_MS, "ms")
    if found := figures(hung.values("slowest_ms")):
        yield _verdict("instance hangs: slowest safe answer, p50", found.median, SLOWEST_MS, "ms")
    for drilled in measured.drilled:
        sent = sum(play["requests"]["safe_sent"] for play in drilled.report["drills"])
        said = f"{drilled.name}: failed safe requests, of {sent}"
        yield _verdict(said, drilled.lost, 0, "", digits=0)


def _decision_budgets(measured: Measured) -> Iterator[Sequence[str]]:
    for row in measured.decided:
        limit = DECIDE_US if "conclusive" in row.what else TICK_US
        yield _verdict(f"{row.what}, {row.nodes} nodes, p50", row.p50_us, limit, "µs")


def _cost_budgets(measured: Measured) -> Iterator[Sequence[str]]:
    cpu, pss = _node(measured.idle, "node-a")
    yield _verdict("one node, idle: processor, of a core", cpu, NODE_CPU_PERCENT, "%")
    yield _verdict("one node, idle: memory (PSS)", pss, NODE_PSS_MIB, "MiB", digits=0)
    if found := figures(measured.status_ms):
        yield _verdict("`equipoise status`, p50", found.median, STATUS_MS, "ms")


def _verdict(
    what: str, value: float, limit: float, unit: str, *, digits: int = 1
) -> tuple[str, str, str, str]:
    met = "met" if value <= limit else "**missed**"
    return what, f"{value:.{digits}f} {unit}".strip(), f"{limit:g} {unit}".strip(), met


def _node(costs: Sequence[Cost], node: str) -> tuple[float, float]:
    """Return what a node's part of the product costs, with its HAProxy, without applications."""
    ours = [x for x in costs if x.program.startswith(f"{node}/") and not _application(x.program)]
    return sum(x.cpu_percent for x in ours), sum(x.pss_mib for x in ours)


def _application(program: str) -> bool:
    return program.endswith(("/shop", "/orders"))


def _drill(drilled: Drilled, plot: str | None) -> str:
    plays = drilled.report["drills"]
    targets = ", ".join(sorted({play["target"] for play in plays}))
    rows = [(name, *_cells(drilled.sums.get(key))) for key, name in FIGURES.items()]
    spent = [(name, *_cells(drilled.sums.get(name))) for name in (*PHASES, *STEPS)]
    unsafe = sum(play["requests"]["unsafe_failed"] for play in plays)
    unsafe_sent = sum(play["requests"]["unsafe_sent"] for play in plays)
    doubled = sum(play["requests"]["doubled"] for play in plays)
    heading = ("ms", "n", "min", "p50", "p99", "max")
    well = sum(play["ok"] for play in plays)
    parts = [
        f"## {drilled.name}",
        (
            f"n = {len(plays)} at {drilled.report['rate']} requests/s, {drilled.report['nodes']} "
            f"nodes, in turn on {targets}: `{drilled.command}`. {well} of {len(plays)} without a "
            f"finding; {drilled.lost} safe requests failed, {unsafe} of {unsafe_sent} POSTs failed "
            f"(they are never repeated), {doubled} were done twice."
        ),
        table(heading, rows),
        (
            "Where the time goes, as Equipoise accounts for it; *persist* and *install* are the "
            "slowest switcher's steps within *switch*:"
        ),
        table(heading, spent),
    ]
    if plot:
        parts.append(f"![distribution of {drilled.name}]({plot})")
    return "\n\n".join([*parts, *_findings(drilled)])


def _findings(drilled: Drilled) -> list[str]:
    plays = drilled.report["drills"]
    found = [f"* {play['target']}: {text}" for play in plays for text in play["findings"]]
    found += [f"* {text}" for text in drilled.report["findings"]]
    return ["\n".join(["What was found wrong:", "", *found])] if found else []


def _cells(found: Sum | None) -> tuple[str, ...]:
    if found is None:
        return ("0", "-", "-", "-", "-")
    p99 = "-" if found["p99"] is None else _one(found["p99"])
    return str(found["n"]), _one(found["min"]), _one(found["p50"]), p99, _one(found["max"])


def _decisions(measured: Measured) -> str:
    rows = [
        (row.what, *map(str, (row.nodes, row.services, row.n)), _one(row.p50_us), _one(row.p99_us))
        for row in measured.decided
    ]
    return (
        "## Deciding\n\nThe arbiter's pure core alone, in microseconds: `python -m benchmarks`.\n\n"
        + table(("what", "nodes", "services", "n", "p50", "p99"), rows)
    )


def _idle(measured: Measured) -> str:
    rows = [
        (x.program, str(x.processes), f"{x.cpu_percent:.2f}", f"{x.pss_mib:.1f}")
        for x in measured.idle
    ]
    sums = []
    for node in ("node-a", "node-b"):
        cpu, pss = _node(measured.idle, node)
        sums.append((f"**{node} without its applications**", "", f"{cpu:.2f}", f"{pss:.1f}"))
    return (
        "## Idle\n\n"
        f"No clients, nothing fails, {measured.idle_s:g} s (n = 1): `equipoise sandbox --rate 0`. "
        "Processor time in per cent of one core; memory is PSS. The nats-server runs on the "
        "witness.\n\n" + table(("program", "processes", "CPU %", "PSS MiB"), [*rows, *sums])
    )


def _commands(measured: Measured) -> str:
    rows = [("`equipoise status`", *_of(figures(measured.status_ms)))]
    return (
        "## Commands\n\nWall time from start to end while a cluster serves 200 requests/s.\n\n"
        + table(("ms", "n", "min", "p50", "p99", "max"), rows)
    )


def _of(found: Figures | None) -> tuple[str, ...]:
    if found is None:
        return ("0", "-", "-", "-", "-")
    p99 = "-" if found.p99 is None else _one(found.p99)
    return str(found.n), _one(found.minimum), _one(found.median), p99, _one(found.maximum)


def _one(value: float) -> str:
    return f"{value:.1f}"
