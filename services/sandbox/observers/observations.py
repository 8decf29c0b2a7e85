"""What the observers write, a line of JSON each, and how drills read it.

A `Look` is one node at one moment: what was so at some instant between `begin_at` and `end_at`.
An `Asked` is one question on the wire with all its answers; it is written when no answer can
come any more, so the last line's question says how far the picture is complete.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import orjson

from shared.errors import StateError
from shared.instant import Instant

# At 28 KB/s 40 minutes; then the file is put aside as FILE.old and begun anew.
FILE_SIZE_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One node, as its kernel says."""

    node: str
    begin_at: Instant
    end_at: Instant
    open: frozenset[str] = frozenset()  # VIPs for which the guard lets traffic pass
    present: frozenset[str] = frozenset()  # VIPs whose address is there
    guarded: bool = True  # False: no guard stands, so that everything passes
    events: int = 0  # that the kernel told since the look before

    @property
    def holds(self) -> frozenset[str]:
        """The VIPs that this node answers for, if it is reached."""
        return self.present & self.open if self.guarded else self.present


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question who has a VIP."""

    vip: str
    at: Instant
    answers: tuple[tuple[Instant, str], ...] = ()  # when, and who: a node, or a hardware address


Observation: TypeAlias = Look | Asked


def encode(observation: Observation) -> bytes:
    """Return an observation's line."""
    fields: dict[str, object]
    if isinstance(observation, Look):
        fields = {
            "look": observation.node,
            "at": [observation.begin_at, observation.end_at],
            "open": sorted(observation.open),
            "present": sorted(observation.present),
            "guarded": observation.guarded,
            "events": observation.events,
        }
    else:
        fields = {"asked": observation.vip, "at": observation.at, "answers": observation.answers}
    return orjson.dumps(fields) + b"\n"


def decode(line: bytes) -> Observation:
    """Read a line."""
    try:
        fields = orjson.loads(line)
        if "asked" in fields:
            answers = tuple((int(at), str(who)) for at, who in fields["answers"])
            return Asked(vip=fields["asked"], at=fields["at"], answers=answers)
        begin_at, end_at = fields["at"]
        return Look(
            node=fields["look"],
            begin_at=begin_at,
            end_at=end_at,
            open=frozenset(fields["open"]),
            present=frozenset(fields["present"]),
            guarded=fields["guarded"],
            events=fields["events"],
        )
    except (ValueError, KeyError, TypeError) as problem:
        raise StateError(f"{line[:80]!r} is no observation: {problem}") from problem


class Writer:
    """Appends observations: collected in memory, written by one call."""

    def __init__(self, path: Path, *, size_max: int = FILE_SIZE_MAX) -> None:
        self._path = path
        self._size_max = size_max
        self._pending = bytearray()
        self._file = self._open()

    def _open(self) -> int:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def add(self, observation: Observation) -> None:
        """Keep an observation for the next flush."""
        self._pending += encode(observation)

    def flush(self) -> None:
        """Write what was added."""
        if self._pending:
            os.write(self._file, self._pending)
            self._pending.clear()
        if os.fstat(self._file).st_size >= self._size_max:
            self._path.replace(self._path.with_name(self._path.name + ".old"))
            os.close(self._file)
            self._file = self._open()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


class Reader:
    """Follows the file of observers that go on writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._rest = b""

    def read(self) -> list[Observation]:
        """Return what is new, in the order in which it was written."""
        found: list[Observation] = []
        while self._file is not None or self._open():
            replaced = self._replaced()  # asked first: what it still got is read below
            found.extend(decode(line) for line in self._lines())
            if not replaced:
                break
            self.close()
        return found

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._rest = b""
        return True

    def _replaced(self) -> bool:
        assert self._file is not None
        try:
            return not os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def _lines(self) -> Iterator[bytes]:
        assert self._file is not None
        content = self._rest
        while chunk := os.read(self._file, 1 << 20):
            content += chunk
        *lines, self._rest = content.split(b"\n")
        yield from lines

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
