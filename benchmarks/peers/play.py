"""One fault, played once: made, proved, ended, and what clients and observers saw of it.

Everything is asked of what no stack owns: the client's records, the observers on the wire and in
the kernels, and the load balancers' own word. `Restored` means that every VIP is answered at home
alone, that every load balancer gives every instance what it gave at the start, and that clients
notice nothing. What is not restored in time is helped on: clients then forget who had which
address.

The fault comes at a moment that is drawn: nobody's checks are always just due, or always just over.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks import machine
from benchmarks.peers.faults import LEAST_US, MOST_US, MOVING, deed
from benchmarks.peers.places import NODES, ip_program
from benchmarks.peers.results import Played
from benchmarks.peers.rounds import Play
from benchmarks.peers.stacks import Stack
from services.sandbox.audit import PATIENCE_US, summarise
from services.sandbox.drills import balancers
from services.sandbox.drills.balancers import Weights
from services.sandbox.drills.scene import Scene
from services.sandbox.errors import DrillError
from services.sandbox.network import CLIENT
from services.sandbox.observers.judging import Span, Watched, total
from services.sandbox.records import Record
from shared.errors import EquipoiseError
from shared.instant import MILLISECOND, SECOND, Duration, Instant

BEFORE_US: Duration = 200 * MILLISECOND
WELL_FOR_US: Duration = 500 * MILLISECOND  # clients notice nothing for so long
BEHIND_US: Duration = 150 * MILLISECOND  # the client writes what it saw twenty times a second
LOOK_EVERY_US: Duration = 50 * MILLISECOND
RESTORED_WITHIN_US: Duration = 10 * SECOND
FIT_WITHIN_US: Duration = 60 * SECOND
# Who is later by itself takes its own lateness for an outage; of a long one a tenth is no matter.
LATE_MAX_US: Duration = PATIENCE_US
LATE_PART = 10


class VoidError(EquipoiseError):
    """A play is no measurement: its fault is not proved, or the client was late by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A play that is over: when what was, and how it ended."""

    play: Play
    waited_us: Duration
    load: float
    begun_at: Instant
    lasted: Span
    coped: bool
    restored: bool


@dataclass(slots=True, kw_only=True)
class Player:
    """Plays faults on one stack."""

    stack: Stack
    scene: Scene
    folder: Path  # with the stack's own files
    seed: int
    original: Weights | None = None

    async def play(self, play: Play) -> Played:
        """Play a fault."""
        scene, load = self.scene, machine.load()
        begun_at = scene.clock.now()
        await self.until_fit()
        waited_us = moment(self.stack, play, self.seed)
        await scene.clock.sleep(waited_us)
        scene.drop()
        what = await deed(play.fault, scene, play.node, is_ours=self.stack.is_ours)
        await scene.clock.sleep(BEFORE_US)
        fault_at = scene.clock.now()
        await what.make(scene)
        await scene.until_instant(fault_at + LEAST_US)
        left_us = max(fault_at + MOST_US[play.fault] - scene.clock.now(), 0)
        coped = await scene.until(self._clients_are_well, left_us, LOOK_EVERY_US)
        unproved = await what.unproved(scene)
        healed_at = scene.clock.now()
        await what.end(scene)
        await scene.until_instant(healed_at + WELL_FOR_US)
        restored = await scene.until(self._is_as_before, RESTORED_WITHIN_US, LOOK_EVERY_US)
        past = Past(
            play=play,
            waited_us=waited_us,
            load=load,
            begun_at=begun_at,
            lasted=Span(fault_at, healed_at),
            coped=coped,
            restored=restored,
        )
        seen = await self._seen(past)
        if not restored:
            await self._help()
        if void := unproved or unless_in_time(seen):
            raise VoidError(void)
        return seen

    async def _help(self) -> None:
        """Let clients ask anew who has which address."""
        forget = [ip_program(), "neigh", "flush", "all"]
        await self.scene.control.beside(CLIENT, forget, SECOND)

    async def _seen(self, past: Past) -> Played:
        scene, lasted, fault = self.scene, past.lasted, past.play.fault
        end_at = scene.clock.now()
        records = await scene.clients.take(end_at)
        watched = await scene.observers.take(end_at, lasted.begin_at)
        assert watched is not None
        during = [record for record in records if record.scheduled_at < lasted.end_at]
        felt, all_felt = summarise(during), summarise(records)
        begin_at = min((record.scheduled_at for record in records), default=lasted.begin_at)
        moving = fault in MOVING
        return Played(
            fault=fault,
            node=past.play.node,
            number=past.play.number,
            waited_ms=past.waited_us / MILLISECOND,
            load=past.load,
            took_s=(scene.clock.now() - past.begun_at) / SECOND,
            coped=past.coped,
            lasted_ms=lasted.length_us / MILLISECOND,
            safe_sent=felt.safe_sent,
            safe_failed=felt.safe_failed,
            posts_sent=felt.sent - felt.safe_sent,
            posts_failed=felt.failed - felt.safe_failed,
            posts_repeated=len(scene.audit(records, begin_at).doubled),
            slowest_ms=felt.slowest_us / MILLISECOND,
            outage_ms=felt.outage_us / MILLISECOND,
            dark_ms=_dark_ms(watched, lasted) if moving else None,
            after_failed=all_felt.failed - felt.failed,
            after_dark_ms=_dark_ms(watched, Span(lasted.end_at, end_at)) if moving else None,
            held_twice_ms=_overlap_ms(watched, "guards") if moving else None,
            answered_twice_ms=_overlap_ms(watched, "wire") if moving else None,
            restored_ms=(end_at - lasted.end_at) / MILLISECOND if past.restored else None,
            client_late_ms=all_felt.client_late_us / MILLISECOND,
        )

    async def until_fit(self) -> None:
        """Wait until a play can begin."""
        amiss: str | None = None

        async def fit() -> bool:
            nonlocal amiss
            amiss = await self.scene.unfit() if self.stack.is_ours else None
            amiss = amiss or await self._amiss()
            return amiss is None

        if not await self.scene.until(fit, FIT_WITHIN_US, 2 * LOOK_EVERY_US):
            within = f"{FIT_WITHIN_US / SECOND:g} s"
            raise DrillError(f"it is not as it was at the start after {within}: {amiss}")

    async def _is_as_before(self) -> bool:
        return await self._amiss() is None

    async def _amiss(self) -> str | None:
        """Say what is not as it was at the start."""
        if astray := self.scene.observers.astray():
            return astray[0]
        if not await self._clients_are_well():
            return "clients still notice something"
        try:
            weights = await self.stack.weights(self.scene, self.folder)
        except DrillError as problem:
            return str(problem)
        if self.original is None:
            if any(None in each.values() for of in weights.values() for each in of.values()):
                return "a load balancer has not found all instances yet"
            self.original = weights[NODES[0]]
        return next(iter(balancers.differences(weights, self.original)), None)

    async def _clients_are_well(self) -> bool:
        """Return whether every safe request of late was answered well, and all are known."""
        now, clients = self.scene.clock.now(), self.scene.clients
        begin_at = now - WELL_FOR_US - BEHIND_US
        recent = clients.since(begin_at)
        if clients.reader.complete_until < now - BEHIND_US:
            return False
        asked = [each for each in recent if each.safe and each.scheduled_at >= begin_at]
        return bool(asked) and all(map(_is_good, asked))


def moment(stack: Stack, play: Play, seed: int) -> Duration:
    """Draw how long a fault waits: whoever has the seed draws the same."""
    return Random(f"{seed}/{stack.name}/{play.fault}/{play.number}").randrange(stack.rhythm_us)


def unless_in_time(seen: Played) -> str | None:
    """Say that the client was too late by itself for what it saw to be anybody else's price."""
    if seen.client_late_ms <= max(LATE_MAX_US / MILLISECOND, seen.outage_ms / LATE_PART):
        return None
    late = f"{LATE_MAX_US // MILLISECOND} ms"
    return f"the client itself was over {late} late: the machine was starved"


def _is_good(record: Record) -> bool:
    return record.ok and record.latency_us <= PATIENCE_US


def _dark_ms(watched: Watched, stretch: Span) -> float:
    return max(watched.dark_within(stretch).values(), default=0) / MILLISECOND


def _overlap_ms(watched: Watched, seen_by: str) -> float | None:
    """Return the longest that a VIP had two holders as one pair of eyes saw it."""
    found = [each for each in watched.overlaps if each.seen_by == seen_by]
    if not found and watched.unobserved:
        return None
    names = {each.vip for each in found}
    lengths = (total(each.span for each in found if each.vip == vip) for vip in names)
    return max(lengths, default=0) / MILLISECOND
