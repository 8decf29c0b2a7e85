"""One TCP connection on the bare event loop.

Not asyncio's transports: a probe is one write and one read, and everything that a transport adds
(buffers, tasks, three objects a connection) costs more than the probe itself; error numbers
arrive here as the kernel gave them.
"""

import asyncio
import errno
import socket
from typing import Protocol

READ_SIZE = 16_384
UNDER_WAY = (0, errno.EINPROGRESS)
ORDERLY = 0  # the error number of a connection that the other end closed


class Listener(Protocol):
    """Who hears what becomes of a connection; nothing is heard after its end."""

    def opened(self) -> None:
        """Hear that the other end accepted."""

    def received(self, data: bytes) -> None:
        """Hear bytes that came."""

    def ended(self, code: int) -> None:
        """Hear of a failure by its number, or that the other end closed it (`ORDERLY`)."""


class Connection:
    """A connection to an address; connecting begins at once."""

    def __init__(self, address: str, port: int, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._reading = False
        self._ended = False
        code = self._connect(address, port)
        if code not in UNDER_WAY:
            # Never from within the constructor: the caller does not have us yet.
            self._loop.call_soon(self._end, code)

    def send(self, data: bytes) -> None:
        """Send a few bytes, which the kernel always takes on a fresh connection."""
        assert self._socket is not None
        try:
            sent = self._socket.send(data)
        except OSError as error:
            self._loop.call_soon(self._end, error.errno or errno.EPIPE)
            return
        assert sent == len(data)

    def close(self) -> None:
        """Close it, whatever it is about; nothing more is heard of it."""
        self._ended = True
        if self._socket is None:
            return
        if self._reading:
            self._loop.remove_reader(self._socket)
        else:
            self._loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None

    def _connect(self, address: str, port: int) -> int:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            return error.errno or errno.EMFILE
        code = opened.connect_ex((address, port))
        if code not in UNDER_WAY:
            opened.close()
            return code
        self._socket = opened
        self._loop.add_writer(opened, self._connected)
        return code

    def _connected(self) -> None:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end(code)
            return
        self._loop.remove_writer(self._socket)
        self._loop.add_reader(self._socket, self._readable)
        self._reading = True
        self._listener.opened()

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.errno or errno.ECONNRESET)
            return
        if data:
            self._listener.received(data)
        else:
            self._end(ORDERLY)

    def _end(self, code: int) -> None:
        if self._ended:
            return
        self._ended = True
        self.close()
        self._listener.ended(code)
