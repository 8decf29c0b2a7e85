"""What systemd wants to hear of a service (sd_notify): that it is ready, stops, and still turns.

Without `NOTIFY_SOCKET` nobody listens, and nothing is said.
"""

import os
import socket
from collections.abc import Mapping

from shared.clock import Clock
from shared.instant import SECOND, Duration

WATCHDOG_PART = 3  # of the time in which we must be heard: two lost turns are borne


class Supervision:
    """Tells a supervisor how it goes; the socket's name is its protocol's (sd_notify(3))."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._to = f"\0{name[1:]}" if name.startswith("@") else name  # Linux's abstract names
        self._every_us = _watchdog_us(environ)

    def ready(self) -> None:
        """Say that the start is over."""
        self._say("READY=1")

    def stopping(self) -> None:
        """Say that it ends on purpose."""
        self._say("STOPPING=1")

    async def keep(self, clock: Clock) -> None:
        """Say again and again that the loop turns, if that is waited for."""
        while self._every_us:
            self._say("WATCHDOG=1")
            await clock.sleep(self._every_us)

    def _say(self, text: str) -> None:
        if not self._to:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as saying:
            try:
                saying.sendto(text.encode(), self._to)
            except OSError:
                return  # a supervisor that does not listen judges us as it likes


def _watchdog_us(environ: Mapping[str, str]) -> Duration:
    """Return how often to be heard; 0 if nobody waits for it, or waits for another process."""
    text, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not text.isdecimal() or meant not in ("", str(os.getpid())):
        return 0
    return max(int(text) // WATCHDOG_PART, SECOND // 100)
