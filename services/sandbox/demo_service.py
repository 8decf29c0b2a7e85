"""A demo service: an application as a load balancer sees one, with a journal of what it did.

    GET  /                 who answers: service, instance, version, served
    POST /orders?id=ID     does something once: ID is in the journal before the answer leaves
    GET  /healthz          200
    GET  /version          the version, as text

SIGUSR1 makes it answer 500 to everything, SIGUSR2 lets it work again, SIGSTOP hangs it.
It never looks whether an id came before: if a load balancer repeats a POST, the journal shows it.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from services.sandbox.loops import run
from shared.instant import MILLISECOND, SECOND

HEAD_MAX = 8 * 1024  # bytes of request line and headers: what most servers take
BODY_MAX = 64 * 1024
CONNECTIONS_MAX = 4_096  # beyond it a newcomer is closed at once
REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) (HTTP/1\.[01])")
ORDER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
REASONS = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}


class Request(NamedTuple):
    """What of a request matters here."""

    method: str
    path: str
    query: str
    keep: bool  # the connection stays open afterwards
    length: int  # of the body


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    content: bytes
    kind: str = "application/json"


class RefusedError(Exception):
    """The bytes are no request that we take; the connection ends after the answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.answer = Answer(status, json.dumps({"error": why}).encode())


def parse_head(head: bytes) -> Request:
    """Read a request's head, without its empty line; raise for what is none."""
    lines = head.decode("latin-1").split("\r\n")
    asked = REQUEST_LINE.fullmatch(lines[0])
    if asked is None:
        raise RefusedError(400, "a request line is METHOD TARGET HTTP/1.1")
    method, target, version = asked.groups()
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise RefusedError(400, "a header is NAME: VALUE")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise RefusedError(501, "a body comes with its content-length here")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise RefusedError(400, "content-length must be a whole number")
    if len(length) > len(str(BODY_MAX)) or int(length) > BODY_MAX:
        raise RefusedError(413, f"a body has at most {BODY_MAX} bytes")
    wish = headers.get("connection", "").lower()
    keep = wish != "close" if version == "HTTP/1.1" else wish == "keep-alive"
    try:
        split = urlsplit(target)
    except ValueError:
        raise RefusedError(400, "the target is no path") from None
    return Request(method, split.path, split.query, keep, int(length))


@dataclass(slots=True, kw_only=True)
class Instance:
    """The application: one instance of a service on one node."""

    service: str
    node: str
    version: str
    journal: int  # descriptor, opened for appending
    served: int = 0
    failing: bool = False

    def answer(self, request: Request) -> Answer:
        """Do what is asked, and say so."""
        if self.failing:
            return Answer(500, b'{"error":"told to fail by a signal"}')
        if request.path == "/orders":
            return self._order(request)
        if request.method not in {"GET", "HEAD"}:
            return Answer(405, b'{"error":"only GET here, but for POST /orders"}')
        return self._page(request.path)

    def _page(self, path: str) -> Answer:
        match path:
            case "/":
                self.served += 1
                return Answer(200, self._introduction())
            case "/healthz":
                return Answer(200, b'{"healthy":true}')
            case "/version":
                return Answer(200, self.version.encode(), "text/plain")
            case _:
                return Answer(404, b'{"error":"there are /, /orders, /healthz and /version"}')

    def _order(self, request: Request) -> Answer:
        if request.method != "POST":
            return Answer(405, b'{"error":"only POST here"}')
        order = parse_qs(request.query).get("id", [""])[0]
        if not ORDER_ID.fullmatch(order):
            return Answer(400, b'{"error":"an order is POST /orders?id=ID"}')
        # One write to a descriptor in append mode is whole or not there, even after kill -9.
        os.write(self.journal, f"{order}\n".encode())
        self.served += 1
        return Answer(201, self._introduction(f',"id":"{order}"'))

    def _introduction(self, more: str = "") -> bytes:
        return (
            f'{{"service":"{self.service}","instance":"{self.node}",'
            f'"version":"{self.version}","served":{self.served}{more}}}'
        ).encode()


