"""What many measurements of one thing amount to.

A percentile is a measurement that was made, not one between two: the smallest that so many per
cent of all do not exceed (the nearest rank). A 99th percentile of fewer than a hundred is only the
largest under another name, so there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

P99_NEEDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is said of n measurements."""

    n: int
    minimum: float
    median: float
    p99: float | None  # None: n is too small for it
    maximum: float


def figures(values: Sequence[float]) -> Figures | None:
    """Sum measurements up; None where nothing was measured."""
    if not values:
        return None
    ordered = sorted(values)
    return Figures(
        n=len(ordered),
        minimum=ordered[0],
        median=nearest_rank(ordered, 50),
        p99=nearest_rank(ordered, 99) if len(ordered) >= P99_NEEDS else None,
        maximum=ordered[-1],
    )


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` of all do not exceed."""
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]
