"""A data plane behind a small interface: HAProxy is one, the kernel's tables could be another.

Whatever is wrong with it is a `SwitchError`; an answer comes within a second, or an error does.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from services.traffic_switcher.core.installed import Installation, Target
from services.traffic_switcher.core.steps import Step
from shared.rules import Rules

MaySend: TypeAlias = Callable[[], bool]


class Driver(Protocol):
    """Reads and changes one load balancer. What is to be changed is for `core.steps` to say."""

    async def read(self, *, counters: bool) -> Installation:
        """Return what is installed now."""

    async def apply(self, steps: Sequence[Step], may_send: MaySend) -> Installation | None:
        """Take the steps in order and return what is installed then.

        `may_send` is asked at the last moment, when nothing can come between its answer and the
        change; if it denies, nothing more is changed and None is returned.
        """

    async def prepare(self, rules: Rules, closed: frozenset[Target], *, keep: bool) -> None:
        """Make a restart begin with these rules, and the configuration that we want run now.

        `closed` are closed whatever the rules say. `keep` leaves what is there if its structure
        is right.
        """
