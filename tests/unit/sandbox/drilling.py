"""Builds what a drill sees, for tests of what is made of it."""

from services.sandbox.audit import OrdersAudit, Summary
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.report import Seen, Stretch
from services.sandbox.observers.judging import Overlap, Span, Watched
from shared.api import Event, IncidentView, PhaseView
from shared.instant import MILLISECOND

FAULT_WALL_US = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z


def incident(**phases_ms: float) -> IncidentView:
    """Return an incident that began 2 ms after the fault."""
    return IncidentView(
        id="ABC123",
        state="closed",
        planned=False,
        service="shop",
        node="node-b",
        cause="connection refused",
        sentence="shop on node-b failed",
        began="2023-11-14T22:13:20.002000Z",
        closed="2023-11-14T22:13:24.000000Z",
        age_us=0,
        duration_us=0,
        requests=10,
        failed=0,
        evidence=[],
        phases=[
            PhaseView(name=name, duration_us=round(length * MILLISECOND), detail="")
            for name, length in phases_ms.items()
        ],
        recovery=[],
        recovery_us=3_000 * MILLISECOND,
        installs=[],
        before={},
        after={},
        not_done="",
        faster="",
        waiting_for="",
        owner="",
        relapses=0,
        original_digest="",
        installed={},
        restored="yes",
        trace_id="",
        trace_url=None,
        moves=[],
        takings=[],
    )


def summary(*, safe_failed: int = 0, unsafe_failed: int = 0, late_ms: int = 1) -> Summary:
    """Return what clients saw: a hundred requests, ten of them POSTs."""
    return Summary(
        sent=100,
        failed=safe_failed + unsafe_failed,
        safe_sent=90,
        safe_failed=safe_failed,
        retried=0,
        slowest_us=20 * MILLISECOND,
        outage_us=0,
        client_late_us=late_ms * MILLISECOND,
        results={"ok": 100 - safe_failed - unsafe_failed, "reset": safe_failed + unsafe_failed},
    )


def audit(*, doubled: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> OrdersAudit:
    """Return what the journals show."""
    return OrdersAudit(answered=10, done=10, doubled=doubled, missing=missing)


def watched(
    *, overlap_ms: int = 0, dark_ms: int = 310, unobserved: tuple[str, ...] = ()
) -> Watched:
    """Return what observers saw of a VIP that moved."""
    span = Span(0, overlap_ms * MILLISECOND)
    both = ("node-a", "node-b")
    overlap = Overlap(vip="web", span=span, seen_by="guards", holders=both)
    return Watched(
        unobserved=unobserved,
        overlaps=(overlap,) * bool(overlap_ms),
        dark={"web": (Span(0, dark_ms * MILLISECOND),), "api": ()},
        elsewhere_us={"web": 305 * MILLISECOND, "api": None},
    )


def seen(
    *,
    of: IncidentView | None = None,
    felt: Summary | None = None,
    orders: OrdersAudit | None = None,
    of_vips: Watched | None = None,
    toll: Toll = Toll.NOTHING,
    excused: int = 0,
    after_heal: Stretch | None = None,
    restored: bool = True,
    findings: tuple[str, ...] = (),
) -> Seen:
    """Return what was seen of a drill in which all went well, but for what is given."""
    return Seen(
        drill=Name.KILL_INSTANCE,
        target="shop/node-b",
        begin_wall_us=FAULT_WALL_US,
        incident=of or incident(detect=1, decide=0.5, switch=8, verify=4),
        summary=felt or summary(),
        audit=orders or audit(),
        watched=of_vips,
        restored=restored,
        findings=findings,
        toll=toll,
        excused=excused,
        after_heal=after_heal,
    )


def event(kind: str, text: str, *, name: str = "x/1", level: str = "plain") -> Event:
    """Return an event as the console tells it, 4.2 ms after the fault."""
    return {
        "id": name,
        "time": "2023-11-14T22:13:20.004200Z",
        "type": f"io.equipoise.{kind}.v1",
        "member": "node-a",
        "program": "health-probe",
        "level": level,  # type: ignore[typeddict-item]  # a test's own word
        "text": text,
        "incident": None,
    }
