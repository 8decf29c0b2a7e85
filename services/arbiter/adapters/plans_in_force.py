"""Finds the plan in force: as every switcher has persisted it, and as the stream recorded it."""

import asyncio
from collections.abc import Iterable

from services.arbiter.core import Past
from shared.bus import Bus
from shared.clock import Clock
from shared.cluster import Cluster
from shared.errors import BusError
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.facts import Incident, IncidentClosed, IncidentOpened, IncidentUpdated
from shared.messages.traffic import Drain, Failback, Failover, Plan, Recall, Recalled, Restore

ASK_WITHIN_US: Duration = 500 * MILLISECOND  # a switcher answers within 2 ms
ASK_EVERY_US: Duration = 200 * MILLISECOND
# How long the others may take after the first switcher has answered: a node that is down must
# not keep the cluster without an arbiter, and one that is starting is up within a second or two.
WAIT_FOR_OTHERS_US: Duration = 3 * SECOND


async def found(bus: Bus, cluster: Cluster, clock: Clock, asker: str, epoch_min: int = 0) -> Past:
    """Return what an arbiter begins from; waits until at least one switcher has answered."""
    recalled = await _recalled(bus, cluster, clock, asker)
    recorded = await asyncio.gather(*(_recorded(bus, node) for node in cluster.nodes))
    plans = [plan for plan in (*recalled, *recorded) if plan is not None]
    newest = max(plans, key=lambda plan: plan.number, default=None)
    names = newest.incidents if newest is not None else frozenset()
    documents = await asyncio.gather(*(_document(bus, name) for name in sorted(names)))
    return Past(
        plans=tuple(plans),
        incidents={each.id: each for each in documents if each is not None},
        epoch_min=epoch_min,
        wall_us=clock.wall(),
    )


async def _recalled(bus: Bus, cluster: Cluster, clock: Clock, asker: str) -> Iterable[Plan | None]:
    answers: dict[str, Plan | None] = {}
    first_at = None
    while len(answers) < len(cluster.nodes):
        missing = [node for node in cluster.nodes if node not in answers]
        for answer in await asyncio.gather(*(_ask(bus, node, asker) for node in missing)):
            if answer is not None:
                answers[answer.node] = answer.plan
        if answers and first_at is None:
            first_at = clock.now()
        if first_at is not None and clock.now() - first_at > WAIT_FOR_OTHERS_US:
            break
        if len(answers) < len(cluster.nodes):
            await clock.sleep(ASK_EVERY_US)
    return answers.values()


async def _ask(bus: Bus, node: str, asker: str) -> Recalled | None:
    try:
        answer = await bus.ask(Recall(asker=asker), to=node, timeout_us=ASK_WITHIN_US)
    except BusError:
        return None
    return answer if isinstance(answer, Recalled) and answer.node == node else None


async def _recorded(bus: Bus, node: str) -> Plan | None:
    """Return the plan last commanded to a node; a stream that is away is no reason to wait."""
    try:
        received = await bus.last(f"command.{node}")
    except BusError:
        return None
    if received is None or not isinstance(received.message, Failover | Failback | Drain | Restore):
        return None
    return received.message.plan


async def _document(bus: Bus, incident: str) -> Incident | None:
    try:
        received = await bus.last(f"incident.{incident}")
    except BusError:
        return None
    if received is None or not isinstance(
        received.message, IncidentOpened | IncidentUpdated | IncidentClosed
    ):
        return None
    return received.message.incident
