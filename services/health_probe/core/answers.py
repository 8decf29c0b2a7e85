"""The time-out that follows an instance's normal answers: `timeout: auto`.

    time-out = 4 x the slowest of the last 32 good answers, the 3 slowest left out,
               not under 50 ms and not over 1 s

Four times, because the retransmission timer of TCP (RFC 6298) also lets four deviations pass,
and a service under load answers in a small multiple of its normal time. Leaving three out makes
it deaf to outliers; 32 answers are three seconds at the usual interval, so that it follows a
load that rises within seconds and forgets it as fast. 50 ms is what a healthy process on a busy
machine may lose to its scheduler; above 1 s a time-out protects no client.

Only good answers teach. A hang therefore moves nothing: neither up (its probes fail) nor down.
What is slower than the time-out cannot teach either, so an instance that is already judged
unhealthy is asked with all patience, and what was normal before is forgotten at its return: a
hurry has nothing left to win, and what has become slow for good comes back with the time-out that
it needs instead of failing by the old one again and again.
"""

from collections.abc import Sequence
from statistics import median_low

from shared.instant import MILLISECOND, SECOND, Duration

TIMEOUT_MIN = 50 * MILLISECOND
TIMEOUT_MAX = 1 * SECOND
ANSWERS_MAX = 32
ANSWERS_MIN = 8  # fewer say nothing of what is normal: until then, patience
OUTLIERS_PER = 10  # one answer in ten may be an outlier
FACTOR = 4


def learned(answers: tuple[Duration, ...], took_us: Duration) -> tuple[Duration, ...]:
    """Return the last good answers with one more."""
    return (*answers[-(ANSWERS_MAX - 1) :], took_us)


def known(answers: Sequence[Duration]) -> bool:
    """Return whether enough was seen to say what is normal."""
    return len(answers) >= ANSWERS_MIN


def timeout_us(answers: Sequence[Duration]) -> Duration:
    """Return how long an answer may take."""
    if not known(answers):
        return TIMEOUT_MAX
    slowest = sorted(answers)[-1 - len(answers) // OUTLIERS_PER]
    return min(max(FACTOR * slowest, TIMEOUT_MIN), TIMEOUT_MAX)


def normal_us(answers: Sequence[Duration]) -> Duration:
    """Return what an answer normally takes; 0 if that is not known."""
    return median_low(answers) if answers else 0
