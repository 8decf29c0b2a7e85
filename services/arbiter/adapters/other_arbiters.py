"""Finds an arbiter that leads already: two would outbid each other for ever, and nothing be held.

Asked on the event, not listened for: without another one the answer (there is none) takes a
millisecond, and an arbiter that starts again must not keep addresses dark for longer.
"""

import asyncio
from collections.abc import Iterable

from shared.bus import Bus
from shared.errors import BusError
from shared.instant import MILLISECOND, Duration
from shared.messages.traffic import Plan, Recall, Recalled

ASK_WITHIN_US: Duration = 300 * MILLISECOND  # one that lives answers within 2 ms


def name_of(member: str) -> str:
    """Return what an arbiter is asked by; no node can have this name, whose switcher answers."""
    return f"_arbiter_{member}"


async def leader(
    bus: Bus, members: Iterable[str], asker: str, above: tuple[int, int]
) -> tuple[str, Plan] | None:
    """Return the member whose arbiter leads with the highest plan above ours, and the plan."""
    answers = await asyncio.gather(*(_ask(bus, member, asker) for member in members))
    leading = [
        (answer.node, answer.plan)
        for answer in answers
        if answer is not None and answer.plan is not None and answer.plan.number > above
    ]
    return max(leading, key=lambda found: found[1].number, default=None)


async def _ask(bus: Bus, member: str, asker: str) -> Recalled | None:
    try:
        answer = await bus.ask(Recall(asker=asker), to=name_of(member), timeout_us=ASK_WITHIN_US)
    except BusError:
        return None
    return answer if isinstance(answer, Recalled) and answer.node == member else None
