"""The TCP connection under nats-py: noticed to be dead and then let go at once, and a short way.

nats-py hands every message from a task that reads to a queue and from there to another task, and
whatever is published to a third that writes: three more turns of the event loop, each of which
looks into the kernel again. At a few dozen messages a second these turns cost more than all that
is done with the messages. So what a subscription of ours hears is *sorted out* here, in the call
that brings the bytes, and what we publish is written at once. The greeting, the pings, errors and
answers to requests stay nats-py's: it gets every byte that is not sorted out, in whole lines.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

# What we sent and nobody acknowledged for so long has met a silent cut: reconnect at once. 0.7 s
# are three of TCP's retransmissions (0.2, 0.4, …), so that one lost packet does not cost a link.
UNACKNOWLEDGED_MAX_MS = 700
# What may wait to be written: a plan of 0.1 MB for each of 100 nodes, and again. A server that
# reads nothing for two seconds is given up anyway.
UNWRITTEN_MAX = 32 * 1_048_576
# After so many bytes at once others have their turn first: some 200 messages, 10 ms of work.
TURN_MAX = 65_536
LINE_MAX = 32_768  # as nats-py's own; the longest is a greeting that names many servers

_END = b"\r\n"
# Subject, subscription, where an answer goes, bytes of headers, bytes in all.
_PLAIN = re.compile(rb"MSG (\S+) (\S+) (?:(\S+) )?()(\d{1,9})")
_WITH_HEADERS = re.compile(rb"HMSG (\S+) (\S+) (?:(\S+) )?(\d{1,9}) (\d{1,9})")

# Subject, payload, where an answer goes ("": none is wanted). Must not raise.
Hear: TypeAlias = Callable[[str, bytes, str], None]


class Transport(TcpTransport):
    """A TCP connection that is noticed to be dead, and whose messages take no detour."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._hears: dict[bytes, Hear] = {}

    def __bool__(self) -> bool:
        return True  # or nats-py takes one of its own for the first connection

    def sort_out(self, subscription: int, hear: Hear) -> None:
        """Hear a subscription's messages without nats-py, over reconnections too."""
        self._hears[str(subscription).encode()] = hear

    def say(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> bool:
        """Publish at once; False if nobody would read it."""
        assert self._io_writer is not None
        writing = self._io_writer.transport
        if writing.is_closing() or writing.get_write_buffer_size() > UNWRITTEN_MAX:
            return False
        if headers:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"NATS/1.0\r\n{lines}\r\n"
            line = f"HPUB {subject} {len(head)} {len(head) + len(payload)}\r\n{head}"
        else:
            line = f"PUB {subject} {len(payload)}\r\n"
        writing.write(b"%b%b\r\n" % (line.encode(), payload))
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connect, and let the kernel end it when nothing is acknowledged any more."""
        self.close()  # nats-py forgets one that connected and then gave no greeting
        loop = asyncio.get_running_loop()
        sorter = _Sorter(self._hears, buffer_size)
        connecting = loop.create_connection(lambda: sorter, uri.hostname or "", uri.port or 0)
        transport, _ = await asyncio.wait_for(connecting, connect_timeout)
        writer = asyncio.StreamWriter(transport, sorter, sorter.reader, loop)
        # The first stays referred to, lest it is closed when TLS takes its place.
        self._bare_io_reader = self._io_reader = sorter.reader
        self._bare_io_writer = self._io_writer = writer
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MAX_MS)

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: int,
    ) -> None:
        """Go on under TLS, where the server asks for it."""
        assert self._io_writer is not None
        loop = asyncio.get_running_loop()
        sorter = _Sorter(self._hears, buffer_size)
        hostname = uri if isinstance(uri, str) else uri.hostname
        starting = loop.start_tls(
            self._io_writer.transport, sorter, ssl_context, server_hostname=hostname
        )
        transport = await asyncio.wait_for(starting, connect_timeout)
        assert transport is not None
        sorter.connection_made(transport)
        self._io_reader = sorter.reader
        self._io_writer = asyncio.StreamWriter(transport, sorter, sorter.reader, loop)

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


class _Sorter(asyncio.StreamReaderProtocol):
    """Takes our messages out of the stream of bytes; the rest is for whoever reads it."""

    def __init__(self, hears: Mapping[bytes, Hear], buffer_size: int) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(limit=buffer_size, loop=loop)
        super().__init__(self.reader, loop=loop)
        self._hears = hears
        self._loop = loop
        self._bytes: asyncio.Transport | None = None
        self._begun = b""  # of a line or a message whose end is still to come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember what brings the bytes."""
        self._bytes = cast("asyncio.Transport", transport)  # uvloop's is one only in its ways
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Sort out what is ours."""
        if len(data) >= TURN_MAX and self._bytes is not None:
            self._bytes.pause_reading()
            self._loop.call_soon(self._go_on)
        if self._begun:
            data = self._begun + data
        at = 0
        while (line_end := data.find(_END, at, at + LINE_MAX)) >= 0:
            end = self._take(data, at, line_end)
            if end > len(data):
                break
            at = end
        self._begun = data[at:]
        if line_end < 0 and len(self._begun) >= LINE_MAX:
            self._pass_on(self._begun)  # not NATS: nats-py will say so
            self._begun = b""

    def _take(self, data: bytes, at: int, line_end: int) -> int:
        """Take one line, or message, if it is there as a whole; return where it ends."""
        begin = line_end + len(_END)
        kind = _WITH_HEADERS if data.startswith(b"H", at) else _PLAIN
        head = kind.fullmatch(data, at, line_end)
        if head is None:
            self._pass_on(data[at:begin])
            return begin
        subject, subscription, reply, headers, size = head.groups()
        payload_end = begin + int(size)
        end = payload_end + len(_END)
        if end > len(data):
            return end
        hear = self._hears.get(subscription)
        if hear is None:
            self._pass_on(data[at:end])
        else:
            payload = data[begin + int(headers or 0) : payload_end]
            hear(_text(subject), payload, _text(reply or b""))
        return end

    def _pass_on(self, data: bytes) -> None:
        super().data_received(data)

    def _go_on(self) -> None:
        assert self._bytes is not None
        if not self._bytes.is_closing():
            self._bytes.resume_reading()


def _text(word: bytes) -> str:
    # What is no text is on no subject of ours, and refused for it.
    return word.decode(errors="replace")
