"""What is done to every stack alike, by the sandbox from outside: nobody is asked to fail.

A fault lasts until clients have not noticed it for a while, and at least and at most so long as it
is said here: what is never noticed would else last for ever.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.peers.stacks import Stack
from services.sandbox.cuts import Way
from services.sandbox.drills.scene import Scene
from services.sandbox.errors import DrillError
from services.sandbox.supervisor import Stage
from shared.api import Wish
from shared.instant import MILLISECOND, SECOND, Duration

STOPPED_WITHIN_US: Duration = 10 * SECOND
LOOK_EVERY_US: Duration = 10 * MILLISECOND


class Fault(StrEnum):
    """A kind of fault."""

    KILL_INSTANCE = "instance killed"
    HANG_INSTANCE = "instance hangs"
    KILL_BALANCER = "load balancer killed"
    HANG_BALANCER = "load balancer hangs"
    CUT_NODE = "node cut off in silence"
    PLANNED = "planned move, and back"


# What moves a VIP; the others are the load balancers' own affair.
MOVING = (Fault.KILL_BALANCER, Fault.HANG_BALANCER, Fault.CUT_NODE, Fault.PLANNED)
LEAST_US: Duration = 1_000 * MILLISECOND
# HAProxy as shipped needs 12 s at worst for an instance that hangs or is cut off.
MOST_US: Mapping[Fault, Duration] = {
    Fault.KILL_INSTANCE: 8 * SECOND,
    Fault.HANG_INSTANCE: 14 * SECOND,
    Fault.KILL_BALANCER: 6 * SECOND,
    Fault.HANG_BALANCER: 6 * SECOND,
    Fault.CUT_NODE: 14 * SECOND,
    Fault.PLANNED: 6 * SECOND,
}

Act = Callable[[Scene], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Deed:
    """How a fault is made and ended."""

    make: Act
    end: Act


def deed(fault: Fault, stack: Stack, node: str) -> Deed:
    """Return how a fault hits a node of a stack."""
    match fault:
        case Fault.KILL_INSTANCE:
            return _killed(f"{node}/shop")
        case Fault.HANG_INSTANCE:
            return _hung(f"{node}/shop")
        case Fault.KILL_BALANCER:
            return _killed(f"{node}/haproxy")
        case Fault.HANG_BALANCER:
            return _hung(f"{node}/haproxy")
        case Fault.CUT_NODE:
            return Deed(
                lambda scene: scene.control.cut(node, Way.BOTH),
                lambda scene: scene.control.do("heal", node),
            )
        case Fault.PLANNED if stack is Stack.EQUIPOISE:
            return Deed(
                lambda scene: _wish(scene, "failover", node),
                lambda scene: _wish(scene, "failback", node),
            )
        case Fault.PLANNED:
            # As an operator does it: `systemctl stop keepalived`, and start.
            program = f"{node}/keepalived"
            return Deed(lambda scene: _stop(scene, program), lambda scene: _start(scene, program))


def _killed(program: str) -> Deed:
    async def make(scene: Scene) -> None:
        await scene.control.hold(program)
        await scene.control.send(program, "KILL", everyone=True)

    return Deed(make, lambda scene: _start(scene, program))


def _hung(program: str) -> Deed:
    return Deed(
        lambda scene: scene.control.send(program, "STOP", everyone=True),
        lambda scene: scene.control.send(program, "CONT", everyone=True),
    )


async def _stop(scene: Scene, program: str) -> None:
    await scene.control.hold(program)
    await scene.control.send(program, "TERM")

    async def stopped() -> bool:
        return (await scene.control.programs())[program].stage is Stage.HELD

    if not await scene.until(stopped, STOPPED_WITHIN_US, LOOK_EVERY_US):
        raise DrillError(f"{program} did not end when it was told to")


async def _start(scene: Scene, program: str) -> None:
    await scene.control.release(program)


async def _wish(scene: Scene, verb: str, node: str) -> None:
    wish = Wish(
        node=node,
        service=None,
        owner="benchmark",
        reason="to compare",
        for_us=None,
        dry_run=False,
        force=False,
        expects=None,
    )
    answer = await scene.console.wish(verb, wish)
    if answer["answer"] != "accepted":
        raise DrillError(f"{verb} of {node} was refused: {answer['text']}")
