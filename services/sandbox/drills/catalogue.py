"""The drills: what each injects, how it proves that the fault was there, how it heals.

A drill that cannot fail proves nothing, so `missed` asks the kernel, the instance or HAProxy, and
never Equipoise, whether the fault was really in force, and `unhealed` whether it really ended.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from services.sandbox.drills.names import Name
from services.sandbox.drills.scene import Scene
from services.sandbox.errors import DrillError
from services.sandbox.network import WITNESS
from services.sandbox.supervisor import Injection, Sight
from shared.api import Wish
from shared.cluster import Cluster, Mode
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND, Duration, Instant

RESTART_WITHIN_US: Duration = 20 * SECOND  # a Python program on a starved machine
ARBITER_BACK_WITHIN_US: Duration = 5 * SECOND  # about 1 s, most of it Python's own start
PROVE_WITHIN_US: Duration = 2 * SECOND
LOOK_EVERY_US: Duration = 20 * MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Whom a drill hits: an instance, and sometimes a program of ours beside it."""

    service: str
    node: str
    also: str | None = None  # MEMBER/PROGRAM

    @property
    def program(self) -> str:
        """The instance's program in the sandbox."""
        return f"{self.node}/{self.service}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault as it was made: from when on, counted by both clocks of this machine."""

    begin_at: Instant
    begin_wall_us: int
    before: Mapping[str, Sight]  # how the programs stood
    killed: tuple[Injection, ...] = ()


