"""Small pictures: how many measurements were made within a time, how one went, who took longer."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 30, 58
# Told apart by all eyes (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STEPS = (1, 2, 5)  # ticks are these times a power of ten
TICKS_MAX = 8
STYLE = "font-family='sans-serif' font-size='12' fill='#333'"


def distributions(title: str, series: Mapping[str, Sequence[float]], budget_ms: float) -> str:
    """Return an SVG: time in milliseconds to the right, the share of all measurements upwards."""
    end = _rounded(max(max(values) for values in series.values()), budget_ms)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>",
        f"<text x='{LEFT}' y='18' {STYLE}>{escape(title)}</text>",
        *_axes(end),
        *_budget(budget_ms, end),
    ]
    for number, (name, values) in enumerate(series.items()):
        parts += _one(name, sorted(values), end, number)
    return "\n".join((*parts, "</svg>", ""))


def _rounded(longest: float, budget_ms: float) -> float:
    """Return where the axis ends: at a tick beyond everything."""
    step = tick_step(max(longest, budget_ms))
    return step * (max(longest, budget_ms) // step + 1)


def tick_step(longest: float) -> float:
    """Return the smallest sensible distance of ticks that are not too many."""
    power = 1.0
    while True:
        for step in STEPS:
            if longest <= step * power * TICKS_MAX:
                return step * power
        power *= 10


def _x(value: float, end: float) -> float:
    return round(LEFT + value / end * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _axes(end: float) -> list[str]:
    lines = []
    for percent in (0, 50, 99):
        y = _y(percent / 100)
        lines.append(f"<path d='M{LEFT} {y}H{WIDTH - RIGHT}' stroke='#ccc'/>")
        at = f"x='{LEFT - 6}' y='{y + 4}' text-anchor='end'"
        lines.append(f"<text {at} {STYLE}>{percent}%</text>")
    step = tick_step(end)
    for number in range(int(end / step) + 1):
        x = _x(number * step, end)
        at = f"x='{x}' y='{HEIGHT - BOTTOM + 16}' text-anchor='middle'"
        lines.append(f"<text {at} {STYLE}>{number * step:g}</text>")
    at = f"x='{WIDTH - RIGHT}' y='{HEIGHT - BOTTOM + 32}' text-anchor='end'"
    return [*lines, f"<text {at} {STYLE}>milliseconds after the fault</text>"]


def _budget(budget_ms: float, end: float) -> list[str]:
    x = _x(budget_ms, end)
    return [
        f"<path d='M{x} {_y(1)}V{_y(0)}' stroke='#999' stroke-dasharray='4 3'/>",
        f"<text x='{x + 4}' y='{_y(1) + 4}' {STYLE}>budget {budget_ms:g}</text>",
    ]


def _one(name: str, ordered: Sequence[float], end: float, number: int) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    path = [f"M{_x(ordered[0], end)} {_y(0)}"]
    for place, value in enumerate(ordered, start=1):
        path.append(f"H{_x(value, end)}V{_y(place / len(ordered))}")
    x, y = LEFT + number * 200, HEIGHT - 10
    return [
        f"<path d='{''.join(path)}' fill='none' stroke='{colour}' stroke-width='2'/>",
        f"<path d='M{x} {y - 4}h18' stroke='{colour}' stroke-width='3'/>",
        f"<text x='{x + 24}' y='{y}' {STYLE}>{escape(name)}, n={len(ordered)}</text>",
    ]


def courses(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str = "seconds",
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Return an SVG of figures over time, or over another: their values upwards.

    `marks` are places with words at which something began.
    """
    points = [point for each in series.values() for point in each]
    last = max((at for at, _ in points), default=1.0)
    high = max((value for _, value in points), default=1.0)
    step, rise = tick_step(last), tick_step(high)
    top = rise * (high // rise + 1)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>",
        f"<text x='{LEFT}' y='18' {STYLE}>{escape(title)}</text>",
    ]
    for number in range(int(top / rise) + 1):
        y = _y(number * rise / top)
        parts.append(f"<path d='M{LEFT} {y}H{WIDTH - RIGHT}' stroke='#ccc'/>")
        at = f"x='{LEFT - 6}' y='{y + 4}' text-anchor='end'"
        parts.append(f"<text {at} {STYLE}>{number * rise:g}</text>")
    for number in range(int(last / step) + 1):
        at = f"x='{_x(number * step, last)}' y='{HEIGHT - BOTTOM + 16}' text-anchor='middle'"
        parts.append(f"<text {at} {STYLE}>{number * step:g}</text>")
    for at_value, words in marks:
        x = _x(at_value, last)
        parts.append(f"<path d='M{x} {_y(1)}V{_y(0)}' stroke='#999' stroke-dasharray='4 3'/>")
        parts.append(f"<text x='{x + 4}' y='{_y(1) + 12}' {STYLE}>{escape(words)}</text>")
    at = f"x='{WIDTH - RIGHT}' y='{HEIGHT - BOTTOM + 32}' text-anchor='end'"
    parts.append(f"<text {at} {STYLE}>{escape(across)}</text>")
    for number, (name, values) in enumerate(series.items()):
        parts += _line(name, values, (last, top), number)
    return "\n".join((*parts, "</svg>", ""))


