"""When the next probe of an instance is due.

Rule 1: regular probes stand on a grid of slots that is computed from names alone, so that
instances do not come in bursts and the observers of one instance share its interval evenly. The
grid is laid over the monotonic clock, which machines do not share: on one machine the share is
exact, between machines it is as good as chance.
Rule 2: a slot is passed over while a probe is under way.
Rule 3: what looks bad is confirmed without waiting for a slot, until the verdict is in: at once
after a first failure, and otherwise when half of the time-out of the newest probe has passed,
over a fresh connection and beside it. So a hung instance has failed `fall` probes after
(1 + (fall - 1) / 2) time-outs, and a burst of errors is still asked about more than once in time.
Rule 4: a reset is what a dying process looks like, whose connections the kernel closes one by one
and the listening one not first. It is followed up after 1, 2, 4 … ms even if the verdict is in,
because the refusal that makes it conclusive comes with the next or the one after.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shared.frozen import replace
from shared.instant import MILLISECOND, SECOND, Duration, Instant

# Two for the time-out of confirmations, one for a lost connection, one for a late sample.
IN_FLIGHT_MAX = 4
RESET_PAUSE_US = 1 * MILLISECOND
RESETS_MAX = 6  # followed up: 63 ms in all, by then a slot is near
PAUSE_US = 1 * SECOND  # so late a timer means that this process was stopped, not just busy


@dataclass(frozen=True, slots=True)
class Asked:
    """A probe under way."""

    number: int
    began_at: Instant
    timeout_us: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The probes of one instance: those under way, and when the next regular one is due."""

    every_us: Duration
    offset_us: Duration
    slot_at: Instant
    number: int = 0  # of the newest probe
    asked: tuple[Asked, ...] = ()  # oldest first
    confirm_at: Instant = 0  # half-way through the newest probe, unless there is a hurry
    wake_at: Instant | None = None  # what the shell was last told


def offset_us(
    observer: str, observers: Sequence[str], target: tuple[str, str], every_us: Duration
) -> Duration:
    """Return where in the interval an observer asks an instance."""
    digest = hashlib.sha256("\0".join(target).encode()).digest()
    phase = int.from_bytes(digest[:8], "big") % every_us
    return (phase + every_us * observers.index(observer) // len(observers)) % every_us


def begin(every_us: Duration, offset_us: Duration, now: Instant) -> Asking:
    """Return the first slot of an instance."""
    slot_at = _slot_after(now, every_us, offset_us)
    return Asking(every_us=every_us, offset_us=offset_us, slot_at=slot_at)


def take_slot(before: Asking, now: Instant) -> tuple[Asking, bool]:
    """Return the next slot if one has come, and whether to ask in this one."""
    if now < before.slot_at:
        return before, False
    # After a pause all slots are overdue together; asking then would be a burst.
    woken = now - before.slot_at >= PAUSE_US
    after = replace(before, slot_at=_slot_after(now, before.every_us, before.offset_us))
    return after, not woken and not before.asked


def ask(before: Asking, timeout_us: Duration, now: Instant) -> Asking:
    """Note a new probe, unless too many are under way."""
    if len(before.asked) >= IN_FLIGHT_MAX:
        return before
    number = before.number + 1
    return replace(
        before,
        number=number,
        asked=(*before.asked, Asked(number, now, timeout_us)),
        confirm_at=now + timeout_us // 2,
    )


def end(before: Asking, number: int) -> tuple[Asking, Asked | None]:
    """Take a probe that ended out of those under way; None if it no longer counts."""
    ended = next((asked for asked in before.asked if asked.number == number), None)
    return replace(before, asked=tuple(a for a in before.asked if a.number != number)), ended


def outdate(before: Asking, number: int) -> Asking:
    """Forget the probes that are older than one that was answered well.

    They do not count any more: an answer to a later question outweighs an earlier one still open.
    """
    return replace(before, asked=tuple(a for a in before.asked if a.number > number))


def hurry(before: Asking, bad: int, now: Instant, *, reset: bool) -> Asking:
    """Return when to ask again after that many bad answers in a row, the newest just now."""
    if reset and bad <= RESETS_MAX:
        return replace(before, confirm_at=now + (RESET_PAUSE_US << (bad - 1)))
    return replace(before, confirm_at=now) if bad == 1 else before


def confirmation_at(asking: Asking, bad: int, fall: int) -> Instant | None:
    """Return when to ask again without waiting for a slot; None if there is no reason."""
    under_way = len(asking.asked)
    nothing_bad = bad == 0 and under_way == 0
    enough = bad + under_way >= fall or under_way >= IN_FLIGHT_MAX
    return None if nothing_bad or enough else asking.confirm_at


def follow_up_at(asking: Asking, resets: int) -> Instant | None:
    """Return when to ask again after so many bad answers of which the newest was a reset."""
    return asking.confirm_at if resets <= RESETS_MAX and not asking.asked else None


def _slot_after(now: Instant, every_us: Duration, offset_us: Duration) -> Instant:
    return now + every_us - (now - offset_us) % every_us
