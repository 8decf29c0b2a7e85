"""A person moves load away and brings it home: nothing is lost, and no connection is broken."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from services.sandbox import sitting
from services.sandbox.drills.catalogue.drill import (
    LOOK_EVERY_US,
    PROVE_WITHIN_US,
    Aim,
    Drill,
    Injected,
    made,
    of_nodes,
    unless_answers,
)
from services.sandbox.drills.catalogue.instances import instances
from services.sandbox.drills.names import Name
from services.sandbox.drills.scene import Scene
from services.sandbox.errors import DrillError
from services.sandbox.network import CLIENT
from services.sandbox.parts import CLIENT_PLAN
from services.sandbox.sitting import Seat
from shared.api import Wish
from shared.cluster import Cluster, Mode
from shared.instant import MILLISECOND, SECOND, Duration, Instant

SEATED_WITHIN_US: Duration = 5 * SECOND
SAT_FOR_US: Duration = 6 * SECOND  # a move there, the way home, the drain time, and a moment
# A connection is asked over 20 times a second; on a starved machine an answer takes longer.
LAST_ANSWER_US: Duration = 400 * MILLISECOND
SAT = "sitting.json"


@dataclass(frozen=True)
class Plan(Drill):
    """A person moves everything away from a node, or one instance, and back."""

    name: Name = Name.PLANNED_FAILOVER
    planned: bool = True
    hold_us: Duration = 500 * MILLISECOND

    def aims(self, cluster: Cluster) -> tuple[Aim, ...]:
        """Move every node's load, and every instance's."""
        return (*of_nodes(cluster), *instances(cluster, Mode.BALANCE, Mode.MIRROR))

    def words(self, aim: Aim) -> str:
        """Say what is done."""
        return f"a person moves {_what(aim)} away from {aim.node}"

    def healing(self, aim: Aim) -> str:
        """Say how it is undone."""
        return f"a person brings {_what(aim)} home to {aim.node}"

    async def inject(self, scene: Scene, aim: Aim) -> Injected:
        """Ask for it, while connections are open through the VIPs."""
        before = await scene.control.programs()
        task = await _seated(scene) if scene.cluster.vips and not aim.service else None
        injected = made(scene, before, begin_at=scene.clock.now())
        await _wish(scene, "failover", aim, reason="a drill")
        return replace(injected, sitting=task)

    async def missed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Ask every HAProxy whether it gives it nothing, and the wire where its VIPs are."""
        del injected
        services = [aim.service] if aim.service else list(scene.cluster.services)
        found = [
            f"HAProxy on {balancer} gives {service}/{aim.node} weight {weight}, not 0"
            for balancer, weights in (await scene.weights()).items()
            for service in services
            if (weight := weights[service][aim.node]) != 0
        ]
        if aim.service:
            return found
        return found + [
            f"{vip} is still answered by {aim.node}"
            for vip, holder in scene.observers.answering().items()
            if holder == aim.node
        ]

    async def heal(self, scene: Scene, aim: Aim) -> None:
        """Ask for the way back."""
        await _wish(scene, "failback", aim, reason="the drill is over")

    async def unhealed(self, scene: Scene, aim: Aim, injected: Injected) -> list[str]:
        """Look whether what was moved answers, and whether all who were connected stayed so."""
        found: list[str] = []
        for service in [aim.service] if aim.service else scene.cluster.services:
            instance = Aim(service=service, node=aim.node)
            found += await unless_answers(scene, instance, HTTPStatus.OK)
        if injected.sitting is not None:
            seats = await injected.sitting
            end_at = max(seat.answered_at for seat in seats)
            moves = {
                vip: [at for at in of_vip if injected.begin_at <= at <= end_at]
                for vip, of_vip in scene.observers.moves().items()
            }
            found += broken(seats, moves, scene.cluster.policy.drain_us)
        return found


def _what(aim: Aim) -> str:
    return aim.service or "everything"


