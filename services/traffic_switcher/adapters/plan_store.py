"""The persisted plan of one node."""

from functools import partial
from pathlib import Path

from services.traffic_switcher.adapters.copies import Codec, Copies
from services.traffic_switcher.core.plan_file import SIZE_MAX, from_bytes, to_bytes
from services.traffic_switcher.core.state import Memory

COPIES = ("plan.1", "plan.2")


class PlanStore(Copies[Memory]):
    """Two copies of it (docs/decisions/0013)."""

    def __init__(self, directory: Path, *, cluster: str, node: str) -> None:
        codec = Codec(
            to_bytes=lambda memory, generation: to_bytes(
                memory, cluster=cluster, node=node, generation=generation
            ),
            from_bytes=partial(from_bytes, cluster=cluster, node=node),
            size_max=SIZE_MAX,
        )
        super().__init__(directory, COPIES, codec)
