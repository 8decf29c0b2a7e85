"""Evidence in at one side of the bus, commands out at the other: a decision seen from outside.

One failure after another: an instance's own observer says that its port is closed. Measured is how
long it takes until the first command that follows is on the wire again, and until every node's is.
Then it answers again, and the next one waits until the incident is closed.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from nats.aio.msg import Msg

from benchmarks.growth.lines import Line, number_of, speaker
from benchmarks.growth.said import observed
from shared.bus import Received
from shared.cluster import Cluster
from shared.messages.facts import IncidentClosed, IncidentOpened

FIRST_SEQUENCE = 10  # above all that observers have said by themselves
TOLD_WITHIN_S = 3.0
CLOSED_WITHIN_S = 10.0
REST_MAX_S = 0.05  # a random moment within everybody's interval
FAILOVER = b"command.failover.v1"


@dataclass(slots=True)
class Decisions:
    """How long decisions took, in milliseconds from the evidence."""

    first_ms: list[float] = field(default_factory=list)  # to the first command
    last_ms: list[float] = field(default_factory=list)  # to the command of the last node
    unanswered: int = 0
    plan_bytes: int = 0  # of the largest command


class Injector:
    """Makes instances fail, one after another."""

    def __init__(self, cluster: Cluster, seed: int = 0) -> None:
        self._cluster = cluster
        self._line = Line(speaker(cluster.name, "injector", "faults"))
        self._random = random.Random(seed)
        self._sequence = FIRST_SEQUENCE
        self._told: dict[str, float] = {}
        self._above = (0, 0)
        self._newest = (0, 0)
        self._all_told = asyncio.Event()
        self._closed = asyncio.Event()
        self.decisions = Decisions()

    async def begin(self, server: str) -> None:
        """Connect, and hear commands and incidents."""
        await self._line.connect(server)
        await self._line.hear_raw("command.*", self._commanded)
        await self._line.hear("incident.*", self._of_incident)
        await self._line.subscribed()

    async def run(self, targets: Sequence[tuple[str, str]], count: int, within_s: float) -> None:
        """Let so many fail, or as many as there is time for."""
        end = perf_counter() + within_s
        for number in range(count):
            if perf_counter() > end:
                return
            await asyncio.sleep(self._random.uniform(0, REST_MAX_S))
            await self._one(*targets[number % len(targets)])

    async def close(self) -> None:
        """Leave."""
        await self._line.close()

    async def _one(self, service: str, node: str) -> None:
        self._told, self._above = {}, self._newest
        self._all_told.clear()
        self._closed.clear()
        begun = perf_counter()
        await self._say(service, node, well=False)
        try:
            await asyncio.wait_for(self._all_told.wait(), TOLD_WITHIN_S)
            times = self._told.values()
            self.decisions.first_ms.append((min(times) - begun) * 1_000)
            self.decisions.last_ms.append((max(times) - begun) * 1_000)
        except TimeoutError:
            self.decisions.unanswered += 1
        await self._say(service, node, well=True)
        try:
            await asyncio.wait_for(self._closed.wait(), CLOSED_WITHIN_S)
        except TimeoutError:
            self.decisions.unanswered += 1

    async def _say(self, service: str, node: str, *, well: bool) -> None:
        self._sequence += 1
        await self._line.say(observed(node, service, node, self._sequence, well=well))
        await self._line.client._flush_pending()  # noqa: SLF001 - at once, not in the next turn

    async def _commanded(self, message: Msg) -> None:
        at, number = perf_counter(), number_of(message)
        self._newest = max(self._newest, number)
        if number <= self._above or FAILOVER not in message.data[-200:]:
            return
        self.decisions.plan_bytes = max(self.decisions.plan_bytes, len(message.data))
        self._told.setdefault(message.subject, at)
        if len(self._told) == len(self._cluster.nodes):
            self._all_told.set()

    async def _of_incident(self, received: Received) -> None:
        if isinstance(received.message, IncidentOpened):
            self._closed.clear()
        if isinstance(received.message, IncidentClosed):
            self._closed.set()


def targets_of(cluster: Cluster) -> list[tuple[str, str]]:
    """Return instances that may fail one after another, never two in a row on one node."""
    nodes = list(cluster.nodes)
    return [
        (service, nodes[k % len(nodes)])
        for k, service in enumerate(list(cluster.services) * len(nodes))
    ]
