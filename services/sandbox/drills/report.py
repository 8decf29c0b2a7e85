"""What a drill showed, as it is handed out: JSON with milliseconds, pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal, Self, TypedDict

from services.sandbox.audit import OrdersAudit, Summary, summarise, within
from services.sandbox.drills.figures import figures
from services.sandbox.drills.judgement import DARK_MAX_US, Toll, doubts, losses, too_dark
from services.sandbox.observers.judging import Span, Watched
from services.sandbox.records import Record
from shared.api import IncidentView, PhaseView
from shared.instant import MILLISECOND, Duration

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PHASES = ("detect", "decide", "switch", "verify")
LEASE = "lease"  # between the first two, where the end of one had to be waited for
STEPS = ("persist", "install")  # of a switcher, within the phase "switch"
NOTICED = PHASES[:1]  # the arbiter has the evidence that it decides by
SWITCHED = PHASES[:3]  # installed in every load balancer, and read back


class Requests(TypedDict):
    """What clients saw, from before the fault until all was restored."""

    sent: int
    failed: int
    slowest_ms: float  # of the safe ones that were answered
    safe_sent: int
    safe_failed: int
    unsafe_sent: int
    unsafe_failed: int
    doubled: int  # POSTs that were done more than once
    lost: int  # POSTs that were answered and are in no journal
    retried_by_client: int
    client_late_ms: float  # how late the client itself was at its worst
    results: dict[str, int]


class Part(TypedDict):
    """A part of a play, such as all that came after the fault was healed."""

    program: str  # that was restarted; "" else
    length_ms: float
    sent: int
    failed: int
    safe_failed: int
    slowest_ms: float
    vip_dark_ms: float | None  # of the VIP that fared worst; null: there are none


class DrillResult(TypedDict):
    """One drill, played once. Instants count from the moment the fault was made."""

    drill: str
    target: str
    ok: bool
    findings: list[str]
    incident: str | None
    sentence: str | None
    phases_ms: dict[str, float] | None
    installs_ms: dict[str, float] | None  # what the slowest switcher spent the switch phase on
    first_sign_ms: float | None  # back-dated: when the first probe began that turned out badly
    noticed_ms: float | None
    switched_ms: float | None
    recovery_ms: float | None
    requests: Requests
    excused: int  # safe requests that failed, and that nobody could have answered
    after_heal: Part | None
    steps: list[Part]  # of a drill that does several things
    outage_ms: float
    # By the observers outside, which share nothing with Equipoise; null: no VIPs, or not observed.
    vip_overlap_ms: float | None  # the longest that any VIP had two holders
    vip_dark_ms: dict[str, float] | None  # how long nobody answered for each
    vip_moved_ms: dict[str, float] | None  # of those that moved: until another node answered
    restored: bool


class Sum(TypedDict):
    """One figure of a drill that was played several times."""

    n: int
    min: float
    p50: float
    p99: float | None
    max: float


class DrillSums(TypedDict):
    """A drill that was played several times."""

    drill: str
    played: int
    ok: int
    figures: dict[str, Sum | None]


class Report(TypedDict):
    """All that was played."""

    ok: bool
    drills: list[DrillResult]
    repeated: list[DrillSums]
    nodes: int
    rate: int
    findings: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was observed of one play."""

    drill: StrEnum
    target: str
    begin_wall_us: int
    incident: IncidentView | None
    summary: Summary
    audit: OrdersAudit
    watched: Watched | None  # None: there are no VIPs
    restored: bool
    findings: tuple[str, ...]
    toll: Toll = Toll.NOTHING
    dark_max_us: Duration = DARK_MAX_US
    excused: int = 0
    after_heal: "Stretch | None" = None
    steps: "tuple[Stretch, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What was seen in a part of a play."""

    program: str
    length_us: Duration
    summary: Summary
    dark_us: Duration | None

    @classmethod
    def of(
        cls, program: str, span: Span, records: Iterable[Record], watched: Watched | None
    ) -> Self:
        """Return what was seen in a span."""
        dark = watched.dark_within(span) if watched is not None else {}
        return cls(
            program=program,
            length_us=span.length_us,
            summary=summarise(within(records, span.begin_at, span.end_at)),
            dark_us=max(dark.values(), default=None),
        )


def milliseconds(duration_us: Duration) -> float:
    """Return a duration for people."""
    return duration_us / MILLISECOND


