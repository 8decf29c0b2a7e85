"""What is done to every stack alike, by the sandbox from outside: nobody is asked to fail.

A fault lasts until clients have not noticed it for a while, and at least and at most so long as it
is said here: what is never noticed would else last for ever. Just before it is ended, the kernel is
asked whether it was there: a fault that cannot be proved is no measurement.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from benchmarks.peers.places import INTERFACE, NODES, ip_program
from services.sandbox.configuration import SERVICES
from services.sandbox.cuts import Way, ways
from services.sandbox.drills.scene import Scene
from services.sandbox.errors import DrillError
from services.sandbox.faults import Condition
from services.sandbox.network import addresses, vips
from services.sandbox.supervisor import Stage
from shared.api import Wish
from shared.instant import MILLISECOND, SECOND, Duration

STOPPED_WITHIN_US: Duration = 10 * SECOND
PROVE_WITHIN_US: Duration = 2 * SECOND
LOOK_EVERY_US: Duration = 20 * MILLISECOND
SHOP = SERVICES[0]


class Fault(StrEnum):
    """A kind of fault."""

    KILL_INSTANCE = "instance killed"
    HANG_INSTANCE = "instance hangs"
    FAIL_INSTANCE = "instance answers errors"
    KILL_BALANCER = "load balancer killed"
    HANG_BALANCER = "load balancer hangs"
    CUT_NODE = "node cut off in silence"
    CUT_NODE_IN = "node hears nothing"
    KILL_NODE = "node without power"
    FREEZE_NODE = "node frozen, and thawed"
    PLANNED = "planned move, and back"


# The load balancers' own affair, and what moves a VIP.
INSTANCES = (Fault.KILL_INSTANCE, Fault.HANG_INSTANCE, Fault.FAIL_INSTANCE)
MOVING = tuple(fault for fault in Fault if fault not in INSTANCES)
BALANCERS = (Fault.KILL_BALANCER, Fault.HANG_BALANCER)
# Nothing tells of them but that nobody is heard any more, or hears any more.
SILENT = (Fault.CUT_NODE, Fault.CUT_NODE_IN, Fault.KILL_NODE, Fault.FREEZE_NODE)
LEAST_US: Duration = 1_000 * MILLISECOND
# HAProxy and Envoy as documented need 12 s at worst for an instance that hangs or is cut off.
MOST_US: Mapping[Fault, Duration] = {
    **dict.fromkeys(INSTANCES, 16 * SECOND),
    Fault.KILL_BALANCER: 6 * SECOND,
    Fault.HANG_BALANCER: 6 * SECOND,
    Fault.CUT_NODE: 14 * SECOND,
    Fault.CUT_NODE_IN: 6 * SECOND,
    Fault.KILL_NODE: 14 * SECOND,
    Fault.FREEZE_NODE: 14 * SECOND,
    Fault.PLANNED: 6 * SECOND,
}

Act = Callable[[Scene], Awaitable[object]]
Proof = Callable[[Scene], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Deed:
    """How a fault is made and ended, and what shows that it was not there."""

    make: Act
    end: Act
    unproved: Proof


async def deed(fault: Fault, scene: Scene, node: str, *, is_ours: bool) -> Deed:
    """Return how a fault hits a node."""
    match fault:
        case Fault.KILL_INSTANCE | Fault.KILL_BALANCER:
            return await _killed(scene, _victim(fault, node))
        case Fault.HANG_INSTANCE | Fault.HANG_BALANCER:
            return await _hung(scene, _victim(fault, node))
        case Fault.FAIL_INSTANCE:
            return _failing(node)
        case Fault.PLANNED:
            return _moved(node, is_ours=is_ours)
        case _:
            return _of_nodes(node)[fault]


def _victim(fault: Fault, node: str) -> str:
    return f"{node}/{SHOP.name if fault in INSTANCES else 'haproxy'}"


async def _killed(scene: Scene, program: str) -> Deed:
    victims = await scene.control.processes(program)

    async def make(scene: Scene) -> None:
        await scene.control.hold(program)
        await scene.control.send(program, "KILL", everyone=True)

    return Deed(
        make,
        lambda scene: scene.control.release(program),
        lambda scene: _asked(scene, _node(program), lambda seen: unless_gone(seen, victims)),
    )


async def _hung(scene: Scene, program: str) -> Deed:
    victims = await scene.control.processes(program)
    return Deed(
        lambda scene: scene.control.send(program, "STOP", everyone=True),
        lambda scene: scene.control.send(program, "CONT", everyone=True),
        lambda scene: _asked(scene, _node(program), lambda seen: unless_stopped(seen, victims)),
    )


def _failing(node: str) -> Deed:
    program = f"{node}/{SHOP.name}"

    async def unproved(scene: Scene) -> str | None:
        status = await scene.control.status_of(addresses(NODES)[node], SHOP.port, "/")
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        return f"{program} answers {status or 'nothing'}, not an error"

    return Deed(
        lambda scene: scene.control.send(program, "USR1"),
        lambda scene: scene.control.send(program, "USR2"),
        unproved,
    )


def _cut(node: str, way: Way) -> Deed:
    return Deed(
        lambda scene: scene.control.cut(node, way),
        lambda scene: scene.control.do("heal", node),
        lambda scene: _asked(scene, node, lambda seen: unless_cut(seen, way)),
    )


def _of_nodes(node: str) -> Mapping[Fault, Deed]:
    return {
        Fault.CUT_NODE: _cut(node, Way.BOTH),
        Fault.CUT_NODE_IN: _cut(node, Way.IN),
        Fault.KILL_NODE: _without_power(node),
        Fault.FREEZE_NODE: Deed(
            lambda scene: scene.control.do("freeze", node),
            lambda scene: scene.control.do("thaw", node),
            lambda scene: _asked(scene, node, unless_frozen),
        ),
    }


def _moved(node: str, *, is_ours: bool) -> Deed:
    """Return a move as an operator asks for it: of others, stopping keepalived on the node."""
    program = f"{node}/keepalived"

    async def make(scene: Scene) -> None:
        await (_wish(scene, "failover", node) if is_ours else _stop(scene, program))

    async def end(scene: Scene) -> None:
        await (_wish(scene, "failback", node) if is_ours else scene.control.release(program))

    return Deed(make, end, lambda scene: unless_moved(scene, node))


def _without_power(node: str) -> Deed:
    """Return the loss of a machine's power: nothing runs, nobody hears it, its VIPs are gone.

    Here its kernel lives on, and would hold for it what a machine without power does not.
    """

    async def make(scene: Scene) -> None:
        await scene.control.link(node, up=False)
        await scene.control.do("kill", node)
        for vip in vips(NODES).values():
            away = ["address", "delete", f"{vip.address}/{vip.prefix}", "dev", INTERFACE]
            await scene.control.beside(node, [ip_program(), *away], SECOND)

    async def end(scene: Scene) -> None:
        await scene.control.link(node, up=True)
        await scene.control.do("revive", node)

    return Deed(make, end, lambda scene: _asked(scene, node, unless_dead))


def _node(program: str) -> str:
    return program.partition("/")[0]


async def _asked(scene: Scene, node: str, judge: Callable[[Condition], str | None]) -> str | None:
    """Ask the kernel how a node is, and judge that."""
    why = judge(await scene.control.condition(node))
    return f"{node}: {why}" if why else None


def unless_gone(seen: Condition, victims: frozenset[str]) -> str | None:
    """Say which processes are still there."""
    left = sorted(victims & seen.processes.keys())
    if left or not victims:
        return f"processes {left or 'of the program were none before, and'} are still there"
    return None


def unless_stopped(seen: Condition, victims: frozenset[str]) -> str | None:
    """Say which processes are not stopped."""
    going = {pid: seen.processes.get(pid, "gone") for pid in sorted(victims)}
    going = {pid: state for pid, state in going.items() if state != "T"}
    return (
        f"processes are not stopped: {going or 'there was none'}" if going or not victims else None
    )


def unless_cut(seen: Condition, way: Way) -> str | None:
    """Say on which network nothing was dropped, or carrier told of it."""
    for wire, has_carrier in seen.carrier.items():
        dropped = seen.dropped.get(wire, {})
        missing = [one.value for one in ways(way) if not dropped.get(one.value)]
        if missing:
            return f"no frame {' or '.join(missing)} was dropped on the network of the {wire}"
        if not has_carrier:
            return f"it was told by carrier on the network of the {wire}"
    return None


def unless_dead(seen: Condition) -> str | None:
    """Say what still lives on it, and where it has carrier."""
    if not seen.dead:
        return f"it still has the processes {sorted(seen.processes)}"
    linked = [wire for wire, has_carrier in seen.carrier.items() if has_carrier]
    return f"it still has carrier on the network of the {linked[0]}" if linked else None


def unless_frozen(seen: Condition) -> str | None:
    """Say what is awake on it."""
    if seen.frozen:
        return None
    awake = sorted(pid for pid, state in seen.processes.items() if state != "T")
    return f"it is not frozen: {awake or 'it has no process'}"


async def unless_moved(scene: Scene, node: str) -> str | None:
    """Say which VIP of a node is not answered by another one, as seen on the wire."""
    others: Sequence[str] = [each for each in NODES if each != node]
    at_home = [name for name, vip in vips(NODES).items() if vip.home == node]

    async def moved() -> bool:
        answering = scene.observers.answering()
        return all(answering[vip] in others for vip in at_home)

    if await scene.until(moved, PROVE_WITHIN_US, LOOK_EVERY_US):
        return None
    return f"{node}: {', '.join(at_home)} did not move: {scene.observers.answering()}"


async def _stop(scene: Scene, program: str) -> None:
    await scene.control.hold(program)
    await scene.control.send(program, "TERM")

    async def stopped() -> bool:
        return (await scene.control.programs())[program].stage is Stage.HELD

    if not await scene.until(stopped, STOPPED_WITHIN_US, LOOK_EVERY_US):
        raise DrillError(f"{program} did not end when it was told to")


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
