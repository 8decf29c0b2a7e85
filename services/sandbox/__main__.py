"""`equipoise sandbox`: a whole cluster on this machine, until Ctrl-C."""

import os
import sys
from collections.abc import Sequence

from services.sandbox.launcher import launch
from services.sandbox.options import parse
from shared.errors import EquipoiseError

BROKEN_PIPE = 141  # as shells say it of SIGPIPE


def main(arguments: Sequence[str]) -> int:
    """Run a sandbox; return the exit code."""
    options = parse(arguments)
    try:
        return launch(options)
    except BrokenPipeError:  # who read us is gone; so is the cluster, by now
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except EquipoiseError as problem:
        print(f"equipoise sandbox: {problem}", file=sys.stderr)
        return problem.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
