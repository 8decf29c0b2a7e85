"""A persisted plan, as bytes: one line that says what it is and its checksum, then JSON.

Every byte counts: the first line must be exactly right, and the rest must have its checksum, so
that no truncation and no flipped bit passes for a plan. The rest ends in spaces up to a round
size, because a file that does not grow is written four times as fast (docs/decisions/0013).
"""

import hashlib
from dataclasses import dataclass

import orjson

from services.traffic_switcher.core.state import Memory
from shared.errors import MessageError, StateError
from shared.messages.codec import from_plain
from shared.messages.traffic import Plan

FORMAT = "equipoise-plan 1"
SIZE_MAX = 4_194_304  # four times the largest message that could carry a plan
SIZE_STEP = 16_384  # a plan of two nodes and ten services has 2 KB


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    cluster: str
    node: str
    generation: int  # of the two copies the higher one is the newer
    plan: Plan | None
    ours: tuple[tuple[str, str], ...]
    theirs: tuple[tuple[str, str], ...]
    process: str


def to_bytes(memory: Memory, *, cluster: str, node: str, generation: int) -> bytes:
    """Return the file's content."""
    file = _File(
        cluster=cluster,
        node=node,
        generation=generation,
        plan=memory.plan,
        ours=tuple(sorted(memory.ours)),
        theirs=tuple(sorted(memory.theirs)),
        process=memory.process,
    )
    body = orjson.dumps(file, option=orjson.OPT_SORT_KEYS)
    missing = -(len(_first_line(b"")) + len(body)) % SIZE_STEP
    body += b" " * missing
    return _first_line(body) + body


def from_bytes(content: bytes, *, cluster: str, node: str) -> tuple[int, Memory]:
    """Return generation and content, or raise `StateError` saying why it cannot be used."""
    line, newline, body = content.partition(b"\n")
    if line + newline != _first_line(body):
        raise StateError("is torn or corrupt: the checksum differs")
    try:
        file = from_plain(_File, orjson.loads(body), "file")
    except (orjson.JSONDecodeError, MessageError) as error:
        raise StateError(f"was written by another version of Equipoise: {error}") from error
    if (file.cluster, file.node) != (cluster, node):
        raise StateError(
            f"belongs to {file.node} of cluster {file.cluster}, not to {node} of cluster {cluster}"
        )
    return file.generation, Memory(
        plan=file.plan,
        ours=frozenset(file.ours),
        theirs=frozenset(file.theirs),
        process=file.process,
    )


def _first_line(body: bytes) -> bytes:
    return f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode()
