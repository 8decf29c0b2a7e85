"""Hears what consoles hear, and forgets it: `python -m benchmarks.growth.listeners`.

A console's work is its own machine's; what counts here is that the server says everything to each
of them. The kernel drops what arrives before it is copied (MSG_TRUNC), so that this process costs
as little as it can.
"""

import json
import selectors
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from services.console.shell import heard_patterns
from shared.settings.load import load
from shared.urgency import hurry

READ_MAX = 1 << 22
PING = b"PING\r\n"


def connected(host: str, port: int, patterns: Sequence[str]) -> socket.socket:
    """Return a connection that is subscribed to what a console hears."""
    line = socket.create_connection((host, port))
    line.recv(READ_MAX)  # what the server says of itself
    words = [b'CONNECT {"verbose":false,"pedantic":false}\r\n']
    words += [
        f"SUB {pattern} {number}\r\n".encode() for number, pattern in enumerate(patterns, start=1)
    ]
    line.sendall(b"".join((*words, PING)))
    line.recv(READ_MAX)  # its PONG: all is subscribed
    line.setblocking(False)  # noqa: FBT003 - positional by its own definition
    return line


def main(host: str, port: str, configured: str) -> None:
    """Hear until killed; the server's pings come seldom enough to be forgotten too."""
    hurry()  # what is not taken here piles up in the server
    cluster = load(Path(configured), {"EQUIPOISE_NODE": "witness"}).cluster
    chosen = selectors.DefaultSelector()
    for member in cluster.members:
        patterns = heard_patterns(cluster, member)
        line = connected(host, int(port), [f"equipoise.{cluster.name}.{one}" for one in patterns])
        chosen.register(line, selectors.EVENT_READ)
    print(json.dumps({"event": "ready"}), flush=True)
    empty = bytearray(READ_MAX)
    while True:
        for key, _ in chosen.select():
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.recv_into(empty, READ_MAX, socket.MSG_TRUNC)


if __name__ == "__main__":
    main(*sys.argv[1:])
