"""A node's load balancer dies or hangs; everything else on the node goes on."""

import signal
from dataclasses import dataclass
from http import HTTPStatus

from services.sandbox.drills.catalogue.drill import (
    LOOK_EVERY_US,
    PROVE_WITHIN_US,
    RESTART_WITHIN_US,
    Aim,
    Drill,
    Injected,
    made,
    of_nodes,
    until_restarted,
)
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.scene import Scene
from shared.cluster import Cluster
from shared.errors import MachineError
from shared.instant import MILLISECOND, Duration


@dataclass(frozen=True)
class _Balancer(Drill):
    """What both have in common: a whole HAProxy is hit, its master and its workers."""

    toll: Toll = Toll.TAKEOVER

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit every node's: each holds a VIP."""
        return of_nodes(cluster)

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask it for every service."""
        del injected
        try:
            await scene.control.until_ready(RESTART_WITHIN_US, [_program(aim)])
        except MachineError as problem:
            return [str(problem)]
        statuses: dict[str, int | None] = {}

        async def serves() -> bool:
            nonlocal statuses
            statuses = await _answers(scene, aim)
            return set(statuses.values()) == {HTTPStatus.OK}

        if await scene.until(serves, PROVE_WITHIN_US, LOOK_EVERY_US):
            return []
        return [f"{_program(aim)} answers {statuses}"]


@dataclass(frozen=True)
class KillBalancer(_Balancer):
    """It dies by SIGKILL, and is kept from starting until Equipoise has coped."""

    name: Name = Name.KILL_BALANCER

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"kill -9 of HAProxy on {aim.node}, master and workers"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"HAProxy on {aim.node} is started again"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Kill it."""
        before = await scene.control.programs()
        pids = await scene.control.processes(_program(aim))
        await scene.control.hold(_program(aim))
        sent = await scene.control.send(_program(aim), "KILL", everyone=True)
        return made(scene, before, killed=(sent,), begin_at=sent.begin_at, pids=pids)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel for its processes, and its ports for an answer."""
        program = _program(aim)
        await until_restarted(scene, program, injected.before[program].restarts)
        found = []
        exit_code = (await scene.control.programs())[program].exit_code
        if exit_code != -signal.SIGKILL:
            found.append(f"{program} ended with {exit_code}, not by SIGKILL")
        alive = injected.pids & (await scene.control.condition(aim.node)).processes.keys()
        if alive:
            found.append(f"of {program} there are still the processes {sorted(alive)}")
        answered = [name for name, status in (await _answers(scene, aim)).items() if status]
        if answered:
            found.append(f"{program} answers for {', '.join(answered)}, though it was killed")
        return found

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Let it be started again."""
        await scene.control.release(_program(aim))


@dataclass(frozen=True)
class HangBalancer(_Balancer):
    """It hangs: the kernel goes on taking connections for it, and nobody answers."""

    name: Name = Name.HANG_BALANCER
    hold_us: Duration = 500 * MILLISECOND

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"kill -STOP of HAProxy on {aim.node}, master and workers: it hangs"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"kill -CONT of HAProxy on {aim.node}"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Stop it."""
        before = await scene.control.programs()
        pids = await scene.control.processes(_program(aim))
        sent = await scene.control.send(_program(aim), "STOP", everyone=True)
        return made(scene, before, begin_at=sent.begin_at, pids=pids)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel whether each of its processes is stopped."""
        states = (await scene.control.condition(aim.node)).processes
        return [
            f"process {pid} of {_program(aim)} is "
            f"{'gone' if pid not in states else f'in state {states[pid]!r}, not stopped'}"
            for pid in sorted(injected.pids)
            if states.get(pid) != "T"
        ]

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Let it go on."""
        await scene.control.send(_program(aim), "CONT", everyone=True)


def _program(aim: Aim) -> str:
    return f"{aim.node}/haproxy"


async def _answers(scene: Scene, aim: Aim) -> dict[str, int | None]:
    """Ask a node's HAProxy for every service."""
    address = scene.cluster.nodes[aim.node].address
    return {
        service.name: await scene.control.status_of(address, service.listen, "/")
        for service in scene.cluster.services.values()
    }
