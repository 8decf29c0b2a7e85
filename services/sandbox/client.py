"""The open-loop client: sends on schedule whatever the answers do, and records every request.

Request number n is due at a fixed instant, and its latency counts from there: a service that
hangs cannot slow the questions down and so hide how long people waited (no coordinated
omission). Requests go to the virtual IPs in turn (where there are none, to the nodes); half of
them over new connections, half over kept ones; half to each service; one in ten is a POST with an
id that nobody else uses.

What is sent twice, and what never. A server may close a kept connection at the very moment at
which the next request is written to it; browsers then repeat the request on a new connection,
if it is safe (RFC 9110, section 9.2.2), and so do we, once, and only if no byte of an answer
came. A connection found closed before anything was written is simply not used. A POST that was
handed to a connection counts as sent, even if it perhaps never left: it is never repeated, it
failed. A request on a new connection is not repeated either.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

import orjson

from services.sandbox.loops import run
from services.sandbox.records import Method, Names, Record, RecordWriter, Result
from shared.clock import Clock, SystemClock
from shared.instant import MILLISECOND, SECOND, Duration, Instant

TIMEOUT_US: Duration = 2 * SECOND  # what is not there by then is lost to a person
FLUSH_EVERY_US: Duration = 50 * MILLISECOND  # so old may the picture of a reader be
# uvloop's timers are whole milliseconds; less is none, and the loop would spin.
PACE_MIN_US: Duration = MILLISECOND
WAITING_MAX = 8_192  # requests under way; more than 2 s of the highest sensible load
IDLE_MAX = 256  # kept connections per target
ANSWER_MAX = 64 * 1024  # bytes
UNSAFE_ONE_IN = 10
STATUS = re.compile(r"[1-9][0-9][0-9]")
SUCCESS = range(200, 300)


class Target(NamedTuple):
    """Where a request goes."""

    place: str  # the VIP, or the node where there are none
    service: str
    address: str
    port: int


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    content: bytes
    keep: bool
    size: int  # of head and content, in bytes


def parse_answer(received: bytes | bytearray) -> Answer | None:
    """Return the answer, None while it is incomplete; ValueError for what is none."""
    if len(received) > ANSWER_MAX:
        raise ValueError("more than anyone asked for")
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(received[:end]).decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ")
    if version != "HTTP/1.1" or not STATUS.fullmatch(status):
        raise ValueError("a status line is HTTP/1.1 STATUS REASON")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise ValueError("an answer needs its content-length")
    size = end + 4 + int(length)
    if len(received) < size:
        return None
    keep = headers.get("connection", "").lower() != "close"
    return Answer(int(status), bytes(received[end + 4 : size]), keep, size)


def judge(answer: Answer, target: Target, order: str | None) -> tuple[Result, str | None]:
    """Say whether an answer is the expected one, and who gave it."""
    if answer.status not in SUCCESS:
        return Result.STATUS, None
    try:
        content = orjson.loads(answer.content)
    except ValueError:
        return Result.BODY, None
    if not isinstance(content, dict):
        return Result.BODY, None
    by = content.get("instance")
    right = content.get("service") == target.service and isinstance(by, str)
    if not right or content.get("id") != order:
        return Result.BODY, None
    return Result.OK, by


def plan(number: int, targets: Sequence[Target]) -> tuple[Target, bool, Method]:
    """Return where request `number` goes, whether over a kept connection, and what it asks.

    Every lane (target, kind of connection) gets its turn, and its POSTs at another time.
    """
    lanes = 2 * len(targets)
    lane = number % lanes
    unsafe = (number // lanes + lane) % UNSAFE_ONE_IN == 0
    target = targets[lane % len(targets)]
    return target, lane >= len(targets), Method.POST if unsafe else Method.GET


@dataclass(eq=False, slots=True, kw_only=True)
class Exchange:
    """One request under way."""

    scheduled_at: Instant
    late_us: Duration
    target: Target
    method: Method
    keep: bool
    kept: bool = False  # it went over a connection that had carried others
    retried: bool = False
    ended: bool = False
    opening: asyncio.Task[None] | None = None
    connection: "Connection | None" = None

    @property
    def order(self) -> str | None:
        """The id that a POST carries."""
        return f"o{self.scheduled_at}" if self.method is Method.POST else None

    def words(self) -> bytes:
        """Return the request as it is sent."""
        close = "" if self.keep else "connection: close\r\n"
        host = f"host: {self.target.service}.test\r\n{close}"
        if self.method is Method.GET:
            return f"GET / HTTP/1.1\r\n{host}\r\n".encode()
        return f"POST /orders?id={self.order} HTTP/1.1\r\n{host}content-length: 0\r\n\r\n".encode()


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, load: "Load", exchange: Exchange) -> None:
        self._load = load
        self._target = exchange.target
        self._exchange: Exchange | None = exchange
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be written to it."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what the connection was opened for."""
        # A cast, since uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        assert self._exchange is not None
        if self._exchange.ended:
            self.abort()
        else:
            self.send(self._exchange)

    def send(self, exchange: Exchange) -> None:
        """Write a request."""
        assert self._transport is not None
        self._exchange = exchange
        exchange.connection = self
        self._transport.write(exchange.words())

    def data_received(self, data: bytes) -> None:
        """Judge an answer once it is complete."""
        exchange = self._exchange
        if exchange is None or exchange.ended:
            self.abort()  # nobody asked
            return
        self._received += data
        try:
            answer = parse_answer(self._received)
        except ValueError:
            self._load.end(exchange, Result.BODY)
            self.abort()
            return
        if answer is None:
            return
        result, by = judge(answer, exchange.target, exchange.order)
        clean = len(self._received) == answer.size
        self._exchange = None
        self._received.clear()
        self._load.end(exchange, result, by)
        if exchange.keep and answer.keep and clean:
            self._load.keep(self._target, self)
        elif self._transport:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Repeat what may be repeated; everything else has failed."""
        del exc
        self._transport = None
        self._load.forget(self._target, self)
        exchange, self._exchange = self._exchange, None
        if exchange is None or exchange.ended:
            return
        unanswered = not self._received
        if exchange.kept and unanswered and exchange.method is Method.GET and not exchange.retried:
            exchange.retried = True
            self._load.open(exchange)
        else:
            self._load.end(exchange, Result.RESET)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport:
            self._transport.abort()


@dataclass(eq=False, kw_only=True)
class Load:
    """The schedule, the connections that are kept, and what is under way."""

    targets: Sequence[Target]
    rate: int
    writer: RecordWriter
    clock: Clock
    nodes: frozenset[str]
    _waiting: deque[Exchange] = field(default_factory=deque)
    _idle: dict[Target, list[Connection]] = field(default_factory=dict)

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until told to stop; then wait for what is under way, as long as any may take."""
        begin_at = self.clock.now()
        number = 0
        due_at = begin_at
        flush_at = begin_at
        while not stopping.is_set():
            now = self.clock.now()
            while due_at <= now:
                self._begin(number, due_at, now)
                number += 1
                due_at = begin_at + number * SECOND // self.rate
            self._expire(now)
            if flush_at <= now:
                self.writer.flush(self._complete_until(due_at))
                flush_at = now + FLUSH_EVERY_US
            await self.clock.sleep(max(min(due_at, flush_at) - self.clock.now(), PACE_MIN_US))
        while self._waiting:
            await self.clock.sleep(FLUSH_EVERY_US)
            self._expire(self.clock.now())
        self.writer.flush(due_at)

    def _begin(self, number: int, due_at: Instant, now: Instant) -> None:
        target, keep, method = plan(number, self.targets)
        exchange = Exchange(
            scheduled_at=due_at, late_us=now - due_at, target=target, method=method, keep=keep
        )
        self._waiting.append(exchange)
        # A client that slept through a request's whole time does not send it: nobody waits.
        if len(self._waiting) > WAITING_MAX or now - due_at >= TIMEOUT_US:
            self.end(exchange, Result.UNSENT)
            return
        idle = self._idle.get(target, []) if keep else []
        while idle:
            connection = idle.pop()
            if connection.usable:
                exchange.kept = True
                connection.send(exchange)
                return
        self.open(exchange)

    def open(self, exchange: Exchange) -> None:
        """Open a new connection for a request."""
        exchange.opening = asyncio.get_running_loop().create_task(self._open(exchange))

    async def _open(self, exchange: Exchange) -> None:
        target = exchange.target
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Connection(self, exchange), target.address, target.port
            )
        except OSError:
            self.end(exchange, Result.REFUSED)

    def end(self, exchange: Exchange, result: Result, by: str | None = None) -> None:
        """Record how a request ended; what comes later does not count."""
        if exchange.ended:
            return
        exchange.ended = True
        if by is not None and by not in self.nodes:
            result, by = Result.BODY, None
        self.writer.add(
            Record(
                scheduled_at=exchange.scheduled_at,
                latency_us=self.clock.now() - exchange.scheduled_at,
                late_us=exchange.late_us,
                method=exchange.method,
                place=exchange.target.place,
                service=exchange.target.service,
                result=result,
                answered_by=by,
                kept=exchange.kept,
                retried=exchange.retried,
            )
        )

    def _expire(self, now: Instant) -> None:
        """End what is over time. All wait equally long, so the first due are the first to go."""
        waiting = self._waiting
        while waiting and (waiting[0].ended or waiting[0].scheduled_at + TIMEOUT_US <= now):
            exchange = waiting.popleft()
            if exchange.ended:
                continue
            self.end(exchange, Result.TIMED_OUT)
            if exchange.opening:
                exchange.opening.cancel()
            if exchange.connection:
                exchange.connection.abort()

    def _complete_until(self, due_at: Instant) -> Instant:
        return self._waiting[0].scheduled_at if self._waiting else due_at

    def keep(self, target: Target, connection: Connection) -> None:
        """Keep a connection for a later request."""
        idle = self._idle.setdefault(target, [])
        if len(idle) < IDLE_MAX:
            idle.append(connection)
        else:
            connection.abort()

    def forget(self, target: Target, connection: Connection) -> None:
        """Take a closed connection out of those that are kept."""
        idle = self._idle.get(target, [])
        if connection in idle:
            idle.remove(connection)


