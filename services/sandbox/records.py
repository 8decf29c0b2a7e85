"""What the client saw, request by request: 32 bytes each, appended to one file.

A record is written when its request ends. Between them stand *marks*, which say that every
request due before an instant has ended, so that a reader knows when a window is complete.
The first line of the file names what the records refer to by number.
"""

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from shared.errors import StateError
from shared.instant import Duration, Instant

LAYOUT = struct.Struct("<qIIBBBBBB10x")
HEADER_SIZE = 1_024  # fixed, so that records begin at a known place
NOBODY = 255  # no instance answered
# 64 MiB are half an hour at 1,000/s; then the file is put aside as FILE.old and begun anew.
FILE_SIZE_MAX = 64 * 1024 * 1024
UINT32_MAX = 2**32 - 1


class Method(IntEnum):
    """What was asked: a safe request may be repeated, an unsafe one never."""

    GET = 0
    POST = 1
    MARK = 255  # no request: see above


class Result(IntEnum):
    """How a request ended."""

    OK = 0  # 2xx with the expected body in time
    REFUSED = 1  # no connection
    RESET = 2  # the connection ended before the answer did
    TIMED_OUT = 3
    STATUS = 4  # an answer that is not 2xx
    BODY = 5  # an answer that is not the one to this request
    UNSENT = 6  # too many were waiting already


class Record(NamedTuple):
    """One request. Instants are CLOCK_MONOTONIC, the same in all namespaces."""

    scheduled_at: Instant  # when it was due, whether or not the client was in time
    latency_us: Duration  # from then until it ended
    late_us: Duration  # of it, the client's own lateness in sending
    method: Method
    place: str  # the VIP whose address was asked; a node where there are none
    service: str
    result: Result
    answered_by: str | None  # the instance's node
    kept: bool  # it went over a connection that had carried others
    retried: bool  # it was sent again, as browsers do: safe, and over a kept connection

    @property
    def ok(self) -> bool:
        """Whether the client got what it asked for."""
        return self.result is Result.OK

    @property
    def safe(self) -> bool:
        """Whether it could be repeated without doing anything twice."""
        return self.method is Method.GET

    @property
    def ended_at(self) -> Instant:
        """When the client knew its result."""
        return self.scheduled_at + self.latency_us

    @property
    def order(self) -> str:
        """The id that a POST carried: no two requests are due in the same microsecond."""
        return f"o{self.scheduled_at}"


@dataclass(frozen=True, slots=True)
class Names:
    """What records refer to by number."""

    nodes: tuple[str, ...]
    services: tuple[str, ...]
    vips: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Where requests go: to the VIPs, or to the nodes where there are none."""
        return self.vips or self.nodes

    def encode(self) -> bytes:
        """Return the file's head."""
        line = json.dumps(
            {"nodes": self.nodes, "services": self.services, "vips": self.vips}
        ).encode()
        assert len(line) < HEADER_SIZE
        return line.ljust(HEADER_SIZE - 1) + b"\n"

    @classmethod
    def decode(cls, head: bytes) -> "Names":
        """Read the file's head."""
        try:
            content = json.loads(head)
            return cls(*(tuple(content[name]) for name in ("nodes", "services", "vips")))
        except (ValueError, KeyError, TypeError) as problem:
            raise StateError(f"no records of a sandbox's client begin like that: {problem}") from (
                problem
            )


def encode(names: Names, record: Record) -> bytes:
    """Return a record's bytes."""
    by = NOBODY if record.answered_by is None else names.nodes.index(record.answered_by)
    return LAYOUT.pack(
        record.scheduled_at,
        min(record.latency_us, UINT32_MAX),
        min(record.late_us, UINT32_MAX),
        record.method,
        names.places.index(record.place),
        names.services.index(record.service),
        record.result,
        by,
        record.kept | record.retried << 1,
    )


def encode_mark(complete_until: Instant) -> bytes:
    """Return the bytes which say that all requests due before an instant have ended."""
    return LAYOUT.pack(complete_until, 0, 0, Method.MARK, 0, 0, 0, 0, 0)


def decode(names: Names, content: bytes) -> Iterator[Record | Instant]:
    """Read records, and marks as bare instants."""
    for scheduled, latency, late, method, place, service, result, by, flags in LAYOUT.iter_unpack(
        content
    ):
        if method == Method.MARK:
            yield scheduled
            continue
        yield Record(
            scheduled_at=scheduled,
            latency_us=latency,
            late_us=late,
            method=Method(method),
            place=names.places[place],
            service=names.services[service],
            result=Result(result),
            answered_by=None if by == NOBODY else names.nodes[by],
            kept=bool(flags & 1),
            retried=bool(flags & 2),
        )


class RecordWriter:
    """Appends records: collected in memory, written by one call, a few times a second."""

    def __init__(self, path: Path, names: Names, *, size_max: int = FILE_SIZE_MAX) -> None:
        self._path = path
        self._names = names
        self._size_max = size_max
        self._pending = bytearray()
        self._file = self._open()

    def _open(self) -> int:
        file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(file).st_size == 0:
            os.write(file, self._names.encode())
        return file

    def add(self, record: Record) -> None:
        """Keep a record for the next flush."""
        self._pending += encode(self._names, record)

    def flush(self, complete_until: Instant) -> None:
        """Write what was added, and how far the picture is complete."""
        self._pending += encode_mark(complete_until)
        os.write(self._file, self._pending)
        self._pending.clear()
        if os.fstat(self._file).st_size >= self._size_max:
            self._path.replace(self._path.with_name(self._path.name + ".old"))
            os.close(self._file)
            self._file = self._open()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


class RecordReader:
    """Follows the file of a client that goes on writing, from where it stands to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._names: Names | None = None
        self._rest = b""
        self.complete_until: Instant = 0  # all requests due before it were read

    def read(self, keep: Callable[[Record], bool] = lambda _: True) -> list[Record]:
        """Return the new records that are wanted."""
        found: list[Record] = []
        while True:
            if self._file is None and not self._open():
                return found
            assert self._file is not None
            replaced = self._replaced()  # asked first: what it still got is read below
            for item in self._decode():
                if isinstance(item, Record):
                    if keep(item):
                        found.append(item)
                else:
                    self.complete_until = max(self.complete_until, item)
            if not replaced:
                return found
            self.close()

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._names, self._rest = None, b""
        return True

    def _replaced(self) -> bool:
        assert self._file is not None
        try:
            return not os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def _decode(self) -> Iterator[Record | Instant]:
        assert self._file is not None
        content = self._rest
        while chunk := os.read(self._file, 1 << 20):
            content += chunk
        if self._names is None:
            if len(content) < HEADER_SIZE:
                self._rest = content
                return
            self._names = Names.decode(content[:HEADER_SIZE])
            content = content[HEADER_SIZE:]
        whole = len(content) - len(content) % LAYOUT.size
        self._rest = content[whole:]
        yield from decode(self._names, content[:whole])

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
