"""What is not ours: applications, load balancers, disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from services.traffic_switcher.core.installed import Gate, Installation, Instance, Target
from services.traffic_switcher.core.state import Memory, Number
from services.traffic_switcher.core.steps import Change, Step
from shared.instant import MILLISECOND, Duration, Instant
from shared.messages.traffic import InstanceLoad, ServiceLoad
from shared.rules import Admission, Rules, original

if TYPE_CHECKING:
    from tests.simulation.world import World

REQUEST_EVERY_US: Duration = 10 * MILLISECOND  # clients' load on each open instance
FILE_WEIGHT = 1  # of a server that the file begins disabled


class Health(StrEnum):
    """How an application does."""

    WELL = "well"
    DEAD = "dead"
    HUNG = "hung"
    FAILING = "failing"
    SLOW = "slow"


class Linked(Protocol):
    """Whoever keeps a connection to an application open."""

    def link_ended(self, target: Target) -> None:
        """Notice its end."""


@dataclass
class Application:
    """One instance of a service."""

    target: Target
    health: Health = Health.WELL
    identity: str = "1.0"
    slow_us: Duration = 0
    links: list[Linked] = field(default_factory=list)

    def die(self) -> None:
        """Refuse from now on; what is connected is reset."""
        self.health = Health.DEAD
        links, self.links = self.links, []
        for link in links:
            link.link_ended(self.target)

    def recover(self) -> None:
        """Be as at the beginning."""
        self.health, self.identity = Health.WELL, "1.0"


class Disk:
    """Keeps the switcher's memory; what was not fsynced is lost with the machine."""

    def __init__(self) -> None:
        self.durable: Memory | None = None
        self.full = False

    def write(self, memory: Memory) -> bool:
        """Write, fsync and rename: True when it is safe."""
        if self.full:
            return False
        self.durable = memory
        return True


@dataclass
class Server:
    """One instance as the load balancer has it."""

    gate: Gate
    weight: int
    requests: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """What the load balancer begins with."""

    rules: Rules
    closed: frozenset[Target]


class Balancer:
    """A load balancer that does what it is told, forgets when it restarts, and can hang."""

    def __init__(self, world: World, node: str) -> None:
        self._world = world
        self._node = node
        self.file = File(original(world.weather.cluster), frozenset())
        self.up = False
        self.hung = False
        self.restarts = 0
        self.process = ""
        self.servers: dict[Target, Server] = {}
        self.foreign: set[Target] = set()  # closed by somebody's hand, and seen by our switcher
        self.unseen: set[Target] = set()  # closed by somebody's hand, not seen yet
        self.touched = False  # by anybody but us, since we last read it
        self.late: list[Callable[[], None]] = []  # exchanges that wait for a hung one
        self._counted_at: Instant = 0
        self.start()

    def start(self) -> None:
        """Begin with what the file says."""
        if self.up:
            return
        self.up, self.hung, self.late = True, False, []
        self.restarts += 1
        self.process = f"{self.restarts}@{self._world.agenda.now}"
        self.touched = True
        self.servers = {}
        for service, rules in self.file.rules.items():
            for node, rule in rules.items():
                target = (service, node)
                is_open = rule.admission is Admission.SERVING and target not in self.file.closed
                gate = Gate.OPEN if is_open else Gate.CLOSED
                weight = rule.weight if is_open else FILE_WEIGHT
                self.servers[target] = Server(gate, weight)
        self.unseen.clear()
        # The file remembers what a person closed; whose it is, only the switcher's disk can know.
        durable = self._world.switchers[self._node].disk.durable if self.file.closed else None
        self.foreign = set() if durable is None else set(self.file.closed & durable.theirs)
        self._counted_at = self._world.agenda.now

    def stop(self) -> None:
        """End; the file stays."""
        self.up = False

    def serving(self, service: str) -> list[str]:
        """Return the nodes that receive requests of a service."""
        return [
            node
            for (name, node), server in self.servers.items()
            if name == service and server.gate is Gate.OPEN and server.weight > 0
        ]

    def take(self, step: Step) -> None:
        """Do one step of ours."""
        server = self.servers[step.target]
        match step.change:
            case Change.WEIGH:
                server.weight = step.weight
            case Change.OPEN:
                server.gate = Gate.OPEN
            case Change.DRAIN:
                server.gate = Gate.DRAINING
            case Change.CLOSE:
                server.gate = Gate.CLOSED

    def shown(self, *, counters: bool) -> Installation:
        """Return what a reading shows."""
        self.touched = False
        self._count()
        return Installation(
            process=self.process,
            outdated=False,
            instances={t: Instance(s.gate, s.weight) for t, s in self.servers.items()},
            loads=self._loads() if counters else {},
        )

    def peek(self) -> Installation:
        """Return what a reading would show, without anybody reading."""
        return Installation(
            process=self.process,
            outdated=False,
            instances={t: Instance(s.gate, s.weight) for t, s in self.servers.items()},
        )

    def _count(self) -> None:
        """Let clients have sent their requests since the last look."""
        now = self._world.agenda.now
        count = (now - self._counted_at) // REQUEST_EVERY_US
        self._counted_at += count * REQUEST_EVERY_US
        for target, server in self.servers.items():
            if server.gate is Gate.OPEN:
                server.requests += count
                if self._world.applications[target].health is not Health.WELL:
                    server.errors += count

    def _loads(self) -> Mapping[str, ServiceLoad]:
        loads: dict[str, dict[str, InstanceLoad]] = {}
        for (service, node), server in self.servers.items():
            sessions = 1 if server.gate is not Gate.CLOSED and self._world.rng.random() < 0.5 else 0
            load = InstanceLoad(
                requests=server.requests, errors=server.errors, sessions=sessions, up=True
            )
            loads.setdefault(service, {})[node] = load
        return {
            service: ServiceLoad(
                requests=sum(load.requests for load in of_service.values()),
                failed=0,
                instances=of_service,
            )
            for service, of_service in loads.items()
        }


def number_of(memory: Memory | None) -> Number:
    """Return the number of a memory's plan."""
    return (0, 0) if memory is None else memory.fence
