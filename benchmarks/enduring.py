"""A cluster that nothing fails in, watched for long: what it does for nothing, and how it grows.

Programs that never rest burn the processors beside it, clients ask, and its cables lose frames: in
each *spell* another share of them. Every frame between members, and every one from or to clients,
meets one such chance; what observers ask on the clients' network meets none, so that a question
without an answer is the cluster's doing.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from benchmarks.idle import processes_of, pss_mib
from services.sandbox.audit import summarise
from services.sandbox.control import SOCKET, Control
from services.sandbox.cuts import Way
from services.sandbox.drills.console import Console
from services.sandbox.errors import DrillError
from services.sandbox.network import CLIENT, Wire, addresses, node_names
from services.sandbox.observers.judging import Window, judge, moves
from services.sandbox.observers.observations import Asked, Observation, Reader
from services.sandbox.parts import OBSERVATIONS, RECORDS
from services.sandbox.records import Record, RecordReader
from shared.clock import SystemClock
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND, Duration, Instant

BURNERS = 4
BURN = "while True: pass"
SAMPLE_S = 1.0
WEIGHED_EVERY_S = 30.0
UNWRITTEN_US: Duration = 2 * SECOND  # what observers and clients may not have written yet
MEMBERS = tuple(addresses(node_names(2)))
LAPSED = b'"event":"vip_lapsed"'
SAID = (LAPSED, b'"event":"not_able"')


@dataclass(slots=True, kw_only=True)
class Spell:
    """What was seen while cables lost one share of all frames."""

    loss_percent: int
    minutes: float
    lost: int = 0  # frames
    moves: int = 0
    lapses: int = 0
    incidents: list[str] = field(default_factory=list)
    dark_ms: float = 0.0
    overlap_ms: float | None = None
    leases_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    unanswered: int = 0  # samples that the console did not answer
    sent: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)  # by how they ended
    slowest_ms: float = 0.0
    said: list[str] = field(default_factory=list)  # by nodes, of what they could not do
    blind: list[str] = field(default_factory=list)  # what observers could not see


@dataclass(slots=True, kw_only=True)
class Endured:
    """All spells, and what was sampled through them; times in seconds from the first."""

    spells: list[Spell] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    leases_ms: list[tuple[float, float]] = field(default_factory=list)  # the longest granted
    gaps_ms: list[tuple[float, float]] = field(default_factory=list)  # the longest between beats
    pss_mib: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # by program


@dataclass(slots=True, kw_only=True)
class Watcher:
    """Looks at one sandbox from outside."""

    folder: Path
    clock: SystemClock
    console: Console
    observations: Reader
    requests: RecordReader
    begun: float
    endured: Endured = field(default_factory=Endured)
    incidents: set[str] = field(default_factory=set)

    @classmethod
    async def begin(cls, folder: Path) -> "Watcher":
        """Begin to look; what was before does not count."""
        watcher = cls(
            folder=folder,
            clock=SystemClock(),
            console=Console(folder / "witness" / "api.sock"),
            observations=Reader(folder / OBSERVATIONS),
            requests=RecordReader(folder / RECORDS),
            begun=monotonic(),
        )
        watcher.incidents = {each["id"] for each in await watcher.console.incidents()}
        return watcher

    @property
    def passed_s(self) -> float:
        """How long it has been looking."""
        return round(monotonic() - self.begun, 1)

    async def watch(self, spell: Spell) -> None:
        """Look for as long as a spell is."""
        observed: list[Observation] = []
        records: list[Record] = []
        logs = {path: path.stat().st_size for path in (self.folder / "logs").iterdir()}
        self.endured.spells.append(spell)
        self.endured.marks.append((self.passed_s, f"{spell.loss_percent} %"))
        begin_at = self.clock.now()
        end = monotonic() + spell.minutes * 60
        weigh_at = monotonic()
        while monotonic() < end:
            await asyncio.sleep(SAMPLE_S)
            observed += self.observations.read()
            records += self.requests.read()
            await self._sample(spell)
            if monotonic() >= weigh_at:
                weigh_at += WEIGHED_EVERY_S
                self._weigh()
                await self._hear(spell)
        end_at = self.clock.now() - UNWRITTEN_US
        _judge(spell, [*observed, *self.observations.read()], begin_at, end_at)
        _count(spell, [x for x in records if begin_at <= x.scheduled_at < end_at])
        await self._hear(spell)
        spell.said = [line for path, size in logs.items() for line in _said(path, size)]
        spell.lapses = sum(LAPSED.decode() in line for line in spell.said)

    async def _sample(self, spell: Spell) -> None:
        try:
            status = await self.console.status()
        except DrillError:
            spell.unanswered += 1
            return
        nodes = [each for each in status["nodes"] if each["role"] == "node"]
        for figure, of_spell, of_all in (
            ([each["lease_us"] for each in nodes], spell.leases_ms, self.endured.leases_ms),
            ([each["gap_us"] for each in nodes], spell.gaps_ms, self.endured.gaps_ms),
        ):
            known = [each for each in figure if each is not None]
            if known:
                of_spell.append(max(known) / MILLISECOND)
                of_all.append((self.passed_s, max(known) / MILLISECOND))

    async def _hear(self, spell: Spell) -> None:
        """Note the incidents that began in a spell."""
        for each in await self.console.incidents():
            if each["id"] not in self.incidents:
                self.incidents.add(each["id"])
                spell.incidents.append(f"{each['id']}: {each['sentence']}")

    def _weigh(self) -> None:
        """Note how much memory every program has."""
        with Control(self.folder / SOCKET) as control:
            programs = {x.pid: name for name, x in control.programs().items() if x.pid}
        weights: dict[str, float] = {}
        for pid, name in processes_of(self.folder, programs).items():
            weights[name] = weights.get(name, 0.0) + pss_mib(pid)
        for name, weight in weights.items():
            self.endured.pss_mib.setdefault(name, []).append((self.passed_s, round(weight, 2)))


def _judge(
    spell: Spell, observed: Sequence[Observation], begin_at: Instant, end_at: Instant
) -> None:
    asked = [each for each in observed if isinstance(each, Asked) and each.at >= begin_at]
    vips = tuple(sorted({each.vip for each in asked}))
    nodes = tuple(sorted({each.node for each in observed if not isinstance(each, Asked)}))
    window = Window(begin_at=begin_at, end_at=end_at, fault_at=begin_at, nodes=nodes, vips=vips)
    found = judge(observed, window)
    spell.moves = sum(len(moves(x for x in asked if x.vip == vip)) for vip in vips)
    spell.overlap_ms = None if found.overlap_us is None else found.overlap_us / MILLISECOND
    spell.dark_ms = max(found.dark_us.values(), default=0) / MILLISECOND
    spell.blind = [*found.unobserved, *(each.text for each in found.overlaps)]


def _count(spell: Spell, records: Sequence[Record]) -> None:
    summary = summarise(records)
    spell.sent, spell.slowest_ms = summary.sent, summary.slowest_us / MILLISECOND
    spell.failed = {how: count for how, count in summary.results.items() if how != "ok"}


def _said(path: Path, size: int) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(size)
        for line in file:
            if any(each in line for each in SAID):
                yield line.decode(errors="replace").strip()


@contextmanager
def burning() -> Iterator[None]:
    """Burn the processors until the block ends."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@asynccontextmanager
async def losing(folder: Path, spell: Spell) -> AsyncIterator[None]:
    """Lose a spell's share of frames until the block ends; note how many that were."""
    if not spell.loss_percent:
        yield
        return
    with Control(folder / SOCKET) as control:
        cut = {"way": Way.OUT, "wires": [Wire.CLUSTER], "one_in": 100 // spell.loss_percent}
        of_clients = {**cut, "way": Way.BOTH, "wires": [Wire.CLIENTS], "member": CLIENT}
        for wish in (*({**cut, "member": member} for member in MEMBERS), of_clients):
            control.ask("cut", **wish)
        try:
            yield
        finally:
            for member in (*MEMBERS, CLIENT):
                found = control.ask("condition", member=member)["dropped"]
                spell.lost += sum(sum(ways.values()) for ways in found.values())
                control.ask("heal", member=member)
    if not spell.lost:
        raise MachineError(f"no frame was lost in {spell.minutes:g} minutes: nothing was tried")


async def endure(folder: Path, spells: Sequence[Spell]) -> Endured:
    """Watch a sandbox through all spells."""
    watcher = await Watcher.begin(folder)
    with burning():
        for spell in spells:
            async with losing(folder, spell):
                await watcher.watch(spell)
    return watcher.endured
