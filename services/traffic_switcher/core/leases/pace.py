"""How long things of leases take, and how often they are done again."""

from shared.instant import MILLISECOND, MINUTE, SECOND, Duration

# A permit lives so long (rule 4 of docs/vip-safety.md), and every lease is cut by as much:
# whatever happens between reading the clock and the kernel's commit takes less, or is refused.
PERMIT_US: Duration = 20 * MILLISECOND
KERNEL_TICK_US: Duration = 10 * MILLISECOND  # a time-out in the kernel ends at its next tick
# A permit runs out on a machine that is busy, and a VIP that is being taken must not wait for the
# next beat; nor may we keep such a machine busier.
RENEW_AGAIN_US: Duration = 10 * MILLISECOND
# A grant is for one of the last beats: at the shortest beat (20 ms) these are 1.3 s, longer than
# the longest lease, so what is older could not give anything any more.
SENT_MAX = 64
# The kernel removes an address by itself after so long (it counts whole seconds): long enough to
# miss four refreshments, short enough that a dead switcher leaves nothing for long.
ADDRESS_VALID_US: Duration = 5 * SECOND
REFRESH_US: Duration = SECOND
LOOK_AROUND_US: Duration = SECOND  # links and addresses, beside every change that netlink tells
ANNOUNCED_AT_FIRST = 5  # announcements, a second apart: one of them arrives
ANNOUNCE_FIRST_US: Duration = SECOND
ANNOUNCE_US: Duration = 30 * SECOND  # while it is held; a forgetful neighbour learns it again
# The wire was full, or the link has just come up: until it is said, clients go to who was there.
ANNOUNCE_AGAIN_US: Duration = 100 * MILLISECOND
# A claim is answered at once; somebody who claims it all the time is not answered more often, and
# is said only as often as keeps the alarm.
CLAIM_AGAIN_US: Duration = 100 * MILLISECOND
CLAIM_SAID_AGAIN_US: Duration = 10 * SECOND
ASK_US: Duration = SECOND  # through every VIP that is held, when all is well
ASK_AGAIN_US: Duration = 20 * MILLISECOND  # the first answer is waited for
# A client repeats a first segment after a second: what was kept for longer has come again.
HOLD_BACK_US: Duration = SECOND
PERSIST_AGAIN_US: Duration = SECOND  # a full disk need not be tried more often
STAND_AGAIN_FIRST_US: Duration = 500 * MILLISECOND
STAND_AGAIN_LONGEST_US: Duration = 10 * SECOND
# What somebody else changes is repaired so often within the window. After that it is left alone
# for a while and the VIP is given up: a machine at war with us is no place for it.
REPAIRS_MAX = 3
REPAIRS_WINDOW_US: Duration = MINUTE
LEFT_ALONE_US: Duration = MINUTE
NOT_TAKEN_US: Duration = 5 * SECOND  # an address that the kernel refused is not tried sooner
# A lease ends in the kernel at a tick, and earlier by what renewing it took; so only one with
# more than this left that is not shown was removed by somebody.
MISSED_US: Duration = 50 * MILLISECOND


def stand_again(failures: int) -> Duration:
    """Return how long to wait after so many failures in a row: doubled, up to a bound."""
    assert failures > 0
    return min(STAND_AGAIN_FIRST_US << min(failures - 1, 10), STAND_AGAIN_LONGEST_US)
