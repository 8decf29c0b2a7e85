"""Whether a node hears the arbiter: its beats say which of them was answered last.

    HEARS --beats that show no other answer, for longer than a gap--> DEAF --another answer--> HEARS

What a deaf node is granted, it cannot take: each grant would only put off the instant from which
somebody else may have the address. So it is granted nothing more, but goes on being answered;
once a beat shows one of these answers, it hears.

Rule 1: what counts is that the answers go on, not how far they are behind: late is not deaf.
Rule 2: one beat is nothing: it may be decided before the answer to the last one is read.
Rule 3: beats that come all at once are nothing: it must be for longer than the longest gap lately
        between two of that node's beats, and in our own hearing.
"""

from dataclasses import dataclass

from shared.instant import Duration, Instant, milliseconds
from shared.messages.leases import LeaseBeat

DEAF_BEATS = 2  # in a row: the fewest that are more than a chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What the beats of a node show of its hearing."""

    since: Instant = 0  # when a beat last showed another answer than the one before it
    beats: int = 0  # since then
    newest_at: Instant = 0  # when the newest of them was received
    deaf_at: Instant | None = None  # when they were enough; None: it hears, as far as we know

    @property
    def deafness(self) -> str:
        """Why nothing can be granted to the node, in words; "" it hears."""
        if self.deaf_at is None:
            return ""
        for_us = self.newest_at - self.since
        return f"it beats, but has heard no answer for {milliseconds(for_us):.0f} ms"


def is_shown(beat: LeaseBeat, before: LeaseBeat | None) -> bool:
    """Whether a beat shows another answer than the one before it; who cannot tell is believed."""
    if before is None or before.incarnation != beat.incarnation:
        return True
    return beat.heard is None or before.heard is None or beat.heard > before.heard


def after_silent_answer(
    hearing: Hearing, now: Instant, *, gap_us: Duration, ears_since: Instant
) -> Hearing:
    """Return what is known after a beat that shows no other answer."""
    since = max(hearing.since, ears_since)
    beats = hearing.beats + 1
    is_deaf = beats >= DEAF_BEATS and now - since > gap_us
    deaf_at = hearing.deaf_at if hearing.deaf_at is not None or not is_deaf else now
    return Hearing(since=since, beats=beats, newest_at=now, deaf_at=deaf_at)


def hears(now: Instant) -> Hearing:
    """Return what is known after a beat that shows another answer."""
    return Hearing(since=now, newest_at=now)