def read_targets(content: Mapping[str, Mapping[str, object]]) -> list[Target]:
    """Return the targets in turn: every place, and every service there."""
    addresses, ports = content.get("vips") or content["nodes"], content["services"]
    return [
        Target(place, service, str(address), int(str(port)))
        for service, port in ports.items()
        for place, address in addresses.items()
    ]


async def ask(load: Load) -> None:
    """Run the load until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, stopping.set)
    print(json.dumps({"event": "ready"}), flush=True)
    await load.run(stopping)


def main(arguments: Sequence[str]) -> int:
    """Run the client.

    Its plan is a file, {"nodes": {NAME: ADDRESS}, "vips": the same, "services": {NAME: PORT}}.
    """
    parser = argparse.ArgumentParser(prog="client", allow_abbrev=False)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--records", type=Path, required=True)
    options = parser.parse_args(arguments)
    content = json.loads(options.plan.read_bytes())
    nodes, services = tuple(content["nodes"]), tuple(content["services"])
    names = Names(nodes, services, tuple(content.get("vips", ())))
    writer = RecordWriter(options.records, names)
    load = Load(
        targets=read_targets(content),
        rate=options.rate,
        writer=writer,
        clock=SystemClock(),
        nodes=frozenset(nodes),
    )
    try:
        run(ask(load))
    finally:
        writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
