"""Noticing at once that HAProxy died or hangs: one connection, kept open, asked every moment.

Its end is heard within a millisecond; what it means is for `core.watching` to judge.

To be woken costs this process more than all that it does here. So a HAProxy that serves is asked
when the switcher is awake for its beat (`turn`), and its answer, which comes within a fraction of a
millisecond, wakes nobody: it is read when the switcher is awake for the grant. Only what is not
there by then is waited for. An end of the connection does wake us, by an epoll of our own that is
deaf to anything else.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from pathlib import Path

from services.traffic_switcher.core.watching import (
    ASK_AGAIN_US,
    ASK_EVERY_US,
    Answered,
    Closed,
    Finding,
    Refused,
    Silent,
    Watch,
    judged,
)
from shared.clock import Clock
from shared.instant import MILLISECOND, SECOND, Duration, Instant

QUESTION = b"GET / HTTP/1.1\r\nHost: alive\r\n\r\n"
END = b"\r\n\r\n"
# Who has no turn at all is woken for it: to ask as `core.watching` says, and to hear.
HEAR_WITHIN_US: Duration = 10 * MILLISECOND
PRESSURE = Path("/proc/pressure/cpu")  # Linux 4.20 and later, unless it was switched off
ANSWER_MAX = 4_096  # octets; it has 40


class HaproxyWatch:
    """Asks one HAProxy, at its own sign of life (`core.haproxy_file.Place.alive`)."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._connection: socket.socket | None = None
        self._asked_at: Instant | None = None  # and not answered yet
        self._starved_us: Duration | None = None  # the kernel's count, when it was waited for
        self._heard = b""
        self._watch = Watch()
        self._rest: asyncio.Future[bool] | None = None  # while it serves: whether it has ended
        self._alarm: asyncio.TimerHandle | None = None
        self._answered_at: Instant = 0

    async def run(self, changed: Callable[[str], None]) -> None:
        """Call back with why it serves nobody ("dead: ...", "hung: ..."), or "" when it does."""
        try:
            while True:
                finding = await self._look()
                before, self._watch = self._watch, judged(self._watch, finding)
                if self._watch.fault is not None and self._watch.fault != before.fault:
                    changed(self._watch.fault)
                if self._watch.is_hopeless:
                    self._hang_up()
        finally:
            self._hang_up()

    def turn(self) -> None:
        """Ask, or hear the answer, as we are awake anyway."""
        if self._rest is None or self._rest.done():
            return
        try:
            if self._asked_at is None:
                self._ask_in_turn()
            else:
                self._hear_in_turn()
        except BlockingIOError:  # not yet
            return
        except OSError:
            self._rest.set_result(True)

    def _woken(self) -> None:
        """Take a turn of our own; an answer that is not there now is waited for."""
        was_asked = self._asked_at is not None
        self.turn()
        if was_asked and self._asked_at is not None and self._rest and not self._rest.done():
            self._rest.set_result(False)

    async def _look(self) -> Finding:
        """Return the next finding: rest, ask, and listen."""
        if self._connection is None:
            nobody = await self._meet()
            if nobody is not None:
                return nobody
        try:
            if self._asked_at is None and await self._ends_before_asking():
                return self._closed()
            if self._asked_at is None:
                await self._ask()
            return await self._listen(self._watch.timeout_us)
        except OSError:  # reset, or closed before we asked
            return self._closed()

    async def _meet(self) -> Finding | None:
        """Connect; else say what that tells."""
        if self._watch.fault:
            await self._clock.sleep(self._watch.pause_us)
        try:
            self._connection = self._connect()
        except BlockingIOError:  # nobody has accepted for so long that no more fit
            return await self._unaccepted(self._watch.timeout_us)
        except OSError as error:
            return Refused(f"haproxy at {self._path} {_why(error)}")
        self._asked_at = self._starved_us = None
        return None

    async def _ends_before_asking(self) -> bool:
        """Rest until it is to be asked, or was asked and is slow to answer."""
        if not self._watch.answers:
            return False
        if self._watch.fault:
            return await self._is_closed_within(self._watch.pause_us)
        return await self._rests()

    async def _ask(self) -> None:
        assert self._connection is not None
        await asyncio.get_running_loop().sock_sendall(self._connection, QUESTION)
        self._asked_at = self._clock.now()

    # -- while it serves -----------------------------------------------------------------

    async def _rests(self) -> bool:
        """Let turns ask and hear; return whether the connection ended, else an answer is late."""
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        rest: asyncio.Future[bool] = loop.create_future()
        self._rest = rest
        self._wake_within(ASK_EVERY_US)
        with select.epoll() as ends:
            ends.register(self._connection, select.EPOLLRDHUP)
            loop.add_reader(ends, self._ended)
            try:
                return await rest
            finally:
                loop.remove_reader(ends)
                self._rest = None
                self._wake_within(None)

    def _ended(self) -> None:
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(True)

    def _ask_in_turn(self) -> None:
        assert self._connection is not None
        if self._clock.now() - self._answered_at < ASK_AGAIN_US:
            return
        self._connection.send(QUESTION)
        self._asked_at = self._clock.now()
        self._wake_within(HEAR_WITHIN_US)

    def _hear_in_turn(self) -> None:
        assert self._connection is not None
        assert self._rest is not None
        assert self._asked_at is not None
        chunk = self._connection.recv(ANSWER_MAX)
        self._heard += chunk
        if not chunk or END not in self._heard:
            self._rest.set_result(not chunk)
            return
        self._watch = judged(self._watch, self._answered())
        self._wake_within(ASK_EVERY_US)

    def _wake_within(self, wait_us: Duration | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if wait_us is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(wait_us / SECOND, self._woken)

    def _answered(self) -> Answered:
        assert self._asked_at is not None
        self._answered_at = self._clock.now()
        took_us = self._answered_at - self._asked_at
        self._asked_at, self._starved_us, self._heard = None, None, b""
        return Answered(took_us)

    # -- waiting -------------------------------------------------------------------------

    async def _unaccepted(self, timeout_us: Duration) -> Finding:
        """Rest: the question that could not be put counts as asked since the first try."""
        if self._asked_at is None:
            self._asked_at = self._clock.now()
        await self._clock.sleep(timeout_us)
        return Silent(silent_us=self._clock.now() - self._asked_at, late_us=0)

    async def _listen(self, timeout_us: Duration) -> Finding:
        assert self._asked_at is not None
        if self._starved_us is None:
            self._starved_us = starved_us()
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
        return self._answered()

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
        self._connection, self._asked_at, self._starved_us, self._heard = None, None, None, b""


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
