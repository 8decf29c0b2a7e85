"""The persisted plan: two copies, written in turn, so that one is always whole."""

import os
from pathlib import Path

from services.traffic_switcher.core.plan_file import SIZE_MAX, from_bytes, to_bytes
from services.traffic_switcher.core.state import Memory
from shared.errors import StateError

COPIES = ("plan.1", "plan.2")


class PlanStore:
    """One node's file. A power cut can tear only the copy that was being written: the older one.

    Each copy is written in place. Beside a new file that takes the old one's name this saves two
    commits of the file system's journal, on the way from a failure to its mend.
    """

    def __init__(self, directory: Path, *, cluster: str, node: str) -> None:
        self._directory = directory
        self._cluster = cluster
        self._node = node
        self._generation = 0
        self._next = COPIES[0]  # the one that may be lost

    def read(self) -> tuple[Memory | None, tuple[str, ...]]:
        """Return the newest whole copy, and what was wrong with what could not be used.

        None without complaints is a new member; with complaints it is one that must join as new.
        """
        newest: Memory | None = None
        complaints: list[str] = []
        for copy, other in (COPIES, COPIES[::-1]):
            try:
                generation, memory = self._read(self._directory / copy)
            except FileNotFoundError:
                continue
            except StateError as error:
                complaints.append(f"{self._directory / copy} {error}")
                continue
            if generation > self._generation:
                self._generation, self._next, newest = generation, other, memory
        return newest, tuple(complaints)

    def write(self, memory: Memory) -> None:
        """Return only when it is on the disk; raise `StateError` if it is not."""
        content = to_bytes(
            memory, cluster=self._cluster, node=self._node, generation=self._generation + 1
        )
        path = self._directory / self._next
        try:
            _write(path, content)
        except OSError as error:
            raise StateError(f"{path} cannot be written: {error.strerror or error}") from error
        self._generation += 1
        self._next = COPIES[0] if self._next == COPIES[1] else COPIES[1]

    def _read(self, path: Path) -> tuple[int, Memory]:
        try:
            with path.open("rb") as file:
                content = file.read(SIZE_MAX + 1)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StateError(f"cannot be read: {error.strerror}") from error
        if len(content) > SIZE_MAX:
            raise StateError(f"has more than {SIZE_MAX} bytes")
        return from_bytes(content, cluster=self._cluster, node=self._node)


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
