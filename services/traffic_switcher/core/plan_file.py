"""A persisted plan, as bytes."""

from dataclasses import dataclass

from services.traffic_switcher.core.sealed_file import Form, Owner, check_owner, seal, unseal
from services.traffic_switcher.core.state import Memory
from shared.messages.traffic import Plan

SIZE_MAX = 4_194_304  # four times the largest message that could carry a plan
SIZE_STEP = 16_384  # a plan of two nodes and ten services has 2 KB
FORM = Form(name="equipoise-plan 1", size_step=SIZE_STEP)


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
    return seal(FORM, file)


def from_bytes(content: bytes, *, cluster: str, node: str) -> tuple[int, Memory]:
    """Return generation and content, or raise `StateError` saying why it cannot be used."""
    file = unseal(FORM, _File, content)
    check_owner(Owner(cluster=file.cluster, node=file.node), Owner(cluster=cluster, node=node))
    return file.generation, Memory(
        plan=file.plan,
        ours=frozenset(file.ours),
        theirs=frozenset(file.theirs),
        process=file.process,
    )
