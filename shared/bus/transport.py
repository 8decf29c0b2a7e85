"""The TCP connection under nats-py: noticed to be dead, and then let go at once."""

import socket
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

# What we sent and nobody acknowledged for so long has met a silent cut: reconnect at once. 0.7 s
# are three of TCP's retransmissions (0.2, 0.4, …), so that one lost packet does not cost a link.
UNACKNOWLEDGED_MAX_MS = 700


class Transport(TcpTransport):
    """A TCP connection that is noticed to be dead, and then let go at once."""

    def __bool__(self) -> bool:
        return True  # or nats-py takes one of its own for the first connection

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect, and let the kernel end it when nothing is acknowledged any more."""
        self.close()  # nats-py forgets one that connected and then gave no greeting
        await super().connect(uri, buffer_size, connect_timeout)
        assert self._bare_io_writer is not None
        connection = self._bare_io_writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MAX_MS)

    async def readline(self) -> bytes:
        """Read a line; whatever nats-py does not expect would end its reconnecting for ever."""
        assert self._io_reader is not None
        try:
            line = await self._io_reader.readline()
        except ValueError as error:
            raise NatsError(f"greeted by something that is not NATS: {error}") from error
        if line.startswith(b"INFO ") and not line.startswith(b"INFO {"):
            raise NatsError("greeted by something that is not NATS: no object after INFO")
        return line

    def close(self) -> None:
        """Abort: a polite close waits for a peer that is gone (with TLS 30.7 s, measured).

        What must arrive was echoed before.
        """
        if self._io_writer is not None:
            self._io_writer.transport.abort()
