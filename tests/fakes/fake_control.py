"""A control of two nodes that are only numbers; it can be deaf, so that nothing is done.

What a real one does is tested with a sandbox; this one is for those who judge what was done.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.sandbox.cuts import Way, ways
from services.sandbox.faults import Condition, Reach, Span
from services.sandbox.network import Wire
from services.sandbox.supervisor import Injection, Sight, Stage
from shared.instant import Duration

PROGRAMS = ("haproxy", "keepalived", "shop")
OK, FAILING = 200, 500
AT = Span(begin_at=1, end_at=2)


@dataclass
class Node:
    """One of them: a process for each program."""

    states: dict[str, str] = field(default_factory=dict)
    carrier: bool = True
    dropped: dict[str, int] = field(default_factory=dict)
    failing: bool = False


@dataclass
class FakeControl:
    """Does what it is told, unless it is deaf; `idle` is a cut through which nothing goes."""

    is_deaf: bool = False
    is_idle: bool = False
    wires: Sequence[Wire] = tuple(Wire)
    nodes: dict[str, Node] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for node in ("node-a", "node-b"):
            self.nodes[node] = Node(states={f"{node}/{name}": "S" for name in PROGRAMS})

    def _of(self, program: str) -> Node:
        return self.nodes[program.partition("/")[0]]

    async def programs(self) -> dict[str, Sight]:
        return {
            name: Sight(
                name=name,
                stage=Stage.READY if name in self._of(name).states else Stage.HELD,
                pid=1,
                restarts=0,
                exit_code=None,
                log="",
            )
            for name in self._names()
        }

    def _names(self) -> Sequence[str]:
        return [f"{node}/{name}" for node in self.nodes for name in PROGRAMS]

    async def processes(self, program: str) -> frozenset[str]:
        return frozenset({program} & self._of(program).states.keys())

    async def send(self, program: str, name: str, *, everyone: bool = False) -> Injection:
        del everyone
        node = self._of(program)
        if not self.is_deaf:
            match name:
                case "KILL" | "TERM":
                    node.states.pop(program, None)
                case "STOP" | "CONT":
                    node.states[program] = "T" if name == "STOP" else "S"
                case _:
                    node.failing = name == "USR1"
        return Injection(program=program, pid=1, begin_at=1, end_at=2)

    async def until_ready(self, within_us: Duration, programs: Sequence[str] = ()) -> None:
        """Wait for nobody: all are ready at once."""

    async def hold(self, program: str) -> None:
        self.held.add(program)

    async def release(self, program: str) -> None:
        self.held.discard(program)
        self._of(program).states[program] = "S"

    async def beside(
        self, member: str, command: Sequence[str], within_us: Duration
    ) -> tuple[int, str]:
        del member, command, within_us
        return 0, ""

    async def link(self, member: str, *, up: bool, wires: Sequence[Wire] = ()) -> Span:
        del wires
        if not self.is_deaf:
            self.nodes[member].carrier = up
        return AT

    async def cut(self, member: str, way: Way, wires: Sequence[Wire] = ()) -> Span:
        del wires
        if not self.is_deaf:
            self.nodes[member].dropped = {each.value: int(not self.is_idle) for each in ways(way)}
        return AT

    async def do(self, verb: str, member: str) -> Span:
        node = self.nodes[member]
        names = [name for name in self._names() if self._of(name) is node]
        if not self.is_deaf:
            match verb:
                case "heal":
                    node.dropped = {}
                case "kill":
                    node.states = {}
                case "freeze" | "thaw" | "revive":
                    node.states = dict.fromkeys(names, "T" if verb == "freeze" else "S")
                case _:
                    raise AssertionError(verb)
        return AT

    async def condition(self, member: str) -> Condition:
        node = self.nodes[member]
        return Condition(
            carrier={wire.value: node.carrier for wire in self.wires},
            dropped={wire.value: dict(node.dropped) for wire in self.wires if node.dropped},
            processes=dict(node.states),
        )

    async def reach(self, member: str, other: str, wire: Wire) -> Reach:
        del other, wire
        node = self.nodes[member]
        return Reach(there="out" not in node.dropped, back="in" not in node.dropped)

    async def status_of(self, address: str, port: int, path: str) -> int | None:
        del port, path
        node = self.nodes["node-a" if address.endswith(".11") else "node-b"]
        return FAILING if node.failing else OK

    def close(self) -> None:
        """Let go of nothing."""


def snapshot(control: FakeControl) -> dict[str, Node]:
    """Return how its nodes are, to compare with later."""
    return {name: dataclasses.replace(node) for name, node in control.nodes.items()}
