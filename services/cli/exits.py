"""How the command ends: the exit codes that scripts rely on, and the errors that carry them."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; documented in docs/commands.md, and never given another meaning."""

    DONE = 0
    FAILED = 1
    WRONG = 2
    UNVERIFIED = 3
    DEGRADED = 4
    UNREACHABLE = 5
    CHANGED = 6
    UNSAFE = 7
    NOT_SERVING = 8
    BUG = 70
    TIMED_OUT = 124
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done; a change is verified",
    Exit.FAILED: "failed; the message says what was undone. `rules --diff`: there is a difference",
    Exit.WRONG: "wrong usage, an unknown name, or a wrong configuration; nothing was done",
    Exit.UNVERIFIED: "done, but not verified in time",
    Exit.DEGRADED: "`status --exit-code`: serving, but degraded",
    Exit.UNREACHABLE: "no console answers, no arbiter leads, or nothing is known at present",
    Exit.CHANGED: "the cluster changed since the plan was shown; nothing was done",
    Exit.UNSAFE: "refused for safety; `--force-unsafe` insists",
    Exit.NOT_SERVING: "`status --exit-code`: not serving",
    Exit.BUG: "a bug in Equipoise",
    Exit.TIMED_OUT: "`--timeout` ran out while waiting",
}


class Ended(Exception):  # noqa: N818 - not every end is an error
    """The command ends here, with a code and what to tell a person."""

    def __init__(self, code: int, text: str = "", *, mend: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.mend = mend
