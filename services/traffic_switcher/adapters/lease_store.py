"""The persisted floors and epoch of one node."""

from functools import partial
from pathlib import Path

from services.traffic_switcher.adapters.copies import Codec, Copies
from services.traffic_switcher.core.leases.lease_file import SIZE_MAX, from_bytes, to_bytes
from services.traffic_switcher.core.leases.state import Memory

COPIES = ("leases.1", "leases.2")


class LeaseStore(Copies[Memory]):
    """Two copies of them (docs/decisions/0013).

    An older copy may lack a floor, and a floor once said must never be lost: whoever finds that
    one of them cannot be read has lost its memory, and joins as new.
    """

    def __init__(self, directory: Path, *, cluster: str, node: str) -> None:
        codec = Codec(
            to_bytes=lambda memory, generation: to_bytes(
                memory, cluster=cluster, node=node, generation=generation
            ),
            from_bytes=partial(from_bytes, cluster=cluster, node=node),
            size_max=SIZE_MAX,
        )
        super().__init__(directory, COPIES, codec)

    def remembered(self) -> tuple[Memory | None, tuple[str, ...]]:
        """Return what is certain, and what was wrong with what is not."""
        memory, complaints = self.read()
        return (None if complaints else memory), complaints
