"""docs/benchmarks.md: every figure with its n, its rate, and the command that measured it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.decide import Row
from benchmarks.idle import Cost
from benchmarks.parts import Budget, Part, table, verdict
from services.sandbox.drills.figures import Figures, figures
from services.sandbox.drills.names import Name
from services.sandbox.drills.report import PHASES, STEPS, DrillResult, Report, Sum
from services.sandbox.options import Profile

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


# What must not cost one safe request; the others lose what nobody could have answered.
LOSSLESS = (
    Name.KILL_INSTANCE,
    Name.HANG_INSTANCE,
    Name.ERROR_INSTANCE,
    Name.PLANNED_FAILOVER,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """A drill that was played many times."""

    name: Name
    report: Report
    command: str
    profile: Profile = Profile.DEFAULT

    @property
    def title(self) -> str:
        """What its part is called."""
        return self.called(self.name, self.profile)

    @staticmethod
    def called(name: Name, profile: Profile) -> str:
        """Return what the part of a drill in a profile is called."""
        return name.value if profile is Profile.DEFAULT else f"{name}@{profile}"

    def values(self, figure: str) -> list[float]:
        """Return one figure of every play that has it; of several VIPs that of the worst."""
        found = (figure_of(play, figure) for play in self.report["drills"])
        return [value for value in found if isinstance(value, float | int)]

    @property
    def lost(self) -> int:
        """How many safe requests failed, in all plays together."""
        return sum(play["requests"]["safe_failed"] for play in self.report["drills"])

    @property
    def sums(self) -> Mapping[str, Sum | None]:
        """What its figures amount to."""
        repeated = self.report["repeated"]
        return repeated[0]["figures"] if repeated else {}


# What a lost node may cost until its VIP answers elsewhere: p99, by profile.
SILENCE_MS = {Profile.DEFAULT: 350.0, Profile.FAST: 170.0}
KILLED_BALANCER_MS, HUNG_BALANCER_MS = 25.0, 300.0
HEALED_DARK_MS, HEALED_FAILED = 100.0, 10.0
IN_SILENCE = (Name.FREEZE_NODE, Name.CUT_NODE, Name.UNPLUG_NODE)
VIP_FIGURES = {
    "vip_moved_ms": "VIP answers elsewhere",
    "vip_dark_ms": "VIP dark",
    "vip_overlap_ms": "two holders",
    "after_heal_dark_ms": "dark after the heal",
    "after_heal_failed": "failed after the heal (count)",
}


def document(parts: Sequence[Part]) -> str:
    """Return the whole document, of parts that were each measured by itself."""
    budgets = [row for part in parts for row in part.budgets]
    watched = [part for part in parts if part.overlap_ms is not None]
    if watched:
        plays = sum(part.plays for part in watched)
        worst = max(part.overlap_ms or 0.0 for part in watched)
        budgets.append(verdict(f"two holders of a VIP, longest of {plays} plays", worst, 0, "ms"))
    chapters = [
        _head(parts),
        "## Budgets\n\n" + table(("what", "measured", "budget", ""), budgets),
        *(part.section for part in parts),
    ]
    return "\n\n".join(chapters) + "\n"


def drilled_part(drilled: Drilled, picture: str | None) -> Part:
    """Return what the document says of a drill that was played many times."""
    overlaps = drilled.values("vip_overlap_ms")
    return Part(
        name=drilled.title,
        budgets=list(_drill_budgets(drilled)),
        section=_drill(drilled, picture),
        overlap_ms=max(overlaps, default=None),
        plays=len(overlaps),
    )


def decided_part(rows: Sequence[Row]) -> Part:
    """Return what the document says of deciding."""
    return Part(name="decide", budgets=list(_decision_budgets(rows)), section=_decisions(rows))


def idle_part(costs: Sequence[Cost], length_s: float) -> Part:
    """Return what the document says of idling."""
    cpu, pss = _node(costs, "node-a")
    budgets = [
        verdict("one node, idle: processor, of a core", cpu, NODE_CPU_PERCENT, "%"),
        verdict("one node, idle: memory (PSS)", pss, NODE_PSS_MIB, "MiB", digits=0),
    ]
    return Part(name="idle", budgets=budgets, section=_idle(costs, length_s))


def commands_part(status_ms: Sequence[float]) -> Part:
    """Return what the document says of commands."""
    found = figures(status_ms)
    budgets = []
    if found is not None:
        budgets.append(verdict("`equipoise status`, p50", found.median, STATUS_MS, "ms"))
    return Part(name="commands", budgets=budgets, section=_commands(status_ms))


def figure_of(play: DrillResult, figure: str) -> object:
    """Return one figure of a play; of several VIPs that of the worst."""
    if figure.startswith("after_heal_"):
        part = play["after_heal"]
        if part is None:
            return None
        return part["failed"] if figure == "after_heal_failed" else part["vip_dark_ms"]
    value = (dict(play) | dict(play["requests"]))[figure]
    return max(value.values(), default=None) if isinstance(value, dict) else value


def _head(parts: Sequence[Part]) -> str:
    machines = sorted({part.machine for part in parts})
    took_s = sum(part.took_s for part in parts)
    loads = [part.load for part in parts] or [0.0]
    return (
        "# Benchmarks\n\n"
        "What failures and idling cost. Written by `make bench`, `make bench-compose` and "
        "`make bench-peers`; do not edit.\n\n"
        f"Measured on {'; and on '.join(machines)} (load average before a part from "
        f"{min(loads):.1f} to {max(loads):.1f}; {took_s / 60:.0f} minutes in all). Everything runs "
        "on this one machine: both nodes, the witness, and the clients, about twenty processes. "
        "Each part can be measured by itself (`python -m benchmarks --only NAME`).\n\n"
        "Every instant counts from the fault, on the one clock that all namespaces share. "
        "*First sign*: the first bad probe began, or a kept connection ended. *Noticed*: the "
        "arbiter has the evidence that it decides by. *Switched*: every load balancer has been "
        "told, and read back. *Outage*: from when the first safe request was due that failed or "
        "took over 250 ms until the last such one ended. *VIP answers elsewhere*, *VIP dark* and "
        "*two holders* are seen from outside, by observers that share nothing with Equipoise. The "
        "client is open-loop: a latency counts from when the request was due. Percentiles are "
        "nearest-rank; a p99 needs n of 100."
    )


def _drill_budgets(drilled: Drilled) -> Iterator[Budget]:
    yield from _speed(drilled)
    if drilled.name is Name.CUT_NODE:
        what = f"{drilled.title}: dark after the heal"
        yield from _last(what, drilled, "after_heal_dark_ms", HEALED_DARK_MS)
        what = f"{drilled.title}: failed after the heal"
        yield from _last(what, drilled, "after_heal_failed", HEALED_FAILED, unit="")
    if drilled.name in LOSSLESS:
        sent = sum(play["requests"]["safe_sent"] for play in drilled.report["drills"])
        said = f"{drilled.name}: failed safe requests, of {sent}"
        yield verdict(said, drilled.lost, 0, "", digits=0)


def _speed(drilled: Drilled) -> Iterator[Budget]:
    moved = "until its VIP answers on another node"
    match drilled.name:
        case Name.KILL_INSTANCE:
            what = "instance killed: all load balancers switched and read back"
            yield from _middle(what, drilled, "switched_ms", SWITCHED_P50_MS)
            yield from _last(what, drilled, "switched_ms", SWITCHED_P99_MS)
        case Name.HANG_INSTANCE:
            yield from _middle("instance hangs: noticed", drilled, "noticed_ms", NOTICED_MS)
            what = "instance hangs: slowest safe answer"
            yield from _middle(what, drilled, "slowest_ms", SLOWEST_MS)
        case Name.KILL_BALANCER:
            what = f"load balancer killed: {moved}"
            yield from _last(what, drilled, "vip_moved_ms", KILLED_BALANCER_MS)
        case Name.HANG_BALANCER:
            what = f"load balancer hangs: {moved}"
            yield from _last(what, drilled, "vip_moved_ms", HUNG_BALANCER_MS)
        case name if name in IN_SILENCE:
            limit = SILENCE_MS[drilled.profile]
            yield from _last(f"{drilled.title}: {moved}", drilled, "vip_moved_ms", limit)
        case _:
            return  # what it may cost is not a matter of time


def _middle(what: str, drilled: Drilled, figure: str, limit: float) -> Iterator[Budget]:
    if found := figures(drilled.values(figure)):
        yield verdict(f"{what}, p50", found.median, limit, "ms")


def _last(
    what: str, drilled: Drilled, figure: str, limit: float, *, unit: str = "ms"
) -> Iterator[Budget]:
    """Judge the p99; where there are too few for one, the largest."""
    if found := figures(drilled.values(figure)):
        which = f"largest of {found.n}" if found.p99 is None else "p99"
        last = found.maximum if found.p99 is None else found.p99
        yield verdict(f"{what}, {which}", last, limit, unit)


def _decision_budgets(rows: Sequence[Row]) -> Iterator[Budget]:
    for row in rows:
        limit = DECIDE_US if "conclusive" in row.what else TICK_US
        what = f"{row.what}, {row.nodes} nodes x {row.services} services, p50"
        yield verdict(what, row.p50_us, limit, "µs")


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
    rows += [
        (name, *_of(found))
        for key, name in VIP_FIGURES.items()
        if (found := figures(drilled.values(key))) is not None
    ]
    spent = [(name, *_cells(drilled.sums.get(name))) for name in (*PHASES, *STEPS)]
    unsafe = sum(play["requests"]["unsafe_failed"] for play in plays)
    unsafe_sent = sum(play["requests"]["unsafe_sent"] for play in plays)
    doubled = sum(play["requests"]["doubled"] for play in plays)
    heading = ("ms", "n", "min", "p50", "p99", "max")
    well = sum(play["ok"] for play in plays)
    parts = [
        f"## {drilled.title}",
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
    parts += _steps(plays)
    if plot:
        parts.append(f"![distribution of {drilled.title}]({plot})")
    return "\n\n".join([*parts, *_findings(drilled)])


def _steps(plays: Sequence[DrillResult]) -> list[str]:
    """Return what each program's restart cost, of a drill that restarts several."""
    dark: dict[str, list[float]] = {}
    for play in plays:
        for step in play["steps"]:
            dark.setdefault(step["program"], []).append(step["vip_dark_ms"] or 0.0)
    if not dark:
        return []
    rows = [(program, *_of(figures(values))) for program, values in sorted(dark.items())]
    heading = ("restarted", "n", "min", "p50", "p99", "max")
    return ["For how long the VIP that fared worst was dark, in ms:", table(heading, rows)]


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


