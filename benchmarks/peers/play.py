"""One fault, played once: made, ended, and what clients and observers saw from before to after.

Everything is asked of what no stack owns: the client's records, the observers on the wire and in
the kernels, and HAProxy's own word. `Restored` means that every VIP is answered at home alone, that
every HAProxy gives every instance what it gave at the start, and that clients notice nothing. What
is not restored in time is helped on: clients then forget who had which address.
"""

import json
from dataclasses import dataclass

from benchmarks.peers.faults import LEAST_US, MOST_US, MOVING, Fault, deed
from benchmarks.peers.stacks import NODES, Stack
from services.sandbox.audit import PATIENCE_US, summarise
from services.sandbox.drills import balancers
from services.sandbox.drills.balancers import Weights
from services.sandbox.drills.scene import Scene
from services.sandbox.errors import DrillError
from services.sandbox.inner import ORDERS
from services.sandbox.network import CLIENT
from services.sandbox.observers.judging import Span, Watched, total
from services.sandbox.records import Record
from shared.instant import MILLISECOND, SECOND, Duration

BEFORE_US: Duration = 200 * MILLISECOND
WELL_FOR_US: Duration = 500 * MILLISECOND  # clients notice nothing for so long
BEHIND_US: Duration = 150 * MILLISECOND  # the client writes what it saw twenty times a second
LOOK_EVERY_US: Duration = 25 * MILLISECOND
RESTORED_WITHIN_US: Duration = 10 * SECOND
FIT_WITHIN_US: Duration = 90 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What was seen of one play; times in milliseconds."""

    stack: Stack
    fault: Fault
    node: str
    coped: bool  # clients noticed nothing any more while the fault lasted
    lasted_ms: float
    safe_sent: int
    safe_failed: int
    posts_sent: int
    posts_failed: int
    posts_repeated: int
    slowest_ms: float
    outage_ms: float
    dark_ms: float | None  # of the VIP that fared worst; None where none is to move
    held_twice_ms: float | None  # by two kernels' word; None: not observed
    answered_twice_ms: float | None  # by two, on the clients' network
    restored: bool
    restored_ms: float | None  # after the fault's end; of it half a second to be sure
    client_late_ms: float


@dataclass(slots=True, kw_only=True)
class Player:
    """Plays faults on one stack."""

    stack: Stack
    scene: Scene
    original: Weights | None = None

    async def play(self, fault: Fault, node: str) -> Played:
        """Play a fault on a node."""
        scene = self.scene
        await self._until_fit()
        scene.drop()
        await scene.clock.sleep(BEFORE_US)
        what = deed(fault, self.stack, node)
        fault_at = scene.clock.now()
        await what.make(scene)
        await scene.until_instant(fault_at + LEAST_US)
        left_us = max(fault_at + MOST_US[fault] - scene.clock.now(), 0)
        coped = await scene.until(self._clients_are_well, left_us, LOOK_EVERY_US)
        healed_at = scene.clock.now()
        await what.end(scene)
        await scene.until_instant(healed_at + WELL_FOR_US)
        restored = await scene.until(self._is_as_before, RESTORED_WITHIN_US, LOOK_EVERY_US)
        lasted = Span(fault_at, healed_at)
        seen = await self._seen(fault, node, lasted, coped=coped, restored=restored)
        if not restored:
            await self._help()
        return seen

    async def _help(self) -> None:
        """Let clients ask anew who has which address, so that the next play can begin."""
        ip = json.loads((self.scene.folder / ORDERS).read_bytes())["tools"]["ip"]
        await self.scene.control.beside(CLIENT, [ip, "neigh", "flush", "all"], SECOND)

    async def _seen(
        self, fault: Fault, node: str, lasted: Span, *, coped: bool, restored: bool
    ) -> Played:
        scene = self.scene
        end_at = scene.clock.now()
        records = await scene.clients.take(end_at)
        watched = await scene.observers.take(end_at, lasted.begin_at)
        assert watched is not None
        felt = summarise(records)
        begin_at = min((record.scheduled_at for record in records), default=lasted.begin_at)
        dark_us = max(watched.dark_us.values(), default=0)
        moving = fault in MOVING
        return Played(
            stack=self.stack,
            fault=fault,
            node=node,
            coped=coped,
            lasted_ms=lasted.length_us / MILLISECOND,
            safe_sent=felt.safe_sent,
            safe_failed=felt.safe_failed,
            posts_sent=felt.sent - felt.safe_sent,
            posts_failed=felt.failed - felt.safe_failed,
            posts_repeated=len(scene.audit(records, begin_at).doubled),
            slowest_ms=felt.slowest_us / MILLISECOND,
            outage_ms=felt.outage_us / MILLISECOND,
            dark_ms=dark_us / MILLISECOND if moving else None,
            held_twice_ms=_overlap_ms(watched, "guards") if moving else None,
            answered_twice_ms=_overlap_ms(watched, "wire") if moving else None,
            restored=restored,
            restored_ms=(end_at - lasted.end_at) / MILLISECOND if restored else None,
            client_late_ms=felt.client_late_us / MILLISECOND,
        )

    async def _until_fit(self) -> None:
        fit = self._nothing_is_open if self.stack is Stack.EQUIPOISE else self._is_as_before
        if not await self.scene.until(fit, FIT_WITHIN_US, 4 * LOOK_EVERY_US):
            within = f"{FIT_WITHIN_US / SECOND:g} s"
            raise DrillError(f"{self.stack} is not as it was at the start after {within}")

    async def _nothing_is_open(self) -> bool:
        return await self.scene.unfit() is None and await self._is_as_before()

    async def _is_as_before(self) -> bool:
        if self.scene.observers.astray() or not await self._clients_are_well():
            return False
        try:
            weights = await self.scene.weights()
        except DrillError:
            return False  # a load balancer does not answer
        if self.original is None:
            if any(None in each.values() for of in weights.values() for each in of.values()):
                return False  # HAProxy has not found all instances yet
            self.original = weights[NODES[0]]
        return not balancers.differences(weights, self.original)

    async def _clients_are_well(self) -> bool:
        """Return whether every safe request of late was answered well, and all are known."""
        now, clients = self.scene.clock.now(), self.scene.clients
        recent = clients.since(now - WELL_FOR_US - BEHIND_US)
        if clients.reader.complete_until < now - BEHIND_US:
            return False
        begin_at = now - WELL_FOR_US - BEHIND_US
        asked = [each for each in recent if each.safe and each.scheduled_at >= begin_at]
        return bool(asked) and all(map(_is_good, asked))


def _is_good(record: Record) -> bool:
    return record.ok and record.latency_us <= PATIENCE_US


def _overlap_ms(watched: Watched, seen_by: str) -> float | None:
    """Return the longest that a VIP had two holders as one pair of eyes saw it."""
    found = [each for each in watched.overlaps if each.seen_by == seen_by]
    if not found and watched.unobserved:
        return None
    vips = {each.vip for each in found}
    lengths = (total(each.span for each in found if each.vip == vip) for vip in vips)
    return max(lengths, default=0) / MILLISECOND
