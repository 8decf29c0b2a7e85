"""How long the switcher waits, and how often it does a thing again."""

from shared.instant import MILLISECOND, MINUTE, SECOND, Duration

# How long an instance drains before what is still open there is closed, so that a hung one frees
# those who wait. Longer than the load balancer's attempt to connect (`connect_timeout_us` in
# haproxy_file, 75 ms at the most), because closing loses whoever is just being connected; not
# longer, because the slowest request to a hung instance pays for it.
DRAINED_AFTER_US: Duration = 100 * MILLISECOND
LOOK_EVERY_US: Duration = SECOND  # 1 ms of work each; no drift lives longer than this
CONFIRM_EVERY_US: Duration = 5 * SECOND  # "verified 3 s ago", for one small request per service
# A load balancer that restarts is back in 50 ms; one that stays away is asked every 2 s.
AGAIN_FIRST_US: Duration = 50 * MILLISECOND
AGAIN_LONGEST_US: Duration = 2 * SECOND
# Commands come every 50 ms until they are acknowledged. A full disk need not be tried so often,
# and one refusal a second tells as much as twenty.
PERSIST_AGAIN_US: Duration = SECOND
REFUSE_AGAIN_US: Duration = SECOND
# Whose gates are whose is written, and the file for the next restart, when a plan has arrived:
# neither may delay it.
REMEMBER_AFTER_US: Duration = 200 * MILLISECOND
REPAIRS_MAX = 3  # within the window; more often than this, somebody is at war with us
REPAIRS_WINDOW_US: Duration = MINUTE


def again(failures: int) -> Duration:
    """Return how long to wait after so many failures in a row: doubled, up to a bound."""
    assert failures > 0
    return min(AGAIN_FIRST_US << min(failures - 1, 10), AGAIN_LONGEST_US)
