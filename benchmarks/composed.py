"""The chapter on containers: the same drills, on the compose file's cluster and in the sandbox."""

from collections.abc import Sequence

from benchmarks.document import figure_of
from benchmarks.parts import Budget, Part, table, verdict
from services.sandbox.drills.figures import figures
from services.sandbox.drills.report import DrillResult, Report

NAME = "compose"
COMMAND = "make bench-compose COUNT={count}"
UP_S = 20.0
COLUMNS = {
    "noticed_ms": "noticed",
    "switched_ms": "switched",
    "vip_moved_ms": "VIP elsewhere",
    "vip_dark_ms": "VIP dark",
    "slowest_ms": "slowest safe answer",
}
WHY = """\
What containers cost, and why:

* *The engine's own time.* Where it does the deed (a kill, a pause, a network taken away) the clock
  runs from when it was asked. It takes tens of milliseconds, and more for all containers of a node,
  one after the other; the sandbox sends a signal or drops a frame in under one.
* *The bridge.* Frames between two containers pass two pairs of devices and the host's bridge, and
  nothing else of Docker's: no port is published on the way of clients, members or virtual IPs.
* *Priority.* The sandbox runs what keeps leases before ordinary programs. In containers it is the
  engine's to allow (`ulimits` in the compose file); on an engine that may not, leases grow with
  the gaps that a busy machine makes, and so does what waits for a lease to end.
* *Twenty-three containers* run beside as many shims of the engine, on the same processors."""


def composed_part(
    containers: Report, sandbox: Report, ups_s: Sequence[float], *, is_urgent: bool
) -> Part:
    """Return what the document says of containers; both reports are of one run."""
    plays = containers["drills"]
    overlaps = [play["vip_overlap_ms"] for play in plays if play["vip_overlap_ms"] is not None]
    names = list(dict.fromkeys(play["drill"] for play in plays))
    count = max(sum(play["drill"] == name for play in plays) for name in names)
    return Part(
        name=NAME,
        budgets=_budgets(plays, ups_s),
        section="\n\n".join(
            [
                "## In containers, beside the sandbox",
                _head(containers, ups_s, count, is_urgent=is_urgent),
                _table(names, plays, sandbox["drills"]),
                WHY,
            ]
        ),
        overlap_ms=max(overlaps, default=None),
        plays=len(overlaps),
    )


def _head(report: Report, ups_s: Sequence[float], count: int, *, is_urgent: bool) -> str:
    good = sum(play["ok"] for play in report["drills"])
    ups = ", ".join(f"{seconds:.1f}" for seconds in ups_s)
    priority = (
        "allowed"
        if is_urgent
        else "not this engine's to allow, so given from outside (a nice value)"
    )
    return (
        f"`{COMMAND.format(count=count)}`: the cluster of `docker-compose.yml` on a real engine, "
        f"at {report['rate']} requests/s, and the sandbox at the same rate in the same run. "
        f"{good} of {len(report['drills'])} plays in containers without a finding. From "
        f"`docker compose up` with images present until it says that it serves, 2 of 2 nodes and "
        f"2 of 2 VIPs: {ups} s. Priority before ordinary programs (`rtprio`): {priority}. "
        "Figures are p50 (largest), in ms, in containers / in the sandbox; *failed* counts safe "
        "requests of all plays."
    )


def _table(
    names: Sequence[str], containers: Sequence[DrillResult], sandbox: Sequence[DrillResult]
) -> str:
    rows = []
    for name in names:
        ours = [play for play in containers if play["drill"] == name]
        theirs = [play for play in sandbox if play["drill"] == name]
        cells = [f"{_sum(ours, figure)} / {_sum(theirs, figure)}" for figure in COLUMNS]
        rows.append((name, str(len(ours)), *cells, f"{_failed(ours)} / {_failed(theirs)}"))
    return table(("drill", "n", *COLUMNS.values(), "failed"), rows)


def _sum(plays: Sequence[DrillResult], figure: str) -> str:
    values = [figure_of(play, figure) for play in plays]
    found = figures([value for value in values if isinstance(value, float | int)])
    return "-" if found is None else f"{found.median:.0f} ({found.maximum:.0f})"


def _failed(plays: Sequence[DrillResult]) -> str:
    return str(sum(play["requests"]["safe_failed"] for play in plays)) if plays else "-"


def _budgets(plays: Sequence[DrillResult], ups_s: Sequence[float]) -> list[Budget]:
    requests = [play["requests"] for play in plays]
    doubled = sum(each["doubled"] for each in requests)
    slowest = max(ups_s)
    what = f"`docker compose up` until it serves, slowest of {len(ups_s)}"
    return [
        verdict(what, slowest, UP_S, "s"),
        verdict("in containers: POSTs done twice", doubled, 0, "", digits=0),
    ]
