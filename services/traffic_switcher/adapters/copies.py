"""A small file that must not be lost: two copies, written in turn, so that one is always whole."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from shared.errors import StateError

Content = TypeVar("Content")

_ROOM = "make room on its file system"
MENDS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: "mount its file system writable",
    errno.EACCES: "let the user that the switcher runs as write there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec(Generic[Content]):
    """How a content becomes bytes with the number of its writing, and comes back."""

    to_bytes: Callable[[Content, int], bytes]
    from_bytes: Callable[[bytes], tuple[int, Content]]
    size_max: int


class Copies(Generic[Content]):
    """A power cut can tear only the copy that was being written: the older one.

    Each copy is written in place. Beside a new file that takes the old one's name this saves two
    commits of the file system's journal, on the way from a failure to its mend.
    """

    def __init__(self, directory: Path, names: tuple[str, str], codec: Codec[Content]) -> None:
        self._directory = directory
        self._names = names
        self._codec = codec
        self._generation = 0
        self._next = names[0]  # the one that may be lost

    def read(self) -> tuple[Content | None, tuple[str, ...]]:
        """Return the newest whole copy, and what was wrong with what could not be used.

        None without complaints is a new member; with complaints it is one that must join as new.
        """
        newest: Content | None = None
        complaints: list[str] = []
        for copy, other in (self._names, self._names[::-1]):
            try:
                generation, content = self._read(self._directory / copy)
            except FileNotFoundError:
                continue
            except StateError as error:
                complaints.append(f"{self._directory / copy} {error}")
                continue
            if generation > self._generation:
                self._generation, self._next, newest = generation, other, content
        return newest, tuple(complaints)

    def write(self, content: Content) -> None:
        """Return only when it is on the disk; raise `StateError` if it is not."""
        written = self._codec.to_bytes(content, self._generation + 1)
        path = self._directory / self._next
        try:
            _write(path, written)
        except OSError as error:
            why = error.strerror or str(error)
            mend = f": {MENDS[error.errno]}" if error.errno in MENDS else ""
            raise StateError(f"{path} cannot be written: {why}{mend}") from error
        self._generation += 1
        self._next = self._names[0] if self._next == self._names[1] else self._names[1]

    def _read(self, path: Path) -> tuple[int, Content]:
        size_max = self._codec.size_max
        try:
            with path.open("rb") as file:
                content = file.read(size_max + 1)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StateError(f"cannot be read: {error.strerror}") from error
        if len(content) > size_max:
            raise StateError(f"has more than {size_max} bytes")
        return self._codec.from_bytes(content)


def _write(path: Path, content: bytes) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, content[written:], written)
        if os.fstat(descriptor).st_size > len(content):
            os.ftruncate(descriptor, len(content))
        # Its size as well, should it have changed; what else it flushes nobody needs.
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make a new name last as long as what it names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
