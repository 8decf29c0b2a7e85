"""A whole node is lost, in all the ways in which nodes are lost, and comes back.

What shows it is the kernel's: carrier, dropped frames, frames that do not come through, processes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from services.sandbox.cuts import Way, ways
from services.sandbox.drills.catalogue.drill import (
    LOOK_EVERY_US,
    PROVE_WITHIN_US,
    RESTART_WITHIN_US,
    Aim,
    Drill,
    Injected,
    made,
    of_nodes,
    unless_answers,
)
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.scene import Scene
from services.sandbox.faults import Reach
from services.sandbox.network import CLIENT, WITNESS, Wire
from shared.cluster import Cluster
from shared.errors import MachineError
from shared.instant import SECOND, Duration

OTHER = {Wire.CLUSTER: WITNESS, Wire.CLIENTS: CLIENT}  # who is there beside the nodes


@dataclass(frozen=True)
class Loss(Drill):
    """What all have in common: a node is hit, and must be there again as it was."""

    toll: Toll = Toll.TAKEOVER
    proof_us: Duration = SECOND  # a frame that does not come is waited for

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit every node: each holds a VIP."""
        return of_nodes(cluster)

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Look whether frames come through, and all programs run and answer."""
        del injected
        programs = [name for name in await scene.control.programs() if _is_on(aim.node, name)]
        try:
            await scene.control.until_ready(RESTART_WITHIN_US, programs)
        except MachineError as problem:
            return [str(problem)]
        found = await _unless_reached(
            scene, aim.node, scene.control.wires, Reach(there=True, back=True)
        )
        for service in scene.cluster.services:
            instance = Aim(service=service, node=aim.node)
            found += await unless_answers(scene, instance, HTTPStatus.OK)
        return found


def _is_on(node: str, program: str) -> bool:
    return program.startswith(f"{node}/")


async def _unless_reached(
    scene: Scene, node: str, wires: Iterable[Wire], wanted: Reach
) -> list[str]:
    """Say where frames come through otherwise than wanted; ports take a moment to come up."""
    found: list[str] = []

    async def right() -> bool:
        nonlocal found
        found = [
            f"frames on the network of the {wire} come through to {node} {_words(reach)}, "
            f"not {_words(wanted)}"
            for wire in wires
            if (reach := await scene.control.reach(node, OTHER[wire], wire)) != wanted
        ]
        return not found

    await scene.until(right, PROVE_WITHIN_US, LOOK_EVERY_US)
    return found


def _words(reach: Reach) -> str:
    match reach.there, reach.back:
        case True, True:
            return "both ways"
        case True, False:
            return "only from it"
        case False, True:
            return "only into it"
        case _:
            return "not at all"


@dataclass(frozen=True)
class Unplug(Loss):
    """A node loses carrier on its networks, or on one of them."""

    name: Name = Name.UNPLUG_NODE
    wires: tuple[Wire, ...] = tuple(Wire)
    lasts_us: Duration = 3 * SECOND

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"{aim.node} loses carrier on {self._networks()}"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"{aim.node} has carrier again"

    def _networks(self) -> str:
        if set(self.wires) == set(Wire):
            return "all its networks"
        return f"the network of the {' and '.join(self.wires)}"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Take its cables away."""
        before = await scene.control.programs()
        span = await scene.control.link(aim.node, up=False, wires=self.wires)
        return made(scene, before, begin_at=span.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask its own kernel for carrier, and try whether frames come through."""
        del injected
        carrier = (await scene.control.condition(aim.node)).carrier
        found = [
            f"{aim.node} {'has' if carrier[wire] else 'lacks'} carrier on the network of the {wire}"
            for wire in scene.control.wires
            if carrier[wire] is (wire in self.wires)
        ]
        lost = Reach(there=False, back=False)
        found += await _unless_reached(scene, aim.node, self.wires, lost)
        others = [wire for wire in scene.control.wires if wire not in self.wires]
        return found + await _unless_reached(scene, aim.node, others, Reach(there=True, back=True))

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Put them back."""
        await scene.control.link(aim.node, up=True, wires=self.wires)


@dataclass(frozen=True)
class Cut(Loss):
    """A node is cut off in silence: carrier stays, and nobody is told."""

    name: Name = Name.CUT_NODE
    lasts_us: Duration = 3 * SECOND

    @property
    def _way(self) -> Way:
        return {Name.CUT_NODE_IN: Way.IN, Name.CUT_NODE_OUT: Way.OUT}.get(self.name, Way.BOTH)

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        dropped = {
            Way.BOTH: "all frames to and from",
            Way.IN: "all frames to",
            Way.OUT: "all frames from",
        }[self._way]
        return f"{dropped} {aim.node} are dropped in silence"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"frames of {aim.node} come through again"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Cut both its cables."""
        before = await scene.control.programs()
        span = await scene.control.cut(aim.node, self._way)
        return made(scene, before, begin_at=span.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel what it dropped, and try whether frames come through."""
        del injected
        left = Reach(there=self._way is Way.IN, back=self._way is Way.OUT)
        found = await _unless_reached(scene, aim.node, scene.control.wires, left)
        condition = await scene.control.condition(aim.node)
        for wire in scene.control.wires:
            if not condition.carrier[wire]:
                found.append(f"{aim.node} was told: it lacks carrier on the network of the {wire}")
            counted = condition.dropped.get(wire, {})
            found += [
                f"no frame {way} {aim.node} was dropped on the network of the {wire}"
                for way in ways(self._way)
                if not counted.get(way)
            ]
        return found

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Let frames through again."""
        await scene.control.do("heal", aim.node)


@dataclass(frozen=True)
class Freeze(Loss):
    """Every process of a node stops, and wakes later as if nothing had been."""

    name: Name = Name.FREEZE_NODE
    lasts_us: Duration = 10 * SECOND

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"every process of {aim.node} freezes"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"every process of {aim.node} goes on"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Stop them."""
        before = await scene.control.programs()
        span = await scene.control.do("freeze", aim.node)
        return made(scene, before, begin_at=span.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel for every process's state."""
        del injected
        condition = await scene.control.condition(aim.node)
        if condition.frozen:
            return []
        awake = {pid: state for pid, state in condition.processes.items() if state != "T"}
        return [f"{aim.node} is not frozen: {awake or 'it has no process'}"]

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Let them go on."""
        await scene.control.do("thaw", aim.node)


@dataclass(frozen=True)
class KillNode(Loss):
    """Everything on a node dies at once, and is kept down for a while."""

    name: Name = Name.KILL_NODE
    lasts_us: Duration = 3 * SECOND

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"kill -9 of everything on {aim.node}"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"everything on {aim.node} is started again"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Kill everything."""
        before = await scene.control.programs()
        span = await scene.control.do("kill", aim.node)
        return made(scene, before, begin_at=span.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel for its processes."""
        del injected
        condition = await scene.control.condition(aim.node)
        if condition.dead:
            return []
        return [f"{aim.node} is not dead: it has the processes {dict(condition.processes)}"]

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Let everything start again."""
        await scene.control.do("revive", aim.node)

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Look whether every program runs again, by another process."""
        found = await super().unhealed(scene, aim, injected)
        after = await scene.control.programs()
        return found + [
            f"{name} has still the process {sight.pid}"
            for name, sight in after.items()
            if _is_on(aim.node, name) and sight.pid == injected.before[name].pid
        ]
