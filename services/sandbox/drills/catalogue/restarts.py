"""Every service of ours, and the bus, ends and starts again: one after the other, under load."""

from dataclasses import dataclass
from enum import StrEnum

from services.sandbox.drills.catalogue.drill import (
    LOOK_EVERY_US,
    RESTART_WITHIN_US,
    Aim,
    Drill,
    Injected,
    Step,
    made,
    until_restarted,
)
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.scene import Scene
from services.sandbox.network import WITNESS
from services.sandbox.parts import NODE_SERVICES, WITNESS_SERVICES
from shared.cluster import Cluster
from shared.errors import EquipoiseError
from shared.instant import SECOND, Duration

AS_BEFORE_WITHIN_US: Duration = 40 * SECOND  # VIPs that moved come home, after their hold-down


@dataclass(frozen=True)
class RestartEverything(Drill):
    """A signal to each in turn; the supervisor starts it again; then all must be as before."""

    name: StrEnum = Name.RESTART_EVERYTHING
    signal: str = "TERM"
    only: tuple[str, ...] = ()  # MEMBER/PROGRAM; none: every one
    opens_incident: bool = False  # some do and some do not, and none is about everything
    toll: Toll = Toll.DARKNESS

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit all."""
        del cluster
        return (Aim(),)

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        del aim
        what = ", ".join(self.only) or "every service of ours, and the bus,"
        return f"SIG{self.signal} to {what} in turn; each is started again"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Take note of how all stand; what is done is done in steps."""
        del aim
        before = await scene.control.programs()
        return made(scene, before, begin_at=scene.clock.now())

    async def hold(self, scene: Scene, aim: Aim, injected: Injected) -> tuple[Step, ...]:
        """Restart one after the other."""
        del aim, injected
        programs = self._programs(scene.cluster)
        return tuple([await _restarted(scene, program, self.signal) for program in programs])

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the supervisor for every process."""
        del aim
        after = await scene.control.programs()
        return [
            f"{program} has still the process {after[program].pid}"
            for program in self._programs(scene.cluster)
            if after[program].pid == injected.before[program].pid
        ]

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Look whether all run."""
        del aim, injected
        try:
            await scene.control.until_ready(RESTART_WITHIN_US, self._programs(scene.cluster))
        except EquipoiseError as problem:
            return [str(problem)]
        return []

    def _programs(self, cluster: Cluster) -> list[str]:
        return list(self.only) or _every_one(cluster)


def _every_one(cluster: Cluster) -> list[str]:
    """Return what is restarted, in order: the nodes', the witness's, and the bus at last."""
    found = [f"{node}/{name}" for name in NODE_SERVICES for node in cluster.nodes]
    return [*found, *(f"{WITNESS}/{name}" for name in WITNESS_SERVICES), f"{WITNESS}/nats"]


async def _restarted(scene: Scene, program: str, signal: str) -> Step:
    """Restart one, and wait until all is as before."""
    restarts = (await scene.control.programs())[program].restarts
    sent = await scene.control.send(program, signal)
    await until_restarted(scene, program, restarts)
    await scene.control.until_ready(RESTART_WITHIN_US, [program])
    ready_at = scene.clock.now()
    finding = await until_as_before(scene, f"a restart of {program}")
    return Step(
        program=program,
        begin_at=sent.begin_at,
        ready_at=ready_at,
        end_at=scene.clock.now(),
        finding=finding,
    )


async def until_as_before(scene: Scene, what: str) -> str:
    """Wait until a drill could begin again; return what is found if that does not come."""
    why: str | None = None

    async def as_before() -> bool:
        nonlocal why
        try:
            why = await scene.unfit()
        except EquipoiseError as problem:  # the console itself may be away
            why = str(problem)
        return why is None

    if await scene.until(as_before, AS_BEFORE_WITHIN_US, LOOK_EVERY_US):
        return ""
    within = f"within {AS_BEFORE_WITHIN_US / SECOND:g} s"
    return f"after {what} all was not as before {within}: {why}"
