"""Persisted floors and epoch, as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.traffic_switcher.core.leases.state import Memory
from services.traffic_switcher.core.sealed_file import Form, Owner, check_owner, seal, unseal
from shared.messages.leases import Term

SIZE_MAX = 1_048_576  # 60 bytes a VIP
SIZE_STEP = 4_096
FORM = Form(name="equipoise-leases 1", size_step=SIZE_STEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    cluster: str
    node: str
    generation: int  # of the two copies the higher one is the newer
    epoch: int
    floors: Mapping[str, Term]


def to_bytes(memory: Memory, *, cluster: str, node: str, generation: int) -> bytes:
    """Return the file's content."""
    file = _File(
        cluster=cluster,
        node=node,
        generation=generation,
        epoch=memory.epoch,
        floors=dict(memory.floors),
    )
    return seal(FORM, file)


def from_bytes(content: bytes, *, cluster: str, node: str) -> tuple[int, Memory]:
    """Return generation and content, or raise `StateError` saying why it cannot be used."""
    file = unseal(FORM, _File, content)
    check_owner(Owner(cluster=file.cluster, node=file.node), Owner(cluster=cluster, node=node))
    return file.generation, Memory(epoch=file.epoch, floors=file.floors)
