"""Faults that only an engine makes: its networks, its restarts, its pods."""

from collections.abc import Callable
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
)
from services.sandbox.drills.catalogue.nodes import Loss
from services.sandbox.drills.catalogue.restarts import RestartEverything, until_as_before
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.scene import Scene
from shared.cluster import Cluster
from shared.instant import SECOND, Duration
from tests.compose.cluster import PROJECT, Composed
from tests.compose.seeing import Seeing

NETWORK = f"{PROJECT}_cluster"


class Name(StrEnum):
    """A drill that only an engine can play."""

    DISCONNECT_NODE = "disconnect-node"
    KILL_OURS = "kill-ours"
    KILL_NETWORK = "kill-network"
    RESTART_ALL = "compose-restart"


@dataclass(frozen=True, kw_only=True)
class Disconnect(Loss):
    """The engine takes a node off its network, and puts it back: with another interface."""

    composed: Composed
    seeing: Seeing
    name: StrEnum = Name.DISCONNECT_NODE
    lasts_us: Duration = 3 * SECOND

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"docker network disconnect of {aim.node}: its interface vanishes"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"docker network connect of {aim.node}"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Disconnect it."""
        before = await scene.control.programs()
        found = self.composed.containers()[aim.node]
        begin_at = scene.clock.now()
        self.composed.engine.disconnect_container_from_network(found, NETWORK)
        return made(scene, before, begin_at=begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask its own kernel for an interface, and the engine for its network."""
        del injected
        found = []
        if (await scene.control.condition(aim.node)).carrier["cluster"]:
            found.append(f"{aim.node} still has an interface")
        if NETWORK in self.composed.inspect(aim.node)["NetworkSettings"]["Networks"]:
            found.append(f"{aim.node} is still on {NETWORK}, as the engine says")
        return found

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Connect it again, with the address that it had."""
        found = self.composed.containers()[aim.node]
        address = scene.cluster.nodes[aim.node].address
        self.composed.engine.connect_container_to_network(
            found, NETWORK, ipv4_address=address, aliases=[aim.node]
        )
        self.seeing.reconnected(aim.node)


@dataclass(frozen=True, kw_only=True)
class Restart(Drill):
    """Something restarts many containers at once, and all must be as before."""

    name: StrEnum
    what: str
    restart: Callable[[Aim], object]
    hits: Callable[[Cluster], tuple[Aim, ...]]
    toll: Toll = Toll.TAKEOVER
    opens_incident: bool = False
    dark_max_us: Duration = 60 * SECOND  # the bus is away, too, and then all programs start at once

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit what it hits."""
        return self.hits(cluster)

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"{self.what} {aim.node}".strip()

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Take note of how all stand; what is done is done in a step."""
        del aim
        before = await scene.control.programs()
        return made(scene, before, begin_at=scene.clock.now())

    async def hold(self, scene: Scene, aim: Aim, injected: Injected) -> tuple[Step, ...]:
        """Restart, and wait until all is as before."""
        self.restart(aim)

        async def others() -> bool:
            return not await self.missed(scene, aim, injected)

        # Until then all may still look as it did before.
        await scene.until(others, RESTART_WITHIN_US, LOOK_EVERY_US)
        ready_at = scene.clock.now()
        finding = await until_as_before(scene, self.words(aim))
        return (
            Step(
                program=self.name.value,
                begin_at=injected.begin_at,
                ready_at=ready_at,
                end_at=scene.clock.now(),
                finding=finding,
            ),
        )

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel for every process that was hit."""
        after = await scene.control.programs()
        return [
            f"{program} has still the process {sight.pid}"
            for program, sight in after.items()
            if program.startswith(f"{aim.node}/" if aim.node else "")
            and sight.pid == injected.before[program].pid
        ]

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Nothing was left to heal."""
        del scene, aim, injected
        return []


def everything(cluster: Cluster) -> tuple[Aim, ...]:
    """Return the aim that is all."""
    del cluster
    return (Aim(),)


def kill_ours(*programs: str) -> RestartEverything:
    """Return the drill that kills programs of ours one after the other."""
    return RestartEverything(name=Name.KILL_OURS, signal="KILL", only=programs)