class HttpConnection(asyncio.Protocol):
    """One connection: requests one after the other, each answered before the next is read."""

    def __init__(self, instance: Instance, delay_us: int, everyone: "set[HttpConnection]") -> None:
        self._instance = instance
        self._delay_us = delay_us
        self._everyone = everyone
        self._received = bytearray()
        self._answering = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many of us."""
        # A cast, since uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if len(self._everyone) >= CONNECTIONS_MAX:
            self._transport.abort()
        self._everyone.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._transport = None
        self._everyone.discard(self)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete; stop reading from those who send more than one could want."""
        self._received += data
        if len(self._received) > HEAD_MAX + BODY_MAX and self._transport:
            self._transport.pause_reading()
        self._proceed()

    def eof_received(self) -> bool:
        """Keep our side open while an answer is under way."""
        return self._answering

    def _proceed(self) -> None:
        while self._transport and not self._transport.is_closing() and not self._answering:
            try:
                request = self._take()
            except RefusedError as refusal:
                self._send(refusal.answer, keep=False, head_only=False)
                return
            if request is None:
                self._transport.resume_reading()
                return
            if self._delay_us:
                self._answering = True
                loop = asyncio.get_running_loop()
                loop.call_later(self._delay_us / SECOND, self._answer, request)
            else:
                self._answer(request)

    def _take(self) -> Request | None:
        """Take one whole request off what was received."""
        end = self._received.find(b"\r\n\r\n", 0, HEAD_MAX)
        if end < 0:
            if len(self._received) >= HEAD_MAX:
                raise RefusedError(431, f"a head has at most {HEAD_MAX} bytes")
            return None
        request = parse_head(bytes(self._received[:end]))
        whole = end + 4 + request.length
        if len(self._received) < whole:
            return None
        del self._received[:whole]
        return request

    def _answer(self, request: Request) -> None:
        delayed, self._answering = self._answering, False
        if self._transport is None:
            return
        answer = self._instance.answer(request)
        self._send(answer, keep=request.keep, head_only=request.method == "HEAD")
        if delayed:
            self._proceed()

    def _send(self, answer: Answer, *, keep: bool, head_only: bool) -> None:
        assert self._transport is not None
        head = (
            f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\n"
            f"content-type: {answer.kind}\r\ncontent-length: {len(answer.content)}\r\n"
            f"connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        ).encode()
        self._transport.write(head if head_only else head + answer.content)
        if not keep:
            self._transport.close()

    def finish(self) -> None:
        """Close, after what is already written."""
        if self._transport:
            self._transport.close()


async def serve(instance: Instance, address: str, port: int, delay_us: int) -> None:
    """Serve until SIGTERM or SIGINT; say `ready` with the port once connections are taken."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    connections: set[HttpConnection] = set()
    loop.add_signal_handler(signal.SIGUSR1, setattr, instance, "failing", True)  # noqa: FBT003
    loop.add_signal_handler(signal.SIGUSR2, setattr, instance, "failing", False)  # noqa: FBT003
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, stopping.set)
    server = await loop.create_server(
        lambda: HttpConnection(instance, delay_us, connections), address, port, backlog=1_024
    )
    print(json.dumps({"event": "ready", "port": server.sockets[0].getsockname()[1]}), flush=True)
    await stopping.wait()
    server.close()
    for connection in list(connections):
        connection.finish()


def main(arguments: Sequence[str]) -> int:
    """Run one instance."""
    parser = argparse.ArgumentParser(prog="demo_service", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", default="1.0")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--delay-ms", type=int, default=0, help="before each answer")
    options = parser.parse_args(arguments)
    try:
        journal = os.open(options.journal, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        instance = Instance(
            service=options.name, node=options.node, version=options.version, journal=journal
        )
        run(serve(instance, options.address, options.port, options.delay_ms * MILLISECOND))
    except OSError as problem:
        print(f"demo_service: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
