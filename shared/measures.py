"""What a process counts and gauges, as values: cores may make them, and only `health` prints them.

Names follow Prometheus: base units (`_seconds`, `_bytes`), `_total` for what only grows.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from shared.frozen import replace
from shared.instant import SECOND, Duration

# Upper ends in seconds: an answer takes milliseconds, a failover tens to hundreds of them.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Kind(StrEnum):
    """How a measure is to be read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many durations fell where."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)  # not cumulated; the last: above all
    total_us: Duration = 0

    def with_one(self, length_us: Duration) -> "Histogram":
        """Return it with one more duration."""
        place = bisect_left(BOUNDS_S, length_us / SECOND)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return replace(self, counts=counts, total_us=self.total_us + length_us)


Labels: TypeAlias = tuple[str, ...]
Value: TypeAlias = float | Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is measured, whatever it is at the moment."""

    name: str
    help: str
    kind: Kind
    labels: Labels = ()  # their names

    def of(self, samples: Mapping[Labels, Value]) -> "Measure":
        """Return what it is now for each combination of labels."""
        return Measure(
            name=self.name, help=self.help, kind=self.kind, labels=self.labels, samples=samples
        )

    def at(self, value: Value) -> "Measure":
        """Return what it is now, where it has no labels."""
        return self.of({(): value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Metric):
    """A metric of a process at one moment."""

    samples: Mapping[Labels, Value]  # by the labels' values, in the order of their names


def gauge(name: str, text: str, *labels: str) -> Metric:
    """Describe what goes up and down."""
    return Metric(name=name, help=text, kind=Kind.GAUGE, labels=labels)


def counter(name: str, text: str, *labels: str) -> Metric:
    """Describe what only grows while the process lives."""
    return Metric(name=name, help=text, kind=Kind.COUNTER, labels=labels)


def histogram(name: str, text: str, *labels: str) -> Metric:
    """Describe durations by how many fell where."""
    return Metric(name=name, help=text, kind=Kind.HISTOGRAM, labels=labels)


def one_more(counts: Mapping[Labels, float], *labels: str, by: float = 1) -> Mapping[Labels, float]:
    """Return counts with one of them grown."""
    return {**counts, labels: counts.get(labels, 0) + by}