def _decisions(decided: Sequence[Row]) -> str:
    rows = [
        (row.what, *map(str, (row.nodes, row.services, row.n)), _one(row.p50_us), _one(row.p99_us))
        for row in decided
    ]
    return (
        "## Deciding\n\nThe arbiter's pure core alone, in microseconds: `python -m benchmarks`.\n\n"
        + table(("what", "nodes", "services", "n", "p50", "p99"), rows)
    )


def _idle(costs: Sequence[Cost], length_s: float) -> str:
    rows = [
        (x.program, str(x.processes), f"{x.cpu_percent:.2f}", f"{x.pss_mib:.1f}") for x in costs
    ]
    sums = []
    for node in ("node-a", "node-b"):
        cpu, pss = _node(costs, node)
        sums.append((f"**{node} without its applications**", "", f"{cpu:.2f}", f"{pss:.1f}"))
    return (
        "## Idle\n\n"
        f"No clients, nothing fails, {length_s:g} s (n = 1): `equipoise sandbox --rate 0`. "
        "Processor time in per cent of one core; memory is PSS. The nats-server runs on the "
        "witness.\n\n" + table(("program", "processes", "CPU %", "PSS MiB"), [*rows, *sums])
    )


def _commands(status_ms: Sequence[float]) -> str:
    rows = [("`equipoise status`", *_of(figures(status_ms)))]
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
