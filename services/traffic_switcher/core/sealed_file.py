"""A persisted file, as bytes: one line that says what it is and its checksum, then JSON.

Every byte counts: the first line must be exactly right, and the rest must have its checksum, so
that no truncation and no flipped bit passes for what was written. The rest ends in spaces up to a
round size, because a file that does not grow is written four times as fast (docs/decisions/0013).
"""

import hashlib
from dataclasses import dataclass
from typing import TypeVar

import orjson

from shared.errors import MessageError, StateError
from shared.messages.codec import from_plain

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose file it is: nobody else may use it."""

    cluster: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One kind of file."""

    name: str  # with its version: "equipoise-plan 1"
    size_step: int


def seal(form: Form, content: object) -> bytes:
    """Return a file with this content, a dataclass."""
    body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    body += b" " * (-(len(_first_line(form, b"")) + len(body)) % form.size_step)
    return _first_line(form, body) + body


def unseal(form: Form, kind: type[Content], file: bytes) -> Content:
    """Return a file's content, or raise `StateError` saying why it cannot be used."""
    line, newline, body = file.partition(b"\n")
    if line + newline != _first_line(form, body):
        raise StateError("is torn or corrupt: the checksum differs")
    try:
        return from_plain(kind, orjson.loads(body), "file")
    except (orjson.JSONDecodeError, MessageError) as error:
        raise StateError(f"was written by another version of Equipoise: {error}") from error


def check_owner(found: Owner, wanted: Owner) -> None:
    """Raise `StateError` if a file belongs to somebody else."""
    if found != wanted:
        raise StateError(
            f"belongs to {found.node} of cluster {found.cluster},"
            f" not to {wanted.node} of cluster {wanted.cluster}"
        )


def _first_line(form: Form, body: bytes) -> bytes:
    return f"{form.name} {hashlib.sha256(body).hexdigest()}\n".encode()
