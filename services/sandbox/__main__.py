"""`equipoise sandbox`: a whole cluster on this machine, until Ctrl-C."""

import sys
from collections.abc import Sequence

from services.sandbox.launcher import launch
from services.sandbox.options import parse
from shared.errors import EquipoiseError


def main(arguments: Sequence[str]) -> int:
    """Run a sandbox; return the exit code."""
    options = parse(arguments)
    try:
        return launch(options)
    except EquipoiseError as problem:
        print(f"equipoise sandbox: {problem}", file=sys.stderr)
        return problem.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
