"""One instance dies, hangs or fails, perhaps together with a program of ours."""

import signal
from dataclasses import dataclass
from http import HTTPStatus

from services.sandbox.drills.catalogue.drill import (
    RESTART_WITHIN_US,
    Aim,
    Drill,
    Injected,
    made,
    unless_answers,
    until_restarted,
)
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.scene import Scene
from services.sandbox.network import WITNESS
from shared.cluster import Cluster, Mode
from shared.errors import MachineError
from shared.instant import MILLISECOND, Duration


def instances(cluster: Cluster, *modes: Mode) -> tuple[Aim, ...]:
    """Return all instances that serve; the last node's first, the primary's last."""
    return tuple(
        Aim(service=service.name, node=node)
        for mode in modes
        for service in cluster.services.values()
        if service.mode is mode
        for node in reversed(tuple(cluster.nodes))
        if mode is Mode.BALANCE or node == service.home
    )


@dataclass(frozen=True)
class Kill(Drill):
    """An instance dies by SIGKILL, perhaps together with a program of ours.

    Alone it is started again at once, as on any machine. Together with one of ours it stays dead
    until that one has coped: else it would be back before anybody could have noticed.
    """

    name: Name = Name.KILL_INSTANCE
    toll: Toll = Toll.NOTHING

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit every instance, or with each a program of ours."""
        if self.name is Name.KILL_INSTANCE:
            return instances(cluster, Mode.BALANCE, Mode.MIRROR)
        balanced = instances(cluster, Mode.BALANCE)
        if self.name is Name.KILL_ARBITER_MEANWHILE:
            return tuple(
                Aim(service=aim.service, node=aim.node, also=f"{WITNESS}/arbiter")
                for aim in balanced
            )
        # In turn the switcher of another node and that of the same: both load balancers matter.
        return tuple(
            Aim(service=aim.service, node=aim.node, also=f"{node}/traffic_switcher")
            for aim in balanced
            for node in sorted(cluster.nodes, key=lambda node: node == aim.node)
        )

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        instance = f"kill -9 of {aim.service} on {aim.node}"
        match self.name, aim.also:
            case Name.KILL_ARBITER_MEANWHILE, str(also):
                return f"kill -9 of {also}, and at once {instance}"
            case _, str(also):
                return f"{instance}, and at once kill -9 of {also}"
            case _:
                return instance

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Kill, the one right after the other."""
        victims = [aim.program, *([aim.also] if aim.also else [])]
        before = await scene.control.programs()
        if aim.also:
            await scene.control.hold(aim.program)
        if self.name is Name.KILL_ARBITER_MEANWHILE:
            victims.reverse()
        killed = tuple([await scene.control.send(victim, "KILL") for victim in victims])
        instance = next(kill for kill in killed if kill.program == aim.program)
        return made(scene, before, killed=killed, begin_at=instance.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the supervisor whether the kernel told it of each death."""
        del aim
        for kill in injected.killed:
            before = injected.before[kill.program].restarts
            await until_restarted(scene, kill.program, before)
        after = await scene.control.programs()
        return [
            f"{kill.program} was sent SIGKILL, but its process {kill.pid} did not die of it"
            for kill in injected.killed
            if after[kill.program].restarts == injected.before[kill.program].restarts
            or after[kill.program].exit_code != -signal.SIGKILL
        ]

    def healing(self, aim: Aim) -> str | None:
        """Say how it is healed."""
        return f"{aim.service} on {aim.node} is started again" if aim.also else None

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Let it be started again."""
        if aim.also:
            await scene.control.release(aim.program)

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Look whether all that was killed runs again, by another process."""
        try:
            programs = [kill.program for kill in injected.killed]
            await scene.control.until_ready(RESTART_WITHIN_US, programs)
        except MachineError as problem:
            return [str(problem)]
        after = await scene.control.programs()
        return [
            *(
                f"{kill.program} has still the process {kill.pid}"
                for kill in injected.killed
                if after[kill.program].pid == kill.pid
            ),
            *await super().unhealed(scene, aim, injected),
        ]


@dataclass(frozen=True)
class Hang(Drill):
    """An instance hangs: it takes connections and never answers."""

    name: Name = Name.HANG_INSTANCE
    hold_us: Duration = 500 * MILLISECOND

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit every instance."""
        return instances(cluster, Mode.BALANCE, Mode.MIRROR)

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"kill -STOP of {aim.service} on {aim.node}: it hangs"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"kill -CONT of {aim.service} on {aim.node}"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Stop its process."""
        before = await scene.control.programs()
        sent = await scene.control.send(aim.program, "STOP")
        return made(scene, before, begin_at=sent.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel whether its process is stopped."""
        pid = str(injected.before[aim.program].pid)
        state = (await scene.control.condition(aim.node)).processes.get(pid)
        if state == "T":
            return []
        if state is None:
            after = (await scene.control.programs())[aim.program]
            return [f"{aim.program} ended meanwhile with exit code {after.exit_code}"]
        return [f"{aim.program} is in state {state!r}, not stopped"]

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Let it go on."""
        await scene.control.send(aim.program, "CONT")


@dataclass(frozen=True)
class Fail(Drill):
    """An instance answers 500 to everything, its health check included."""

    name: Name = Name.ERROR_INSTANCE
    hold_us: Duration = 500 * MILLISECOND

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit what is balanced: an error of a mirror is its answer, as long as it alone serves."""
        return instances(cluster, Mode.BALANCE)

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"{aim.service} on {aim.node} answers 500 to everything"

    def healing(self, aim: Aim) -> str:
        """Say how it is healed."""
        return f"{aim.service} on {aim.node} answers properly again"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Tell it to fail."""
        before = await scene.control.programs()
        sent = await scene.control.send(aim.program, "USR1")
        return made(scene, before, begin_at=sent.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask it whether it answers 500."""
        del injected
        return await unless_answers(scene, aim, HTTPStatus.INTERNAL_SERVER_ERROR)

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Tell it to work."""
        await scene.control.send(aim.program, "USR2")
