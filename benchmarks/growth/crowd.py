"""Speaks for all nodes of a cluster: `python -m benchmarks.growth.crowd`.

Each node has a connection of its own, and says what its heartbeat, its switcher and its probe say,
as often as they do; every node has its own moment within the interval, as machines have. Whoever
gives evidence on the bus makes an instance look so in that observer's pictures from then on.
Ends at SIGTERM, and says then how late it was: where it was late, it was the limit.
"""

import asyncio
import json
import signal
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from nats.aio.msg import Msg

from benchmarks.growth.lines import Line, number_of, speaker
from benchmarks.growth.said import Installed, Node, boot_of
from shared.bus import Received
from shared.clock import SystemClock
from shared.cluster import Cluster
from shared.company import companions
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.health import Evidence, Heartbeat, Presence
from shared.messages.leases import Grant
from shared.messages.traffic import Drain, Failback, Failover, Recalled, Restore
from shared.settings.load import load
from shared.urgency import hurry

SLOT_US: Duration = MILLISECOND  # of the calendar: whoever is due in it speaks in turn
SECONDLY = 20  # of as many turns the one in which pictures and measurements are said
PLANS_MAX = 4  # remembered as installed
CONNECTING = 20  # at a time
LATE_US: Duration = 25 * MILLISECOND  # half a beat: then the crowd is not what it plays

Turn = Callable[[int], Awaitable[None]]


class Player:
    """One node's part on its line."""

    def __init__(
        self, node: Node, line: Line, plans: "OrderedDict[tuple[int, int], Installed]"
    ) -> None:
        self.node, self.line, self._plans = node, line, plans

    async def begin(self, server: str) -> None:
        """Connect, and hear what the node's programs hear."""
        name = self.node.name
        await self.line.connect(server)
        await self.line.hear_raw(f"command.{name}", self._obey)
        await self.line.hear(f"grant.{name}", self._granted)
        await self.line.answer(f"recall.{name}", lambda: Recalled(node=name, plan=self.node.plan))
        await self.line.subscribed()

    async def heartbeat(self, turn: int) -> None:
        """Say what a heartbeat says; once a second for consoles too, and what a probe knows."""
        beat = self.node.heartbeat()
        await self.line.say(beat)
        if turn % SECONDLY == 0:
            await self.line.say(Presence(beat=beat))
            await self.line.say(self.node.picture())

    async def beat(self, turn: int) -> None:
        """Say what a switcher says."""
        await self.line.say(self.node.beat())
        if turn % SECONDLY == SECONDLY // 2:
            await self.line.say(self.node.measured(SystemClock().now()))

    async def _granted(self, received: Received) -> None:
        assert isinstance(received.message, Grant)
        self.node.hear(received.message)

    async def _obey(self, message: Msg) -> None:
        number = number_of(message)
        if number not in self._plans:  # all have the same: it is read once
            received = self.line.wire.read(message.subject, message.data)
            assert received is not None
            assert isinstance(received.message, Failover | Failback | Drain | Restore)
            self._plans[number] = Installed.of(received.message.plan)
            while len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        for applied in self.node.obey(self._plans[number]):
            await self.line.say(applied)


class Crowd:
    """All nodes, and the witness's heartbeat."""

    def __init__(self, cluster: Cluster) -> None:
        plans: OrderedDict[tuple[int, int], Installed] = OrderedDict()
        self.players = {
            name: Player(
                Node(cluster, name),
                Line(speaker(cluster.name, name, "crowd")),
                plans,
            )
            for name in cluster.nodes
        }
        self._witness = Line(speaker(cluster.name, "witness", "crowd"))
        self._cluster = cluster
        self._beats = 0

    async def begin(self, server: str) -> None:
        """Connect all."""
        await self._witness.connect(server)
        await self._witness.hear("probe.*.*.*", self._look)
        await self._witness.subscribed()
        waiting = list(self.players.values())
        while waiting:
            some, waiting = waiting[:CONNECTING], waiting[CONNECTING:]
            await asyncio.gather(*(player.begin(server) for player in some))

    def calendar(self) -> list[list[Turn]]:
        """Return who is due in which slot of the interval."""
        slots = self._cluster.heartbeat.every_us // SLOT_US
        calendar: list[list[Turn]] = [[] for _ in range(slots)]
        for k, player in enumerate(self.players.values()):
            own = k * slots // len(self.players)
            calendar[own].append(player.heartbeat)
            calendar[(own + slots // 3) % slots].append(player.beat)
        calendar[-1].append(self._witness_beats)
        return calendar

    async def _witness_beats(self, turn: int) -> None:
        self._beats += 1
        beat = witness_beat(self._cluster, self._beats)
        await self._witness.say(beat)
        if turn % SECONDLY == 0:
            await self._witness.say(Presence(beat=beat))

    async def _look(self, received: Received) -> None:
        evidence = received.message
        assert isinstance(evidence, Evidence)
        self.players[evidence.observer].node.look(evidence)


def witness_beat(cluster: Cluster, sequence: int) -> Heartbeat:
    """Return the witness's heartbeat."""
    return Heartbeat(
        node="witness",
        boot_id=boot_of("witness", "heartbeat"),
        sequence=sequence,
        configuration=cluster.configuration,
        hears_us=dict.fromkeys(companions(cluster, "witness"), 20 * MILLISECOND),
    )


async def play(calendar: list[list[Turn]], stopping: asyncio.Event) -> dict[str, float]:
    """Let everybody speak in turn until told to stop; return how late that was."""
    clock = SystemClock()
    due = clock.now()
    slot = slots = late = 0
    latest_us = 0
    while not stopping.is_set():
        now = clock.now()
        if now < due:
            await clock.sleep(due - now)
            continue
        late_us = now - due
        latest_us, late, slots = max(latest_us, late_us), late + (late_us > LATE_US), slots + 1
        turn, place = divmod(slot, len(calendar))
        for speak in calendar[place]:
            await speak(turn)
        slot, due = slot + 1, due + SLOT_US
        if late_us > SECOND:  # what was missed for so long is not made up for
            due = clock.now()
        await asyncio.sleep(0)  # what was said is written, what came is heard
    return {"late_percent": 100 * late / max(slots, 1), "latest_ms": latest_us / MILLISECOND}


async def main(configured: str, server: str) -> None:
    """Play until told to stop."""
    settings = load(Path(configured), {"EQUIPOISE_NODE": "witness"})
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    hurry()  # as switchers do: a crowd that waits for a processor is none
    crowd = Crowd(settings.cluster)
    await crowd.begin(server)
    print(json.dumps({"event": "ready"}), flush=True)
    print(json.dumps(await play(crowd.calendar(), stopping)), flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
