"""What happened: the last lines for people, a hash of all of them, and counts of faults."""

from collections import Counter, deque
from zlib import crc32

from shared.instant import SECOND, Instant

LINES_MAX = 60  # as many as a person reads


class Record:
    """Keeps what a failure needs, at little cost for seeds that do not fail."""

    def __init__(self) -> None:
        self.lines: deque[tuple[Instant, str, str]] = deque(maxlen=LINES_MAX)
        self.hash = 0
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def note(self, at: Instant, who: str, what: str) -> None:
        """Remember a line."""
        self.lines.append((at, who, what))
        self.hash = crc32(f"{at} {who} {what}".encode(), self.hash)

    def told(self) -> str:
        """Return the last lines as people read them."""
        return "\n".join(f"{at / SECOND:12.6f}  {who:22} {what}" for at, who, what in self.lines)
