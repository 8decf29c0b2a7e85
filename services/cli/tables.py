"""Tables and bars as lines of text, all pure."""

from collections.abc import Collection, Sequence

from services.cli.look import Look, visible

GAP = "  "
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def table(rows: Sequence[Sequence[str]], look: Look, *, right: Collection[int] = ()) -> list[str]:
    """Return rows in columns; the first row is the heading, `right` names flush-right columns."""
    widths = [max(visible(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            _pad(cell, width, right=i in right)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = GAP.join(cells).rstrip()
        lines.append(look.dim(line) if number == 0 else line)
    return lines


def _pad(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - visible(cell))
    return space + cell if right else cell + space


def bar(begin: int, end: int, total: int, width: int, look: Look) -> str:
    """Return a part of a whole as a bar at its place; nothing that took time is invisible."""
    if total <= 0 or end <= begin:
        return " " * width
    before = min(begin * width // total, width - 1)
    room = width - before
    eighths = min(max(1, (end * width * 8 + total // 2) // total - before * 8), room * 8)
    full, part = divmod(eighths, 8)
    if look.ascii:
        return (" " * before + "#" * max(1, full)).ljust(width)
    return (" " * before + "█" * full + (_EIGHTHS[part] if part else "")).ljust(width)
