"""What an instance says it is, for the comparison of matching services.

It is read every `identity.every`, and again whenever the instance may have become another one:
at its return, and after its kept connection was lost. An instance that is down has none.
"""

import hashlib
from dataclasses import dataclass

from shared.frozen import replace
from shared.instant import SECOND, Duration, Instant

SHOWN_MAX = 128  # characters: longer ones are compared by their hash
RETRY_US = 1 * SECOND  # a failed reading is repeated sooner than the interval says
MISSES_MAX = 3  # failed readings in a row before what was read is no longer believed


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What was read, and when to read again."""

    value: str | None = None
    due_at: Instant = 0
    reading_since: Instant | None = None
    changed_at: Instant = 0  # what was asked before this may have been another process
    misses: int = 0


def text(raw: bytes | str) -> str | None:
    """Return an identity fit for comparing and showing; None if there is nothing in it."""
    decoded = raw if isinstance(raw, str) else raw.decode(errors="replace")
    trimmed = decoded.strip()
    if not trimmed:
        return None
    if len(trimmed) <= SHOWN_MAX and trimmed.isprintable():
        return trimmed
    hashed = hashlib.sha256(trimmed.encode(errors="replace")).hexdigest()[:32]
    return f"sha256:{hashed}"


def due(identity: Identity, now: Instant) -> bool:
    """Return whether it is time to read."""
    return identity.reading_since is None and now >= identity.due_at


def reading(before: Identity, now: Instant) -> Identity:
    """Return the identity while it is being read."""
    return replace(before, reading_since=now)


def read(before: Identity, value: str | None, every_us: Duration, now: Instant) -> Identity:
    """Return the identity after a reading; None is one that failed."""
    assert before.reading_since is not None
    after = replace(before, reading_since=None)
    if before.reading_since <= before.changed_at:
        return replace(after, due_at=now)
    if value is not None:
        return replace(after, value=value, due_at=now + every_us, misses=0)
    misses = before.misses + 1
    kept = before.value if misses < MISSES_MAX else None
    return replace(after, value=kept, due_at=now + RETRY_US, misses=misses)


def changed(before: Identity, now: Instant) -> Identity:
    """Return the identity of an instance that may be another one now."""
    return replace(before, due_at=now, changed_at=now)


def gone(before: Identity, now: Instant) -> Identity:
    """Return the identity of an instance that does not work."""
    return replace(changed(before, now), value=None, misses=0)
