"""The persisted plan: `plan.json`, and `plan.json.previous` should that ever be unreadable."""

import os
from contextlib import suppress
from pathlib import Path

from services.traffic_switcher.core.plan_file import SIZE_MAX, from_bytes, to_bytes
from services.traffic_switcher.core.state import Memory
from shared.errors import StateError

CURRENT = "plan.json"
PREVIOUS = "plan.json.previous"
CORRUPT = "plan.json.corrupt"  # kept for whoever wants to know


class PlanStore:
    """One node's file; written so that a power cut leaves the old one or the new one."""

    def __init__(self, directory: Path, *, cluster: str, node: str) -> None:
        self._directory = directory
        self._cluster = cluster
        self._node = node

    def read(self) -> tuple[Memory | None, tuple[str, ...]]:
        """Return what was persisted, and what was wrong with what could not be used.

        None without complaints is a new member; with complaints it is one that must join as new.
        """
        complaints: list[str] = []
        for name in (CURRENT, PREVIOUS):
            path = self._directory / name
            try:
                return self._read(path), tuple(complaints)
            except FileNotFoundError:
                continue
            except StateError as error:
                complaints.append(f"{path} {error}")
                if name == CURRENT:
                    with suppress(OSError):  # or it would become the previous copy
                        path.replace(self._directory / CORRUPT)
        return None, tuple(complaints)

    def write(self, memory: Memory) -> None:
        """Return only when it is on the disk; raise `StateError` if it is not."""
        content = to_bytes(memory, cluster=self._cluster, node=self._node)
        try:
            self._write(content)
        except OSError as error:
            path = self._directory / CURRENT
            raise StateError(f"{path} cannot be written: {error.strerror or error}") from error

    def _read(self, path: Path) -> Memory:
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

    def _write(self, content: bytes) -> None:
        current, new = self._directory / CURRENT, self._directory / f"{CURRENT}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._keep_previous(current)
        new.replace(current)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _keep_previous(self, current: Path) -> None:
        """Give the current file its second name; it stays the current one until replaced."""
        link = self._directory / f"{PREVIOUS}.new"
        link.unlink(missing_ok=True)
        try:
            os.link(current, link)
        except FileNotFoundError:
            return
        link.replace(self._directory / PREVIOUS)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
