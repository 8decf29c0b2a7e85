"""HAProxy's two sockets: one line to one of them, and its whole answer within a deadline."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shared.errors import SwitchError
from shared.instant import MILLISECOND, SECOND, Duration, milliseconds

# 0.1 ms is usual. A frozen HAProxy must not hold us up, and one that needs longer is of no use in
# a failover; what is not known after it is said to be unknown.
ANSWER_WITHIN_US: Duration = 500 * MILLISECOND
# 100 nodes x 20 services with all counters are 1.3 MB; what is longer is not an answer.
ANSWER_MAX = 8_388_608
CHUNK = 65_536


class NotRunningError(SwitchError):
    """Nobody has the socket open: HAProxy has not been started, or has ended."""


class HaproxySocket:
    """One of HAProxy's command lines; a new connection for each line costs 0.05 ms."""

    def __init__(self, path: Path, *, ends_after_line: bool = False) -> None:
        self.path = path
        # The master goes on listening until our side is closed; a worker ends by itself.
        self._ends_after_line = ends_after_line

    async def ask(
        self,
        line: str,
        *,
        within_us: Duration = ANSWER_WITHIN_US,
        may_send: Callable[[], bool] = lambda: True,
    ) -> str | None:
        """Return the answer to a line; None if `may_send` denied when all was ready."""
        first = _first_command(line)
        try:
            async with asyncio.timeout(within_us / SECOND):
                return await self._exchange(line, may_send)
        except TimeoutError:
            waited = f"{milliseconds(within_us):.0f} ms"
            raise self.error(f'did not answer "{first}" within {waited}; is it frozen?') from None
        except FileNotFoundError:
            raise NotRunningError(f"haproxy at {self.path} is not there: is it running?") from None
        except ConnectionRefusedError:
            text = "has no HAProxy behind it: is it running?"
            raise NotRunningError(f"haproxy at {self.path} {text}") from None
        except PermissionError:
            text = "may not be used by this user: run the switcher as the user of HAProxy"
            raise self.error(text) from None
        except OSError as error:
            raise self.error(f'failed at "{first}": {error.strerror or error}') from error

    def error(self, text: str) -> SwitchError:
        """Return an error that names this socket."""
        return SwitchError(f"haproxy at {self.path} {text}")

    async def _exchange(self, line: str, may_send: Callable[[], bool]) -> str | None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
            await loop.sock_connect(connection, str(self.path))
            if not may_send():
                return None
            await loop.sock_sendall(connection, line.encode())
            if self._ends_after_line:
                # It may have answered and left already; the answer is still ours to read.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            return await self._answer(connection)

    async def _answer(self, connection: socket.socket) -> str:
        loop = asyncio.get_running_loop()
        answer = bytearray()
        while chunk := await loop.sock_recv(connection, CHUNK):
            answer += chunk
            if len(answer) > ANSWER_MAX:
                raise self.error(f"answered more than {ANSWER_MAX} bytes, which is no answer")
        return answer.decode("utf-8", "replace")


def _first_command(line: str) -> str:
    """Return what to call a line in an error: its first command that does something."""
    commands = line.strip().split(";")
    return next((c for c in commands if not c.startswith("set severity")), commands[0])
