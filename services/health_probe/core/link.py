"""When to keep a connection open to a local instance, so that its death is known at once.

Rule 1: a lost link accuses nobody. It is a reason to ask at once, and servers may close what is
idle whenever they like.
Rule 2: a link that lived for less than a second was not wanted: the pause before the next one
doubles from a second to ten minutes. One that lived longer is opened again at once, and so is
that of an instance which proves to be dead: it did not end for being unwanted.
Rule 3: a server that serves one connection at a time would be blocked by ours. Until a probe
beside it was answered, a link is on trial: it is closed as soon as a probe is slow, before that
probe is held against anybody.
Rule 4: a link is only opened to an instance that just answered well and whose time-out is known,
so that a trial cannot hold up clients for longer than half of it.
"""

from dataclasses import dataclass
from enum import Enum, auto

from shared.frozen import replace
from shared.instant import MINUTE, SECOND, Duration, Instant

LIFE_MIN = 1 * SECOND  # the shortest idle time-outs of servers are seconds
RETRY_MIN = 1 * SECOND
RETRY_MAX = 10 * MINUTE  # six short trials an hour bother nobody


class Phase(Enum):
    """Where a link stands."""

    CLOSED = auto()
    OPENING = auto()
    TRIAL = auto()  # open, and no probe has been answered beside it
    OPEN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The connection kept open to one local instance."""

    phase: Phase = Phase.CLOSED
    opened_at: Instant = 0
    pause_us: Duration = 0
    again_at: Instant = 0  # not to be opened before


def may_open(link: Link, now: Instant) -> bool:
    """Return whether it is time to try."""
    return link.phase is Phase.CLOSED and now >= link.again_at


def opening(before: Link) -> Link:
    """Return the link while its connection is made."""
    return replace(before, phase=Phase.OPENING)


def opened(before: Link, now: Instant) -> Link:
    """Return the link on trial."""
    return replace(before, phase=Phase.TRIAL, opened_at=now)


def answered(before: Link, began_at: Instant) -> Link:
    """Return the link after a probe that began at this time was answered well."""
    if before.phase is Phase.TRIAL and began_at >= before.opened_at:
        return replace(before, phase=Phase.OPEN)
    return before


def lost(before: Link, now: Instant) -> Link:
    """Return the link after its end, whoever ended it."""
    lived = before.phase in (Phase.TRIAL, Phase.OPEN) and now - before.opened_at >= LIFE_MIN
    pause_us = 0 if lived else min(max(2 * before.pause_us, RETRY_MIN), RETRY_MAX)
    return Link(pause_us=pause_us, again_at=now + pause_us)


def excused(before: Link) -> Link:
    """Return the link of an instance that does not work: its short life means nothing."""
    return Link() if before.phase is Phase.CLOSED else before
