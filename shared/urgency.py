"""Being run before ordinary programs: what keeps leases must not wait for what burns processors.

A lease is renewed every few beats by processes that need a fraction of a millisecond each time; on
a machine that has no time left they would be given it tens of milliseconds late, and addresses
would move although nothing is broken. So they ask the kernel, for the most first:

real-time     SCHED_RR at its lowest priority: before every ordinary program, in turn with others
              of that priority. Needs CAP_SYS_NICE, or a limit of 1 (LimitRTPRIO of systemd).
preferred     a nice value of -10. Needs CAP_SYS_NICE, or a limit that allows it (LimitNICE).
ordinary      neither is allowed. Leases are then as long as the gaps that are seen, and failures
              are found later.

What is started from here, be it a program or a thread, begins as an ordinary one again. A loop of
ours that never rests is bounded by the kernel: real-time programs get 95 % of the time.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum

PRIORITY = 1  # the lowest of 99: whoever else is real-time on this machine goes first
THREADS_MAX = 4  # netlink's walks, printed measures; each rests most of the time
NICE = -10  # nine times the share of an ordinary program; -20 would go before the kernel's own


class Urgency(StrEnum):
    """How the kernel lets us run."""

    REAL_TIME = "real-time"
    PREFERRED = "preferred"
    ORDINARY = "ordinary"


def hurry() -> Urgency:
    """Let our threads run before ordinary programs, as far as it is allowed; return how far.

    All that there are now: they share the interpreter's lock, and one that is made to wait while
    it has the lock makes all others wait.
    """
    threads = [thread.native_id or 0 for thread in threading.enumerate()]
    with suppress(PermissionError):
        for thread in threads:
            _real_time(thread)
        return Urgency.REAL_TIME
    with suppress(PermissionError):
        for thread in threads:
            _preferred(thread)
        return Urgency.PREFERRED
    return Urgency.ORDINARY


def urgent_threads() -> ThreadPoolExecutor:
    """Return threads for an urgent program's work beside its loop: ordinary ones would hold it up.

    Under load the kernel takes the processor from them while they have the interpreter's lock.
    """
    return ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="beside", initializer=hurry)


def _real_time(thread: int) -> None:
    os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))


def _preferred(thread: int) -> None:
    os.setpriority(os.PRIO_PROCESS, thread, NICE)
    os.sched_setscheduler(thread, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