def _line(
    name: str, points: Sequence[tuple[float, float]], ends: tuple[float, float], number: int
) -> list[str]:
    """Return one figure's line, where there is one, and what it is called."""
    colour, (last, top) = COLOURS[number % len(COLOURS)], ends
    x, y = LEFT + number * 150, HEIGHT - 10
    parts = [
        f"<path d='M{x} {y - 4}h18' stroke='{colour}' stroke-width='3'/>",
        f"<text x='{x + 24}' y='{y}' {STYLE}>{escape(name)}</text>",
    ]
    if points:
        line = "L".join(f"{_x(at, last)} {_y(value / top)}" for at, value in points)
        parts.append(f"<path d='M{line}' fill='none' stroke='{colour}' stroke-width='2'/>")
    return parts


# Of pictures of bars: times of very different lengths, each ten times the one before it.
BARS_LEFT, BAR, BARS_GAP, BARS_TOP = 200, 9, 14, 34
LEGEND_COLUMNS, LEGEND_LINE = 2, 16
DECADES = (10, 100, 1_000, 10_000, 100_000)


def bars(
    title: str, groups: Mapping[str, Mapping[str, tuple[float, float]]], names: Sequence[str]
) -> str:
    """Return an SVG of groups of bars: a middle value, and a line on to the largest."""
    high = BARS_TOP + len(groups) * (len(names) * BAR + BARS_GAP)
    whole = high + 28 + LEGEND_LINE * -(-len(names) // LEGEND_COLUMNS)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {whole}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{WIDTH}' height='{whole}' fill='#fff'/>",
        f"<text x='{RIGHT}' y='18' {STYLE}>{escape(title)}</text>",
    ]
    for decade in DECADES:
        x = _on_scale(decade)
        parts.append(f"<path d='M{x} {BARS_TOP - 6}V{high}' stroke='#ccc'/>")
        at = f"x='{x}' y='{high + 14}' text-anchor='middle'"
        parts.append(f"<text {at} {STYLE}>{decade:,}</text>")
    for number, (group, values) in enumerate(groups.items()):
        top = BARS_TOP + number * (len(names) * BAR + BARS_GAP)
        at = f"x='{BARS_LEFT - 8}' y='{top + len(names) * BAR / 2 + 4}' text-anchor='end'"
        parts.append(f"<text {at} {STYLE}>{escape(group)}</text>")
        for place, name in enumerate(names):
            if name in values:
                parts += _bar(*values[name], top + place * BAR, COLOURS[place % len(COLOURS)])
    for place, name in enumerate(names):
        row, column = divmod(place, LEGEND_COLUMNS)
        x, y = RIGHT + column * WIDTH // LEGEND_COLUMNS, high + 32 + row * LEGEND_LINE
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f"<path d='M{x} {y}h14' stroke='{colour}' stroke-width='7'/>")
        parts.append(f"<text x='{x + 20}' y='{y + 4}' {STYLE}>{escape(name)}</text>")
    return "\n".join((*parts, "</svg>", ""))


def _on_scale(value: float) -> float:
    """Return the place of a value; what is below the scale has its beginning."""
    first, last = log10(DECADES[0]), log10(DECADES[-1])
    share = (log10(max(value, DECADES[0])) - first) / (last - first)
    return round(BARS_LEFT + share * (WIDTH - BARS_LEFT - 2 * RIGHT), 1)


def _bar(middle: float, largest: float, top: float, colour: str) -> list[str]:
    begin, end = BARS_LEFT, _on_scale(middle)
    width = max(end - begin, 2)  # nothing is seen, too
    reach = max(_on_scale(largest), begin + 2)
    place = f"x='{begin}' y='{top}' width='{width:.1f}' height='{BAR - 2}'"
    line = f"M{begin + width:.1f} {top + BAR / 2 - 1}H{reach}"
    return [
        f"<rect {place} fill='{colour}'/>",
        f"<path d='{line}' stroke='{colour}' stroke-width='1.5'/>",
    ]
