"""Renewing leases in the kernel so that none outlives what was granted: rule 4."""

from collections.abc import Mapping

from services.traffic_switcher.adapters.ports import Guard
from services.traffic_switcher.core.leases import rests
from shared.clock import Clock
from shared.instant import Instant


def renew(guard: Guard, clock: Clock, token: int, ends: Mapping[str, Instant]) -> frozenset[str]:
    """Open the guard of these addresses until then; return those that it is open for.

    The order is the rule: whatever stops this process after the clock was read, for longer than a
    permit lives, makes the kernel refuse what was computed before. Nothing may come in between.
    """
    guard.permit(token)
    now = clock.now()
    left = rests(ends, now)
    if not left or not guard.renew(token, left):
        return frozenset()
    return frozenset(left)
