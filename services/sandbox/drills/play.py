"""One drill, played once: inject, wait, prove, heal, wait, compare, count."""

from dataclasses import dataclass
from typing import Protocol

from services.sandbox.audit import Summary, summarise
from services.sandbox.drills import balancers
from services.sandbox.drills.catalogue.drill import Aim, Drill, Injected, Step
from services.sandbox.drills.judgement import Excuse, Toll
from services.sandbox.drills.report import (
    PHASES,
    DrillResult,
    Seen,
    Stretch,
    result,
    switched_us,
)
from services.sandbox.drills.scene import Scene
from services.sandbox.errors import DrillError
from services.sandbox.observers.judging import Span
from services.sandbox.records import Record
from shared.api import IncidentView, Rules
from shared.instant import MILLISECOND, SECOND, Duration, Instant

# What is measured happens in the first tenth of a second: nobody asks anything meanwhile.
QUIET_US: Duration = 100 * MILLISECOND
# What was so before the fault is seen as well: who answered for which VIP.
BEFORE_US: Duration = 200 * MILLISECOND
LOOK_EVERY_US: Duration = 50 * MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a play waits before it calls what does not happen a finding."""

    handled_us: Duration = 15 * SECOND  # an arbiter or a switcher may have to start meanwhile
    closed_us: Duration = 60 * SECOND  # hold-downs double with relapses that are close together
    restored_us: Duration = 5 * SECOND


PATIENCE = Patience()


class Audience(Protocol):
    """Who is told what happens, when it happens."""

    def injected(self, words: str, injected: Injected) -> None:
        """Hear that a fault was made."""

    def handled(self, incident: IncidentView, felt: Summary) -> None:
        """Hear that Equipoise has coped, and what clients felt until then."""

    def healed(self, words: str) -> None:
        """Hear that a fault was ended."""

    def waits(self, text: str) -> None:
        """Hear what is being waited for, again and again."""


@dataclass(slots=True, kw_only=True)
class Play:
    """One drill with its aim, and what was found so far."""

    scene: Scene
    drill: Drill
    aim: Aim
    audience: Audience
    patience: Patience
    findings: list[str]

    async def run(self) -> DrillResult:
        """Play it, and say what was seen."""
        scene = self.scene
        known = {brief["id"] for brief in await scene.console.incidents()}
        begin_at = scene.clock.now()
        await scene.clock.sleep(BEFORE_US)
        injected = await self.drill.inject(scene, self.aim)
        self.audience.injected(self.drill.words(self.aim), injected)
        name: str | None = None
        try:
            if self.drill.opens_incident:
                name = await self._until_handled(known, injected)
            steps = await self.drill.hold(scene, self.aim, injected)
            self.findings += [step.finding for step in steps if step.finding]
            self.findings += await self.drill.missed(scene, self.aim, injected)
            await scene.until_instant(injected.begin_at + self.drill.lasts_us)
        finally:
            healed_at = scene.clock.now()
            await self.drill.heal(scene, self.aim)
        if words := self.drill.healing(self.aim):
            self.audience.healed(words)
        self.findings += await self.drill.unhealed(scene, self.aim, injected)
        await self._until_closed()
        restored = await self._restored(name)
        times = Times(begin_at=begin_at, healed_at=healed_at, steps=steps)
        return await self._result(times, injected, name, restored=restored)

    async def _until_handled(self, known: set[str], injected: Injected) -> str | None:
        """Return the incident that Equipoise made of the fault, once it has coped."""
        await self.scene.clock.sleep(QUIET_US)
        found: IncidentView | None = None

        async def handled() -> bool:
            nonlocal found
            self.audience.waits("for Equipoise to cope")
            found = await self._incident(known)
            phases = {x["name"] for x in found["phases"]} if found is not None else set()
            return phases >= set(PHASES) and not self._unmoved()

        if await self.scene.until(handled, self.patience.handled_us, LOOK_EVERY_US):
            assert found is not None
            felt = summarise(self.scene.clients.since(injected.begin_at))
            self.audience.handled(found, felt)
            return found["id"]
        within = f"within {self.patience.handled_us / SECOND:g} s"
        target = self.aim.target
        self.findings += [f"{vip} did not answer elsewhere {within}" for vip in self._unmoved()]
        if found is None:
            self.findings.append(f"no incident of {target} was opened {within}")
            return None
        self.findings.append(f"incident {found['id']} of {target} was not handled {within}")
        return found["id"]

    def _unmoved(self) -> list[str]:
        """Return the VIPs of a node that was hit which do not answer elsewhere, as seen outside."""
        if self.drill.toll is not Toll.TAKEOVER:
            return []
        homes = {name: vip.home for name, vip in self.scene.cluster.vips.items()}
        answering = self.scene.observers.answering()
        return [
            vip
            for vip, who in answering.items()
            if homes[vip] == self.aim.node and who in (None, self.aim.node)
        ]

    async def _incident(self, known: set[str]) -> IncidentView | None:
        """Return the incident of our fault, if there is one yet."""
        for brief in await self.scene.console.incidents():
            hit = (brief["service"], brief["node"]) == (self.aim.service, self.aim.node)
            if hit and brief["planned"] == self.drill.planned and brief["id"] not in known:
                return await self.scene.console.incident(brief["id"])
        return None

    async def _until_closed(self) -> None:
        """Wait for our incident's end, and for that of any other that came beside it."""

        async def closed() -> bool:
            self.audience.waits("for the original settings")
            return all(x["state"] == "closed" for x in await self.scene.console.incidents())

        if not await self.scene.until(closed, self.patience.closed_us, 2 * LOOK_EVERY_US):
            within = f"within {self.patience.closed_us / SECOND:g} s"
            still = [x for x in await self.scene.console.incidents() if x["state"] != "closed"]
            self.findings += [f"incident {x['id']} was not closed {within}" for x in still]

    async def _restored(self, name: str | None) -> bool:
        """Ask everybody whether the original settings are in force; add what is found."""
        wrong: list[str] = []

        async def restored() -> bool:
            nonlocal wrong
            wrong = await self._differences(name)
            return not wrong

        await self.scene.until(restored, self.patience.restored_us, LOOK_EVERY_US)
        if not wrong and not await self._serves_again():
            wrong = [f"{self.aim.target} answers no client, as it did before"]
        self.findings += wrong
        return not wrong

    async def _differences(self, name: str | None) -> list[str]:
        scene = self.scene
        found = balancers.differences(await scene.weights(), scene.original)
        found += differing(await scene.console.rules())
        found += scene.observers.astray()
        if name is not None:
            incident = await scene.console.incident(name)
            if incident["restored"] != "yes":
                found.append(f"incident {name} says of its restoration: {incident['restored']}")
        return found

    async def _serves_again(self) -> bool:
        """Wait until what was hit answers clients; it did before, or it would be no target."""
        since = self.scene.clock.now()

        async def serves() -> bool:
            return any(map(self._is_by_target, self.scene.clients.since(since)))

        return await self.scene.until(serves, self.patience.restored_us, LOOK_EVERY_US)

    def _is_by_target(self, record: Record) -> bool:
        service = not self.aim.service or record.service == self.aim.service
        node = not self.aim.node or record.answered_by == self.aim.node
        return record.ok and service and node

    async def _result(
        self, times: "Times", injected: Injected, name: str | None, *, restored: bool
    ) -> DrillResult:
        scene = self.scene
        end_at = scene.clock.now()
        records = await scene.clients.take(end_at)
        first_at = min((record.scheduled_at for record in records), default=times.begin_at)
        incident = None if name is None else await scene.console.incident(name)
        watched = await scene.observers.take(end_at, injected.begin_at)
        switched = switched_us(incident, injected.begin_wall_us)
        lasted = Span(injected.begin_at, times.healed_at)
        excuse = Excuse.of(self.drill.toll, lasted, switched, watched)

        def stretch(begin_at: Instant, end_at: Instant, program: str = "") -> Stretch:
            return Stretch.of(program, Span(begin_at, end_at), records, watched)

        return result(
            Seen(
                drill=self.drill.name,
                target=self.aim.target,
                begin_wall_us=injected.begin_wall_us,
                incident=incident,
                summary=summarise(records),
                audit=scene.audit(records, first_at),
                watched=watched,
                restored=restored,
                findings=tuple(self.findings),
                toll=self.drill.toll,
                dark_max_us=self.drill.dark_max_us,
                excused=excuse.excused(records),
                after_heal=stretch(times.healed_at, end_at),
                steps=tuple(stretch(x.begin_at, x.end_at, x.program) for x in times.steps),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When a play began, when its fault was healed, and what was done meanwhile."""

    begin_at: Instant
    healed_at: Instant
    steps: tuple[Step, ...]


def differing(rules: Rules) -> list[str]:
    """Say where Equipoise itself sees rules that are not the original ones."""
    if not rules["knowledge"]["fresh"]:
        return [f"rules are not known: {rules['knowledge']['text']}"]
    return [
        f"{row['node']} has {row['service']}/{row['target']} at {row['installed']}, "
        f"originally {row['original']}"
        for row in rules["rules"]
        if row["installed"] != row["original"] or row["differs"]
    ]


async def until_fit(scene: Scene, audience: Audience, within_us: Duration) -> None:
    """Wait until a drill can begin: everything serves, everything matches, nothing is open."""
    why: str | None = "nothing is known yet"

    async def fit() -> bool:
        nonlocal why
        audience.waits("for the cluster to be ready for a drill")
        why = await scene.unfit()
        return why is None

    if not await scene.until(fit, within_us, 2 * LOOK_EVERY_US):
        raise DrillError(
            f"the cluster is not ready for a drill after {within_us / SECOND:g} s: {why}"
        )
