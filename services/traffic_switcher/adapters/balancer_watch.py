"""Noticing at once that HAProxy died or hangs: one connection, kept open, asked every moment.

Its end is heard within a millisecond; what it means is for `core.watching` to judge.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from services.traffic_switcher.core.watching import (
    Answered,
    Closed,
    Finding,
    Refused,
    Silent,
    Watch,
    judged,
)
from shared.clock import Clock
from shared.instant import SECOND, Duration, Instant

QUESTION = b"GET / HTTP/1.1\r\nHost: alive\r\n\r\n"
END = b"\r\n\r\n"
PRESSURE = Path("/proc/pressure/cpu")  # Linux 4.20 and later, unless it was switched off
ANSWER_MAX = 4_096  # octets; it has 40


class HaproxyWatch:
    """Asks one HAProxy, at its own sign of life (`core.haproxy_file.Place.alive`)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._connection: socket.socket | None = None
        self._asked_at: Instant | None = None  # and not answered yet
        self._starved_us: Duration = 0  # the kernel's count, when that was
        self._heard = b""

    async def run(self, changed: Callable[[str], None]) -> None:
        """Call back with why it serves nobody ("dead: ...", "hung: ..."), or "" when it does."""
        watch = Watch()
        try:
            while True:
                finding = await self._look(watch)
                before, watch = watch, judged(watch, finding)
                if watch.fault is not None and watch.fault != before.fault:
                    changed(watch.fault)
                if watch.is_hopeless:
                    self._hang_up()
        finally:
            self._hang_up()

    async def _look(self, watch: Watch) -> Finding:
        """Return the next finding: rest, ask, and listen."""
        if self._connection is None:
            if watch.fault:
                await self._clock.sleep(watch.pause_us)
            try:
                self._connection = self._connect()
            except BlockingIOError:  # nobody has accepted for so long that no more fit
                return await self._unaccepted(watch.timeout_us)
            except OSError as error:
                return Refused(f"haproxy at {self._path} {_why(error)}")
            self._asked_at = None
        try:
            if self._asked_at is None:
                if watch.answers and await self._is_closed_within(watch.pause_us):
                    return self._closed()
                await asyncio.get_running_loop().sock_sendall(self._connection, QUESTION)
                self._asked_at, self._starved_us = self._clock.now(), starved_us()
            return await self._listen(watch.timeout_us)
        except OSError:  # reset, or closed before we asked
            return self._closed()

    async def _unaccepted(self, timeout_us: Duration) -> Finding:
        """Rest: the question that could not be put counts as asked since the first try."""
        if self._asked_at is None:
            self._asked_at = self._clock.now()
        await self._clock.sleep(timeout_us)
        return Silent(silent_us=self._clock.now() - self._asked_at, late_us=0)

    async def _listen(self, timeout_us: Duration) -> Finding:
        assert self._asked_at is not None
        due_at = self._clock.now() + timeout_us
        try:
            async with asyncio.timeout(timeout_us / SECOND):
                while END not in self._heard:
                    chunk = await self._receive()
                    if not chunk or len(self._heard) > ANSWER_MAX:
                        return self._closed()
                    self._heard += chunk
        except TimeoutError:
            now = self._clock.now()
            return Silent(
                silent_us=now - self._asked_at,
                late_us=max(now - due_at, 0),
                starved_us=starved_us() - self._starved_us,
            )
        took_us = self._clock.now() - self._asked_at
        self._asked_at, self._heard = None, b""
        return Answered(took_us)

    async def _is_closed_within(self, rest_us: Duration) -> bool:
        """Rest; an end of the connection is heard at once, and anything else is no answer."""
        try:
            async with asyncio.timeout(rest_us / SECOND):
                await self._receive()
        except TimeoutError:
            return False
        return True

    async def _receive(self) -> bytes:
        assert self._connection is not None
        return await asyncio.get_running_loop().sock_recv(self._connection, ANSWER_MAX)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(str(self._path))  # without waiting: it is on this machine
        except OSError:
            connection.close()
            raise
        return connection

    def _closed(self) -> Closed:
        self._hang_up()
        return Closed()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._asked_at, self._heard = None, None, b""


def starved_us() -> Duration:
    """Return for how long, ever, some program had to wait for a processor; 0: not counted here.

    Of the whole machine, as `some … total=` in the kernel's words (`man 7 proc`, pressure).
    """
    try:
        some = PRESSURE.read_text().partition("\n")[0]
    except OSError:
        return 0
    return int(some.rpartition("total=")[2] or 0)


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "is not running"
    if isinstance(error, PermissionError):
        return "may not be asked by this user: run the switcher as the user of HAProxy"
    return f"cannot be asked: {error.strerror}"