def wall_us(text: str) -> int:
    """Return microseconds since 1970 of a point in time."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def result(seen: Seen) -> DrillResult:
    """Return what is handed out of one play."""
    incident = seen.incident
    watched = seen.watched
    lost = losses(seen.summary, seen.audit, seen.excused)
    findings = [
        *seen.findings,
        *lost,
        *too_dark(seen.toll, watched, seen.dark_max_us),
        *doubts(watched),
    ]
    return DrillResult(
        drill=seen.drill.value,
        target=seen.target,
        ok=seen.restored and not findings,
        findings=findings,
        incident=incident["id"] if incident else None,
        sentence=incident["sentence"] if incident else None,
        phases_ms=_phases(incident["phases"]) if incident else None,
        installs_ms=_installs(incident) if incident else None,
        first_sign_ms=_optional(_since(incident, seen.begin_wall_us, ())),
        noticed_ms=_optional(_since(incident, seen.begin_wall_us, NOTICED)),
        switched_ms=_optional(_since(incident, seen.begin_wall_us, SWITCHED)),
        recovery_ms=milliseconds(incident["recovery_us"]) if incident else None,
        requests=_requests(seen.summary, seen.audit),
        excused=seen.excused,
        after_heal=None if seen.after_heal is None else _part(seen.after_heal),
        steps=[_part(step) for step in seen.steps],
        outage_ms=milliseconds(seen.summary.outage_us),
        vip_overlap_ms=None if watched is None else _optional(watched.overlap_us),
        vip_dark_ms=None if watched is None else _each(watched.dark_us),
        vip_moved_ms=None if watched is None else _each(watched.elsewhere_us),
        restored=seen.restored,
    )


def _part(stretch: Stretch) -> Part:
    summary = stretch.summary
    return Part(
        program=stretch.program,
        length_ms=milliseconds(stretch.length_us),
        sent=summary.sent,
        failed=summary.failed,
        safe_failed=summary.safe_failed,
        slowest_ms=milliseconds(summary.slowest_us),
        vip_dark_ms=_optional(stretch.dark_us),
    )


def switched_us(incident: IncidentView | None, fault_wall_us: int) -> Duration | None:
    """Return how long after a fault all load balancers had the new rules; None: they have not."""
    return _since(incident, fault_wall_us, SWITCHED)


def _since(
    incident: IncidentView | None, fault_wall_us: int, names: Sequence[str]
) -> Duration | None:
    """Return how long after the fault some phases of its incident were over."""
    if incident is None:
        return None
    phases = {phase["name"]: phase["duration_us"] for phase in incident["phases"]}
    if any(name not in phases for name in names):
        return None
    waited_us = phases.get(LEASE, 0) if len(names) > 1 else 0
    return (
        wall_us(incident["began"]) - fault_wall_us + waited_us + sum(phases[name] for name in names)
    )


def _optional(duration_us: Duration | None) -> float | None:
    return None if duration_us is None else milliseconds(duration_us)


def _each(durations: Mapping[str, Duration | None]) -> dict[str, float]:
    return {name: milliseconds(each) for name, each in durations.items() if each is not None}


def _phases(phases: Sequence[PhaseView]) -> dict[str, float]:
    return {phase["name"]: milliseconds(phase["duration_us"]) for phase in phases}


def _installs(incident: IncidentView) -> dict[str, float]:
    """Return the longest that any switcher took for each step."""
    return {
        "persist": max((milliseconds(x["persist_us"]) for x in incident["installs"]), default=0.0),
        "install": max((milliseconds(x["install_us"]) for x in incident["installs"]), default=0.0),
    }


def _requests(summary: Summary, audit: OrdersAudit) -> Requests:
    return Requests(
        sent=summary.sent,
        failed=summary.failed,
        slowest_ms=milliseconds(summary.slowest_us),
        safe_sent=summary.safe_sent,
        safe_failed=summary.safe_failed,
        unsafe_sent=summary.sent - summary.safe_sent,
        unsafe_failed=summary.failed - summary.safe_failed,
        doubled=len(audit.doubled),
        lost=len(audit.missing),
        retried_by_client=summary.retried,
        client_late_ms=milliseconds(summary.client_late_us),
        results=dict(summary.results),
    )


def report(
    results: Sequence[DrillResult], *, nodes: int, rate: int, findings: Sequence[str]
) -> Report:
    """Return what is handed out of everything that was played."""
    names = list(dict.fromkeys(play["drill"] for play in results))
    played = {name: [play for play in results if play["drill"] == name] for name in names}
    return Report(
        ok=bool(results) and all(play["ok"] for play in results) and not findings,
        drills=list(results),
        repeated=[_sums(name, plays) for name, plays in played.items() if len(plays) > 1],
        nodes=nodes,
        rate=rate,
        findings=list(findings),
    )


def _sums(name: str, plays: Sequence[DrillResult]) -> DrillSums:
    measured: dict[str, list[float | None]] = {
        "first_sign_ms": [play["first_sign_ms"] for play in plays],
        "noticed_ms": [play["noticed_ms"] for play in plays],
        "switched_ms": [play["switched_ms"] for play in plays],
        **{
            phase: [(play["phases_ms"] or {}).get(phase) for play in plays]
            for phase in (*PHASES, LEASE)
        },
        **{step: [(play["installs_ms"] or {}).get(step) for play in plays] for step in STEPS},
        "recovery_ms": [play["recovery_ms"] for play in plays],
        "outage_ms": [play["outage_ms"] for play in plays],
        "vip_overlap_ms": [play["vip_overlap_ms"] for play in plays],
        "vip_dark_ms": [longest(play["vip_dark_ms"]) for play in plays],
        "vip_moved_ms": [longest(play["vip_moved_ms"]) for play in plays],
        "after_heal_dark_ms": [_after_heal(play, "vip_dark_ms") for play in plays],
        "after_heal_failed": [_after_heal(play, "failed") for play in plays],
        "slowest_ms": [play["requests"]["slowest_ms"] for play in plays],
        "safe_failed": [float(play["requests"]["safe_failed"]) for play in plays],
        "unsafe_failed": [float(play["requests"]["unsafe_failed"]) for play in plays],
    }
    return DrillSums(
        drill=name,
        played=len(plays),
        ok=sum(play["ok"] for play in plays),
        figures={
            what: _sum([x for x in values if x is not None]) for what, values in measured.items()
        },
    )


def _after_heal(play: DrillResult, what: Literal["vip_dark_ms", "failed"]) -> float | None:
    part = play["after_heal"]
    return None if part is None else part[what]


def longest(by_vip: Mapping[str, float] | None) -> float | None:
    """Return the figure of the VIP that fared worst; None where there is none."""
    return max(by_vip.values(), default=None) if by_vip is not None else None


def _sum(values: Sequence[float]) -> Sum | None:
    found = figures(values)
    if found is None:
        return None
    return Sum(n=found.n, min=found.minimum, p50=found.median, p99=found.p99, max=found.maximum)
