"""Tells keepalived when HAProxy ends, as its unit's `ExecStopPost` could: PIDFILE FILE [PORT].

FILE has 0 while the process that PIDFILE names lives and connections to PORT (80) are taken, and 1
from its end on.
"""

import os
import select
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep

LOOK_EVERY_S = 0.02
PORT = 80


def main(arguments: Sequence[str]) -> int:
    """Watch until killed."""
    number, told = map(Path, arguments[:2])
    port = int(arguments[2]) if arguments[2:] else PORT
    print("watching", flush=True)
    while True:
        with suppress(OSError, ValueError):
            process = os.pidfd_open(int(number.read_text()))
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                told.write_text("0\n")
                select.select([process], [], [])
                told.write_text("1\n")
            finally:
                os.close(process)
        sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
