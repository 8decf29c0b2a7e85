"""What records and journals mean: pure sums over them.

*Failed* is a request that did not get its 2xx with the expected body within 2 s of its time.

An *outage* is the span in which clients noticed: a safe request is *bad* if it failed or was
answered later than `PATIENCE_US`; the outage runs from when the first bad request was due until
the last one ended. Bad requests whose spans are less than `PATIENCE_US` apart belong to one
outage: where one of two targets is dead, good answers stand between the bad ones, and clients
have an outage all the same. `outage_us` is the longest; 0 if nothing was bad.

The *audit* is about POSTs: each id at most once in all journals together, and each id whose
POST was answered exactly once. One that failed may have been done or not; the client cannot know.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.sandbox.records import Method, Record, Result
from shared.instant import MILLISECOND, Duration, Instant

PATIENCE_US: Duration = 250 * MILLISECOND  # what a person at a page calls "it hangs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What clients saw in a stretch of time."""

    sent: int
    failed: int
    safe_sent: int
    safe_failed: int
    retried: int
    slowest_us: Duration  # of the safe ones that were answered
    outage_us: Duration
    client_late_us: Duration  # the client's own lateness at its worst: how far to trust the rest
    results: Mapping[str, int]  # by how they ended


def within(records: Iterable[Record], begin_at: Instant, end_at: Instant) -> list[Record]:
    """Return the requests due in a stretch of time, in the order they were due."""
    wanted = (record for record in records if begin_at <= record.scheduled_at < end_at)
    return sorted(wanted, key=lambda record: record.scheduled_at)


def summarise(records: Iterable[Record]) -> Summary:
    """Count and measure."""
    all_of_them = list(records)
    safe = [record for record in all_of_them if record.safe]
    results = Counter(record.result for record in all_of_them)
    return Summary(
        sent=len(all_of_them),
        failed=sum(not record.ok for record in all_of_them),
        safe_sent=len(safe),
        safe_failed=sum(not record.ok for record in safe),
        retried=sum(record.retried for record in all_of_them),
        slowest_us=max((record.latency_us for record in safe if record.ok), default=0),
        outage_us=outage_us(safe),
        client_late_us=max((record.late_us for record in all_of_them), default=0),
        results={result.name.lower(): results[result] for result in Result if results[result]},
    )


def outage_us(records: Iterable[Record]) -> Duration:
    """Return the longest span in which safe requests failed or waited too long."""
    bad = sorted(
        (record.scheduled_at, record.ended_at)
        for record in records
        if record.safe and not (record.ok and record.latency_us <= PATIENCE_US)
    )
    longest = 0
    begin_at = end_at = -PATIENCE_US
    for scheduled_at, ended_at in bad:
        if scheduled_at - end_at >= PATIENCE_US:
            begin_at = scheduled_at
        end_at = max(end_at, ended_at)
        longest = max(longest, end_at - begin_at)
    return longest


def distribution(records: Iterable[Record], service: str) -> dict[str, int]:
    """Return how many requests for a service each instance answered."""
    answered = (
        record.answered_by
        for record in records
        if record.service == service and record.answered_by is not None
    )
    return dict(sorted(Counter(answered).items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersAudit:
    """Whether work was done twice, or promised and not done."""

    answered: int  # POSTs that the client was told are done
    done: int  # ids in the journals
    doubled: tuple[str, ...]  # ids that are there more than once
    missing: tuple[str, ...]  # ids that were answered and are nowhere

    @property
    def ok(self) -> bool:
        """Whether every answered POST was done exactly once, and none twice."""
        return not self.doubled and not self.missing


def audit_orders(records: Iterable[Record], journals: Mapping[str, Iterable[str]]) -> OrdersAudit:
    """Compare what was answered with the journals of all instances of all services."""
    done = Counter(order for journal in journals.values() for order in journal)
    answered = {record.order for record in records if record.method is Method.POST and record.ok}
    return OrdersAudit(
        answered=len(answered),
        done=done.total(),
        doubled=tuple(sorted(order for order, times in done.items() if times > 1)),
        missing=tuple(sorted(answered - done.keys())),
    )
