"""What the load balancers counted: rates, parts, and failed requests."""

from collections import Counter
from collections.abc import Iterator, Mapping

from services.console.core.state import STALE_US, Sample, State
from services.console.core.view import FAILURES_US
from shared.instant import MINUTE, SECOND, Instant


def shares(state: State, now: Instant) -> Mapping[str, int]:
    """Return each node's part, in per cent, of the requests that were counted just now."""
    grown: Counter[str] = Counter(dict.fromkeys(state.cluster.nodes, 0))
    for first, last in _windows(state, now):
        for service, counts in last.requests.items():
            before = first.requests.get(service, {})
            for node, count in counts.items():
                grown[node] += max(0, count - before.get(node, count))
    total = sum(grown.values())
    return {node: round(100 * count / total) for node, count in grown.items()} if total else {}


def requests_per_s(state: State, service: str, now: Instant) -> float | None:
    """Return the rate of one service over all load balancers that report."""
    rates = []
    for first, last in _windows(state, now):
        if service not in first.totals or service not in last.totals:
            continue
        grown = last.totals[service] - first.totals[service]
        if grown >= 0:  # less than before: the load balancer began anew
            rates.append(grown * SECOND / (last.at - first.at))
    return round(sum(rates), 1) if rates else None


def failed(state: State, service: str, now: Instant) -> int | None:
    """Return how many requests of a service failed lately; None if nobody counts."""
    if all(balancer.measured is None for balancer in state.balancers.values()):
        return None
    oldest = (now - FAILURES_US) // MINUTE
    return sum(n for minute, n in state.failures.get(service, {}).items() if minute > oldest)


def _windows(state: State, now: Instant) -> Iterator[tuple[Sample, Sample]]:
    """Yield the ends of each load balancer's window, of those that still report."""
    for balancer in state.balancers.values():
        if not balancer.samples:
            continue
        first, last = balancer.samples[0], balancer.samples[-1]
        if first.at < last.at and now - last.at <= STALE_US:
            yield first, last
