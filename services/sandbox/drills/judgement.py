"""What was found wrong in a drill: pure.

Some failures cannot but cost requests, and each kind of drill says which (`Toll`). Whatever else
fails is a finding, and so is a POST that was done twice, an overlap, or anything not observed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from services.sandbox.audit import OrdersAudit, Summary
from services.sandbox.observers.judging import Span, Watched
from services.sandbox.records import Record
from shared.instant import MILLISECOND, SECOND, Duration, Instant

OVERLAPS_TOLD_MAX = 3  # where two answer, they answer a hundred times a second
# A client that is itself so late measures the machine's exhaustion, not a failover.
CLIENT_LATE_MAX_US: Duration = 250 * MILLISECOND
# Where the only arbiter or the bus must start again first it takes about 1 s, most of it Python's.
DARK_MAX_US: Duration = 5 * SECOND
# Darkness is seen by questions 10 ms apart: it may have begun so much earlier.
EDGE_US: Duration = 20 * MILLISECOND


class Toll(Enum):
    """Which safe requests a drill may cost: what no system could answer."""

    NOTHING = auto()
    DARKNESS = auto()  # those under way while nobody answered for their VIP, or when it moved
    # and those that were due between the fault and the moment at which all of its VIPs answered
    # elsewhere and its instances were out of every load balancer
    TAKEOVER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """What excuses a safe request that failed in one play."""

    toll: Toll
    fault_at: Instant
    covered_at: Instant  # when the fault was made up for
    dark: Mapping[str, Sequence[Span]]  # by VIP; a move in no time is a span without length

    @classmethod
    def of(
        cls, toll: Toll, lasted: Span, switched_us: Duration | None, watched: Watched | None
    ) -> Self:
        """Return the excuse for a fault; what moved after its end was not moved because of it."""
        elsewhere = watched.elsewhere_us.values() if watched is not None else ()
        lengths = [
            length
            for length in (switched_us, *elsewhere)
            if length is not None and length <= lasted.length_us
        ]
        return cls(
            toll=toll,
            fault_at=lasted.begin_at,
            covered_at=lasted.begin_at + max(lengths, default=0),
            dark={} if watched is None else _gaps(watched),
        )

    def covers(self, record: Record) -> bool:
        """Return whether nobody could have answered a request."""
        if self.toll is Toll.NOTHING:
            return False
        if any(
            record.scheduled_at < span.end_at + EDGE_US
            and record.ended_at > span.begin_at - EDGE_US
            for span in self.dark.get(record.place, ())
        ):
            return True
        return (
            self.toll is Toll.TAKEOVER
            and record.scheduled_at < self.covered_at
            and record.ended_at > self.fault_at
        )

    def excused(self, records: Iterable[Record]) -> int:
        """Count the safe requests that failed and could not but fail."""
        return sum(record.safe and not record.ok and self.covers(record) for record in records)


def _gaps(watched: Watched) -> Mapping[str, Sequence[Span]]:
    """Return when each VIP was dark or moved: what was under way then had nobody to end it."""
    return {
        vip: (*spans, *(Span(at, at) for at in watched.moved_at.get(vip, ())))
        for vip, spans in watched.dark.items()
    }


def losses(summary: Summary, audit: OrdersAudit, excused: int = 0) -> list[str]:
    """Say what clients lost that they need not have lost."""
    found = []
    if not summary.safe_sent:
        found.append("no client asked anything meanwhile: nothing is proved")
    if failed := summary.safe_failed - excused:
        ends = ", ".join(f"{name} {count}" for name, count in summary.results.items())
        beside = f", beside {excused} that nobody could have answered" if excused else ""
        found.append(f"{failed} of {summary.safe_sent} safe requests failed ({ends}){beside}")
    if summary.client_late_us > CLIENT_LATE_MAX_US:
        late = f"{summary.client_late_us / MILLISECOND:.0f} ms"
        found.append(f"the client itself was up to {late} late: this machine has no time for it")
    if audit.doubled:
        found.append(f"{len(audit.doubled)} POSTs were done twice, such as {audit.doubled[0]}")
    if audit.missing:
        found.append(
            f"{len(audit.missing)} POSTs were answered and never done, such as {audit.missing[0]}"
        )
    return found


def too_dark(toll: Toll, watched: Watched | None, at_most_us: Duration) -> list[str]:
    """Say which VIPs answered nobody for longer than any failure must take."""
    if watched is None or toll is Toll.NOTHING:
        return []
    return [
        f"{vip} answered nobody for {longest_us / MILLISECOND:.0f} ms; "
        f"at most {at_most_us / MILLISECOND:.0f} ms were to be expected"
        for vip, spans in watched.dark.items()
        if (longest_us := max((span.length_us for span in spans), default=0)) > at_most_us
    ]


def doubts(watched: Watched | None) -> list[str]:
    """Say what observers saw of the virtual IPs that must not be, and what they did not see."""
    if watched is None:
        return []
    found = []
    for eyes in ("guards", "wire"):
        seen = [overlap.text for overlap in watched.overlaps if overlap.seen_by == eyes]
        found += seen[:OVERLAPS_TOLD_MAX]
        if len(seen) > OVERLAPS_TOLD_MAX:
            found.append(f"and {len(seen) - OVERLAPS_TOLD_MAX} times more")
    return [*found, *(f"not observed: {text}" for text in watched.unobserved)]
