"""Waiting for what must come, by looking again and again until a deadline."""

from collections.abc import Callable

from shared.clock import SystemClock
from shared.instant import MILLISECOND, SECOND, Duration

LOOK_EVERY_US = 2 * MILLISECOND
# For what takes milliseconds and must succeed. Beside services at real-time priority the start of a
# process took 30 s; only what must fail, or be quick, has a limit of its own.
PATIENCE_US: Duration = 60 * SECOND
PATIENCE_S = PATIENCE_US // SECOND


async def eventually(
    condition: Callable[[], object], *, within_us: Duration = PATIENCE_US, what: str = ""
) -> None:
    """Return once the condition holds; fail when it does not in time."""
    clock = SystemClock()
    deadline = clock.now() + within_us
    while not condition():
        assert clock.now() < deadline, what or "what must come did not come in time"
        await clock.sleep(LOOK_EVERY_US)
