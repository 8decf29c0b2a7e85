"""Small pictures of growth: both axes grow by factors, so that what is proportional is straight."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10

from benchmarks.plot import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, STYLE, TOP, WIDTH

STEPS = (1, 2, 5)
LEGEND = 200  # pixels from one name to the next
LEAST = 0.1  # what is less is drawn as this
Points = Sequence[tuple[float, float]]


def curves(title: str, series: Mapping[str, Points]) -> str:
    """Return an SVG: sizes to the right, figures upwards, a line for each series."""
    points = [point for of_series in series.values() for point in of_series]
    across = _Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    upwards = _Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>",
        f"<text x='{LEFT}' y='18' {STYLE}>{escape(title)}</text>",
    ]
    for value in upwards.ticks:
        y = upwards.place(value)
        parts.append(f"<path d='M{LEFT} {y}H{WIDTH - RIGHT}' stroke='#ccc'/>")
        at = f"x='{LEFT - 6}' y='{y + 4}' text-anchor='end'"
        parts.append(f"<text {at} {STYLE}>{value:g}</text>")
    for value in sorted({x for x, _ in points}):
        at = f"x='{across.place(value)}' y='{HEIGHT - BOTTOM + 16}' text-anchor='middle'"
        parts.append(f"<text {at} {STYLE}>{value:g}</text>")
    for number, (name, of_series) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = "L".join(f"{across.place(x)} {upwards.place(y)}" for x, y in of_series)
        x, y = LEFT + number * LEGEND, HEIGHT - 10
        parts += [
            f"<path d='M{line}' fill='none' stroke='{colour}' stroke-width='2'/>",
            f"<path d='M{x} {y - 4}h18' stroke='{colour}' stroke-width='3'/>",
            f"<text x='{x + 24}' y='{y}' {STYLE}>{escape(name)}</text>",
        ]
    return "\n".join((*parts, "</svg>", ""))


class _Axis:
    """Places values between two ends by their logarithms."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        some = [max(value, LEAST) for value in values] or [1.0]
        self._begin, self._end = begin, end
        decades = range(-1, 7)
        ticks = [step * 10.0**decade for decade in decades for step in STEPS]
        low = max(tick for tick in ticks if tick <= min(some))
        high = min(tick for tick in ticks if tick >= max(some) and tick > low)
        self.ticks = [tick for tick in ticks if low <= tick <= high]
        self._low, self._high = log10(low), log10(high)

    def place(self, value: float) -> float:
        """Return where a value stands."""
        share = (log10(max(value, LEAST)) - self._low) / (self._high - self._low)
        return round(self._begin + share * (self._end - self._begin), 1)
