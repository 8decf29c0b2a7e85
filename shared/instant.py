"""A point in time and a length of time, as plain values.

Both are whole microseconds. An `Instant` is read from this machine's monotonic clock and is
never compared with another machine's: what crosses the bus is an age, which the receiver
subtracts from its own clock. Names carry the unit: instants end in `_at` or `_since`,
durations in `_us`; people are shown milliseconds.
"""

from typing import TypeAlias

Instant: TypeAlias = int
Duration: TypeAlias = int

MILLISECOND: Duration = 1_000
SECOND: Duration = 1_000_000
MINUTE: Duration = 60 * SECOND
HOUR: Duration = 60 * MINUTE


def milliseconds(duration_us: Duration) -> float:
    """Return a duration as people read it, to the microsecond."""
    return duration_us / MILLISECOND
