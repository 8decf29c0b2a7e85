"""What a probe met, in the words of evidence."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from shared.instant import Duration, milliseconds
from shared.messages.health import Sign

_SIGNS = {
    errno.ECONNREFUSED: Sign.REFUSED,
    errno.ECONNRESET: Sign.RESET,
    errno.ECONNABORTED: Sign.RESET,
    errno.EPIPE: Sign.RESET,
    errno.ETIMEDOUT: Sign.TIMEOUT,
    errno.EHOSTUNREACH: Sign.UNREACHABLE,
    errno.EHOSTDOWN: Sign.UNREACHABLE,
}
_DETAILS = {
    Sign.REFUSED: "connection refused",
    Sign.RESET: "connection reset",
    Sign.TIMEOUT: "connection timed out",
    Sign.UNREACHABLE: "host unreachable",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a probe ended; `Sign.NOTHING` if it says nothing about the instance."""

    sign: Sign
    detail: str
    value: str
    took_us: Duration


def failed(code: int, reason: str, took_us: Duration) -> Outcome:
    """Return what an error of the socket means.

    What is not the instance's doing is trouble of our own: no descriptors, no ports, no memory,
    no route, a firewall here. It is no evidence against anybody.
    """
    sign = _SIGNS.get(code, Sign.NOTHING)
    if sign is Sign.NOTHING:
        return Outcome(sign, f"could not probe from here: {reason}", "", took_us)
    return Outcome(sign, _DETAILS[sign], sign.value, took_us)


def answered(status: int, expect: Sequence[tuple[int, int]], took_us: Duration) -> Outcome:
    """Return what a complete HTTP answer means."""
    if any(low <= status <= high for low, high in expect):
        return Outcome(Sign.OK, f"HTTP {status}", shown(took_us), took_us)
    wanted = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in expect)
    return Outcome(Sign.STATUS, f"HTTP {status}, expected {wanted}", str(status), took_us)


def connected(took_us: Duration) -> Outcome:
    """Return what an accepted connection means where that is all we ask."""
    return Outcome(Sign.OK, "connected", shown(took_us), took_us)


def unreadable(detail: str, took_us: Duration) -> Outcome:
    """Return what an answer that is no HTTP means."""
    return Outcome(Sign.GARBAGE, detail, "garbage", took_us)


def hung_up(detail: str, took_us: Duration) -> Outcome:
    """Return what an orderly end without an answer means."""
    return Outcome(Sign.RESET, detail, "closed", took_us)


def overdue(what: str, timeout_us: Duration, took_us: Duration) -> Outcome:
    """Return what silence until the time-out means; `what` is the thing that did not come."""
    limit = shown(timeout_us)
    return Outcome(Sign.TIMEOUT, f"no {what} within {limit}", f"> {limit}", took_us)


def shown(duration_us: Duration) -> str:
    """Return a duration as people read it: 0.3 ms, 50 ms."""
    value = milliseconds(duration_us)
    return f"{value:.1f} ms" if value < 10 and value != int(value) else f"{value:.0f} ms"  # noqa: PLR2004 - where a tenth stops to matter
