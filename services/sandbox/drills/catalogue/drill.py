"""What all drills have in common: whom they hit, how they are made, and what shows it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from services.sandbox.drills.judgement import DARK_MAX_US, Toll
from services.sandbox.drills.scene import Scene
from services.sandbox.sitting import Seat
from services.sandbox.supervisor import Injection, Sight
from shared.cluster import Cluster
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND, Duration, Instant

RESTART_WITHIN_US: Duration = 20 * SECOND  # a Python program on a starved machine
PROVE_WITHIN_US: Duration = 2 * SECOND
LOOK_EVERY_US: Duration = 20 * MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Whom a drill hits: an instance, or a whole node; sometimes a program of ours beside it."""

    service: str = ""  # "": the node
    node: str = ""  # "": all of them
    also: str | None = None  # MEMBER/PROGRAM

    @property
    def program(self) -> str:
        """The instance's program in the sandbox."""
        assert self.service
        return f"{self.node}/{self.service}"

    @property
    def target(self) -> str:
        """Its name, as people say it."""
        if self.service:
            return f"{self.service}/{self.node}"
        return self.node or "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault as it was made: from when on, counted by both clocks of this machine."""

    begin_at: Instant
    begin_wall_us: int
    before: Mapping[str, Sight]  # how the programs stood
    killed: tuple[Injection, ...] = ()
    pids: frozenset[str] = frozenset()  # of the processes that were hit
    sitting: "asyncio.Task[Sequence[Seat]] | None" = None  # connections that stay open


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part of a drill that does several things one after the other."""

    program: str
    begin_at: Instant
    ready_at: Instant  # it ran again
    end_at: Instant  # and all was as before
    finding: str = ""  # what was not


class Drill(ABC):
    """One kind of fault."""

    name: StrEnum
    planned = False  # a person asks for it, so it is no failure
    opens_incident = True  # Equipoise must make one of it, of this very target
    toll = Toll.NOTHING
    dark_max_us: Duration = DARK_MAX_US
    hold_us: Duration = 0  # how long the fault lasts beyond what Equipoise needs to handle it
    lasts_us: Duration = 0  # how long it lasts at least, counted from its beginning
    proof_us: Duration = 0  # of that, what is left to prove that it is in force

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

    async def hold(self, scene: Scene, aim: Aim, injected: Injected) -> tuple[Step, ...]:
        """Let the fault last, once Equipoise has coped; return what was done meanwhile, if any."""
        del aim
        proof_at = injected.begin_at + self.lasts_us - self.proof_us
        await scene.until_instant(max(scene.clock.now() + self.hold_us, proof_at))
        return ()

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
        return await unless_answers(scene, aim, HTTPStatus.OK)


async def unless_answers(scene: Scene, aim: Aim, wanted: HTTPStatus) -> list[str]:
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


def of_nodes(cluster: Cluster) -> tuple[Aim, ...]:
    """Return all nodes, the primary last."""
    return tuple(Aim(node=node) for node in reversed(tuple(cluster.nodes)))


async def until_restarted(scene: Scene, program: str, restarts: int) -> None:
    """Wait until the supervisor has seen a program die."""

    async def restarted() -> bool:
        return (await scene.control.programs())[program].restarts > restarts

    await scene.until(restarted, PROVE_WITHIN_US, LOOK_EVERY_US)


def made(
    scene: Scene,
    before: Mapping[str, Sight],
    *,
    begin_at: Instant,
    killed: tuple[Injection, ...] = (),
    pids: frozenset[str] = frozenset(),
) -> Injected:
    """Return a fault that began at an instant."""
    ahead_us = scene.clock.wall() - scene.clock.now()
    return Injected(
        begin_at=begin_at,
        begin_wall_us=begin_at + ahead_us,
        before=before,
        killed=killed,
        pids=pids,
    )