async def _seated(scene: Scene) -> "asyncio.Task[Sequence[Seat]]":
    """Let clients sit down; return when all are connected what will say how they fared."""
    report = scene.folder / SAT
    report.unlink(missing_ok=True)
    task = asyncio.create_task(_sat(scene))

    async def seated() -> bool:
        if task.done():
            await task
        return bool(sitting.read(report)[1])

    if not await scene.until(seated, SEATED_WITHIN_US, LOOK_EVERY_US):
        raise DrillError("no connection could be opened through the VIPs")
    return task


async def _sat(scene: Scene) -> Sequence[Seat]:
    """Run those clients until they get up."""
    report = scene.folder / SAT
    command = [sys.executable, "-m", "services.sandbox.sitting", "--report", str(report)]
    command += ["--plan", str(scene.folder / CLIENT_PLAN)]
    command += ["--seconds", str(SAT_FOR_US // SECOND)]
    within_us = SAT_FOR_US + SEATED_WITHIN_US + PROVE_WITHIN_US
    code, complaint = await scene.control.beside(CLIENT, command, within_us)
    over, seats = sitting.read(report)
    if code or not over:
        raise DrillError(f"connections could not be kept open: {complaint[-500:]}")
    return seats


def broken(
    seats: Sequence[Seat], moves: Mapping[str, Sequence[Instant]], drain_us: Duration
) -> list[str]:
    """Say which connections broke though their VIP had not moved, or within the drain time.

    Nor may one be asked to leave where nothing moves.
    """
    found = []
    for vip in sorted({seat.vip for seat in seats}):
        of_vip = [seat for seat in seats if seat.vip == vip]
        lost = [seat for seat in of_vip if not _lasted(seat, moves[vip], drain_us)]
        if lost:
            reasons = ", ".join(sorted({seat.why for seat in lost}))
            within = " within the drain time" if moves[vip] else ""
            found.append(
                f"{len(lost)} of {len(of_vip)} connections through {vip} broke{within}: {reasons}"
            )
        if sent := [seat for seat in of_vip if not _may_leave(seat, moves[vip])]:
            text = f"connections through {vip} were asked to leave though it did not move"
            found.append(f"{len(sent)} of {len(of_vip)} {text}")
        if any(not _is_open_at(at, of_vip) for at in moves[vip]):
            found.append(f"no connection was open through {vip} when it moved: nothing is proved")
    return found


def _lasted(seat: Seat, moves: Sequence[Instant], drain_us: Duration) -> bool:
    if seat.broken_at is None:
        return True
    answered_until = seat.answered_at + LAST_ANSWER_US
    return any(seat.opened_at <= at and at + drain_us <= answered_until for at in moves)


def _may_leave(seat: Seat, moves: Sequence[Instant]) -> bool:
    # That it moved is seen on the wire, a moment after its clients were asked to leave.
    left_at = seat.left_at
    if left_at is None:
        return True
    return any(seat.opened_at <= at <= left_at + LAST_ANSWER_US for at in moves)


def _is_open_at(at: Instant, seats: Sequence[Seat]) -> bool:
    return any(seat.opened_at <= at < _end_of(seat, at + 1) for seat in seats)


def _end_of(seat: Seat, if_none: Instant) -> Instant:
    if seat.left_at is not None:
        return seat.left_at + LAST_ANSWER_US
    return seat.broken_at or if_none


async def _wish(scene: Scene, verb: str, aim: Aim, *, reason: str) -> None:
    wish = Wish(
        node=aim.node,
        service=aim.service or None,
        owner="sandbox",
        reason=reason,
        for_us=None,
        dry_run=False,
        force=False,
        expects=None,
    )
    answer = await scene.console.wish(verb, wish)
    if answer["answer"] != "accepted":
        raise DrillError(f"{verb} of {aim.target} was refused: {answer['text']}")