class Drill(ABC):
    """One kind of fault."""

    name: Name
    planned = False  # a person asks for it, so it is no failure
    hold_us: Duration = 0  # how long the fault lasts beyond what Equipoise needs to handle it

    @property
    def dark_max_us(self) -> Duration:
        """How long a VIP may answer nobody; 0: no safe request may fail."""
        return 0

    @abstractmethod
    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Return whom it can hit; repeats take turns."""

    @abstractmethod
    def words(self, aim: Aim) -> str:
        """Say what is done, to people."""

    def healing(self, aim: Aim) -> str | None:
        """Say how it is healed, to people; None if the sandbox's supervisor does it by itself."""
        del aim
        return None

    @abstractmethod
    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Make the fault."""

    @abstractmethod
    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Say what shows that the fault was not in force."""

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """End the fault; some end by themselves."""
        del scene, aim

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Say what shows that it did not end: the instance must run and answer."""
        del injected
        try:
            await scene.control.until_ready(RESTART_WITHIN_US, [aim.program])
        except MachineError as problem:
            return [str(problem)]
        return await _unless_answers(scene, aim, HTTPStatus.OK)


async def _unless_answers(scene: Scene, aim: Aim, wanted: HTTPStatus) -> list[str]:
    """Say what an instance answers if it is not soon what it must be: signals take a moment."""
    status: int | None = None

    async def answers() -> bool:
        nonlocal status
        status = await _status(scene, aim)
        return status == wanted

    if await scene.until(answers, PROVE_WITHIN_US, LOOK_EVERY_US):
        return []
    return [f"{aim.program} answers {status or 'nothing'}, not {wanted.value}"]


async def _status(scene: Scene, aim: Aim) -> int | None:
    """Ask an instance itself how it is."""
    node, service = scene.cluster.nodes[aim.node], scene.cluster.services[aim.service]
    return await scene.control.status_of(node.address, service.port, service.probe.path or "/")


def _instances(cluster: Cluster, *modes: Mode) -> tuple[Aim, ...]:
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

    @property
    def dark_max_us(self) -> Duration:
        """Nobody renews leases until the only arbiter is there again."""
        return ARBITER_BACK_WITHIN_US if self.name is Name.KILL_ARBITER_MEANWHILE else 0

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit every instance, or with each a program of ours."""
        if self.name is Name.KILL_INSTANCE:
            return _instances(cluster, Mode.BALANCE, Mode.MIRROR)
        balanced = _instances(cluster, Mode.BALANCE)
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
            await scene.control.ask("hold", program=aim.program)
        if self.name is Name.KILL_ARBITER_MEANWHILE:
            victims.reverse()
        killed = tuple([await scene.control.send(victim, "KILL") for victim in victims])
        instance = next(kill for kill in killed if kill.program == aim.program)
        return _injected(scene, before, killed, begin_at=instance.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the supervisor whether the kernel told it of each death."""
        del aim
        for kill in injected.killed:
            before = injected.before[kill.program].restarts
            await _until_restarted(scene, kill.program, before)
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
            await scene.control.ask("release", program=aim.program)

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


async def _until_restarted(scene: Scene, program: str, restarts: int) -> None:
    """Wait until the supervisor has seen a program die."""

    async def restarted() -> bool:
        return (await scene.control.programs())[program].restarts > restarts

    await scene.until(restarted, PROVE_WITHIN_US, LOOK_EVERY_US)


def _injected(
    scene: Scene,
    before: Mapping[str, Sight],
    killed: tuple[Injection, ...] = (),
    *,
    begin_at: Instant,
) -> Injected:
    ahead_us = scene.clock.wall() - scene.clock.now()
    return Injected(
        begin_at=begin_at, begin_wall_us=begin_at + ahead_us, before=before, killed=killed
    )


@dataclass(frozen=True)
class Hang(Drill):
    """An instance hangs: it takes connections and never answers."""

    name: Name = Name.HANG_INSTANCE
    hold_us: Duration = 500 * MILLISECOND

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Hit every instance."""
        return _instances(cluster, Mode.BALANCE, Mode.MIRROR)

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
        return _injected(scene, before, begin_at=sent.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask the kernel whether its process is stopped."""
        pid = injected.before[aim.program].pid
        stat = await scene.control.run(aim.node, ["cat", f"/proc/{pid}/stat"])
        state = stat.rpartition(") ")[2][:1]
        if state == "T":
            return []
        after = (await scene.control.programs())[aim.program]
        if after.pid != pid:
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
        return _instances(cluster, Mode.BALANCE)

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
        return _injected(scene, before, begin_at=sent.begin_at)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask it whether it answers 500."""
        del injected
        return await _unless_answers(scene, aim, HTTPStatus.INTERNAL_SERVER_ERROR)

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Tell it to work."""
        await scene.control.send(aim.program, "USR2")


@dataclass(frozen=True)
class Plan(Drill):
    """A person moves the load away from an instance, and brings it home."""

    name: Name = Name.PLANNED_FAILOVER
    planned: bool = True
    hold_us: Duration = 500 * MILLISECOND

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Move every instance."""
        return _instances(cluster, Mode.BALANCE, Mode.MIRROR)

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"a person moves {aim.service} away from {aim.node}"

    def healing(self, aim: Aim) -> str:
        """Say how it is undone."""
        return f"a person brings {aim.service} home to {aim.node}"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Ask for it."""
        before = await scene.control.programs()
        injected = _injected(scene, before, begin_at=scene.clock.now())
        await _wish(scene, "failover", aim, reason="a drill")
        return injected

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask every HAProxy whether it gives it nothing."""
        del injected
        return [
            f"HAProxy on {balancer} gives {aim.service}/{aim.node} weight {weight}, not 0"
            for balancer, weights in (await scene.weights()).items()
            if (weight := weights[aim.service][aim.node]) != 0
        ]

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Ask for the way back."""
        await _wish(scene, "failback", aim, reason="the drill is over")


async def _wish(scene: Scene, verb: str, aim: Aim, *, reason: str) -> None:
    wish = Wish(
        node=aim.node,
        service=aim.service,
        owner="sandbox",
        reason=reason,
        for_us=None,
        dry_run=False,
        force=False,
        expects=None,
    )
    answer = await scene.console.wish(verb, wish)
    if answer["answer"] != "accepted":
        raise DrillError(f"{verb} of {aim.service}/{aim.node} was refused: {answer['text']}")


DRILLS: Mapping[Name, Drill] = {
    Name.KILL_INSTANCE: Kill(),
    Name.HANG_INSTANCE: Hang(),
    Name.ERROR_INSTANCE: Fail(),
    Name.KILL_SWITCHER_MEANWHILE: Kill(name=Name.KILL_SWITCHER_MEANWHILE),
    Name.KILL_ARBITER_MEANWHILE: Kill(name=Name.KILL_ARBITER_MEANWHILE),
    Name.PLANNED_FAILOVER: Plan(),
}
