"""The `equipoise` program."""

import signal
import sys
from types import FrameType

from services.cli.exits import Exit
from services.cli.program import run


def main() -> None:
    """Run the command line and exit with its code."""
    # Not as an exception that libraries know: they would print a line about it.
    signal.signal(signal.SIGINT, _leave)
    sys.exit(run(sys.argv[1:]))


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(Exit.INTERRUPTED)


if __name__ == "__main__":
    main()
