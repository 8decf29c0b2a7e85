"""What happened: kept as it was, put into words only when somebody wants to read it."""

from collections import Counter, deque

from shared.instant import SECOND, Instant

LINES_MAX = 4_000  # more than a second's


class Record:
    """The newest lines, and counts of what the faults did."""

    def __init__(self) -> None:
        self._lines: deque[tuple[Instant, str, str, tuple[object, ...]]] = deque(maxlen=LINES_MAX)
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def note(self, at: Instant, who: str, text: str, *values: object) -> None:
        """Remember a line; `text` has a {} for each value."""
        self._lines.append((at, who, text, values))

    def told(self, since: Instant) -> str:
        """Return the lines from an instant on, as people read them."""
        return "\n".join(
            f"{at / SECOND:11.6f}  {who:18} {text.format(*values)}"
            for at, who, text, values in self._lines
            if at >= since
        )
