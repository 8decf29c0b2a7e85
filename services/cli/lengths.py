"""Lengths of time and points in time, to and from what people write."""

from collections.abc import Sequence

MILLISECOND = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY}
DIGITS_MAX = 9
# Below a total: the step of what is printed, its digits, and its unit.
_FORMS: tuple[tuple[float, int, int, int, str], ...] = (
    (100 * MILLISECOND, 10, 2, MILLISECOND, "ms"),
    (SECOND, 100, 1, MILLISECOND, "ms"),
    (10 * SECOND, MILLISECOND, 0, MILLISECOND, "ms"),
    (10 * MINUTE, 10 * MILLISECOND, 2, SECOND, "s"),
    (float("inf"), SECOND, 0, SECOND, "s"),
)


def length_of(text: str) -> int | None:
    """Return microseconds of `45m`, `90s`, `1h30m`; None if it is no length of time."""
    total, digits, rest = 0, "", text
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        rest = rest[len(digits) :]
        unit = rest[: len(rest) - len(rest.lstrip("dhimns"))]
        rest = rest[len(unit) :]
        if not digits or len(digits) > DIGITS_MAX or unit not in _UNITS:
            return None
        total += int(digits) * _UNITS[unit]
    return total or None


def length(duration_us: int) -> str:
    """Return a length of time in the units that matter."""
    for limit, text in (
        (10 * MILLISECOND, f"{duration_us / MILLISECOND:.1f} ms"),
        (SECOND, f"{duration_us // MILLISECOND} ms"),
        (MINUTE, f"{duration_us // SECOND} s"),
        (HOUR, f"{duration_us // MINUTE} min"),
        (2 * DAY, f"{duration_us // HOUR} h {duration_us % HOUR // MINUTE:02} min"),
    ):
        if duration_us < limit:
            return text
    return f"{duration_us // DAY} days"


def aligned(parts_us: Sequence[int]) -> list[str]:
    """Return parts of a time, of one unit and precision, that add up as they are printed.

    The last one is the total. What rounding loses goes to the parts that lost most.
    """
    total = sum(parts_us)
    _, step, digits, unit, name = next(form for form in _FORMS if total < form[0])
    counts = [part // step for part in parts_us]
    lost = (total + step // 2) // step - sum(counts)
    by_loss = sorted(range(len(parts_us)), key=lambda i: (-(parts_us[i] % step), i))
    for index in by_loss[:lost]:
        counts[index] += 1
    return [f"{count * step / unit:.{digits}f} {name}" for count in [*counts, sum(counts)]]


def clock_time(moment: str) -> str:
    """Return the time of day of an RFC 3339 text, to the millisecond."""
    return moment[11:23]


def day(moment: str) -> str:
    """Return the date of an RFC 3339 text."""
    return moment[:10]
