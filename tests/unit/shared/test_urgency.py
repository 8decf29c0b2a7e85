"""What a process asks of the kernel's scheduler, and gets: each test in a process of its own."""

import os
import subprocess
import sys

import pytest

from shared.urgency import NICE, Urgency

# Says how far it came, then how it, a thread of before, a child and a later thread are run.
ASK = """
import os, threading
from shared.urgency import hurry
def see():
    print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), flush=True)
go = threading.Event()
before = threading.Thread(target=lambda: (go.wait(), see()), daemon=True)
before.start()
{prelude}
print(hurry().value, flush=True)
see()
go.set()
before.join()
if child := os.fork():
    os.waitpid(child, 0)
else:
    see()
    os._exit(0)
later = threading.Thread(target=see)
later.start()
later.join()
"""
# Not by `preexec_fn`: the interpreter may lie where nobody else can read it.
BECOME_NOBODY = """
import resource
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
try:
    resource.setrlimit(resource.RLIMIT_NICE, ({nice_limit}, {nice_limit}))
except ValueError:  # a root without CAP_SYS_RESOURCE cannot raise it
    os._exit(77)
os.setresuid(65534, 65534, 65534)
"""
UNABLE = 77  # of the script
RESET = os.SCHED_RESET_ON_FORK
ORDINARY = f"{os.SCHED_OTHER} 0"
PREFERRED = f"{os.SCHED_OTHER | RESET} {NICE}"
REAL_TIME = f"{os.SCHED_RR | RESET} 0"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives rights away, which root has")


def _answers(prelude: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(prelude=prelude)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if done.returncode == UNABLE:
        pytest.skip("limits cannot be raised here")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_is_said_is_what_the_kernel_does() -> None:
    got, mine, before, *_ = _answers()
    expected = {
        Urgency.REAL_TIME: REAL_TIME,
        Urgency.PREFERRED: PREFERRED,
        Urgency.ORDINARY: ORDINARY,
    }[Urgency(got)]
    assert [mine, before] == [expected, expected]


def test_what_is_started_later_is_ordinary_again() -> None:
    *_, child, later = _answers()
    assert [child, later] == [ORDINARY, ORDINARY]


@needs_root
def test_who_may_do_neither_runs_as_an_ordinary_program() -> None:
    answers = _answers(BECOME_NOBODY.format(nice_limit=0))
    assert answers == [Urgency.ORDINARY, *[ORDINARY] * 4]


@needs_root
def test_who_may_not_be_real_time_is_preferred() -> None:
    answers = _answers(BECOME_NOBODY.format(nice_limit=20 - NICE))  # as the kernel counts it
    assert answers == [Urgency.PREFERRED, PREFERRED, PREFERRED, ORDINARY, ORDINARY]


def test_threads_of_an_urgent_program_are_urgent() -> None:
    ask = (
        "import os\nfrom shared.urgency import hurry, urgent_threads\nprint(hurry().value)\n"
        "print(urgent_threads().submit(os.sched_getscheduler, 0).result())\n"
    )
    urgency, policy = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True
    ).stdout.split()
    is_real_time = int(policy) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
    assert is_real_time == (urgency == "real-time")
