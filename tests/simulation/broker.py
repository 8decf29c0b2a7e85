"""The bus, its stream, and the network: everything between two processes.

What a process sends reaches the broker in order or not at all, as over one connection; what the
broker sends on is lost, late, doubled and reordered as the weather wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.codec import Envelope, decode, encode
from shared.messages.facts import Incident, IncidentClosed, IncidentOpened, IncidentUpdated
from shared.messages.health import Evidence, Heartbeat, Picture
from shared.messages.leases import LeaseBeat
from shared.messages.operator import OperatorAnswer, OperatorRequest
from shared.messages.table import Message, subject_of
from shared.messages.traffic import (
    Applied,
    Command,
    Drain,
    Drift,
    Failback,
    Failover,
    Measured,
    Plan,
    Recall,
    Recalled,
    Refused,
    Restore,
)
from tests.simulation.moments import Recorded, Term
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

BUS = "bus"
WIRED_EVERY = 16  # one message in so many passes the real codec, which costs as much as deciding
LINK_MIN_US: Duration = 80
LINK_MAX_US: Duration = 400
DELAY_MAX_US: Duration = 200 * MILLISECOND  # shorter than any restart: see `_publish`
AGAIN_MAX_US: Duration = 3 * SECOND  # a doubled message may be this old

COMMANDS = (Failover, Failback, Drain, Restore)
FOR_ARBITER = (Heartbeat, LeaseBeat, Evidence, Picture, Applied, Measured, Refused, Drift)
INCIDENTS = (IncidentOpened, IncidentUpdated, IncidentClosed)


class Network:
    """Directed links between machines and the broker."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: set[tuple[str, str]] = set()
        self.loss = 0.0
        self.late = 0.0  # the share of messages that take long
        self.doubled = 0.0
        self._last_at: dict[Process, Instant] = {}

    def passes(self, source: str, target: str) -> bool:
        """Whether something sent now arrives."""
        if (source, target) in self.cut:
            return False
        return self.loss == 0.0 or self._world.rng.random() >= self.loss

    def delay_us(self) -> Duration:
        """Return how long something takes."""
        rng = self._world.rng
        if self.late and rng.random() < self.late:
            return rng.randrange(LINK_MAX_US, DELAY_MAX_US)
        return LINK_MIN_US + int(rng.random() * (LINK_MAX_US - LINK_MIN_US))

    def send(self, source: str, target: str, act: Callable[..., None], *arguments: object) -> None:
        """Let something happen at the other end, perhaps, some time, perhaps twice."""
        if not self.passes(source, target):
            return
        agenda = self._world.agenda
        agenda.after(self.delay_us(), act, *arguments)
        if self.doubled and self._world.rng.random() < self.doubled:
            agenda.after(self._world.rng.randrange(1, AGAIN_MAX_US), act, *arguments)

    def send_in_order(self, source: Process, act: Callable[..., None], *arguments: object) -> None:
        """Send to the broker over a process's one connection.

        No message of a dead process may arrive after its successor has asked for the plan in
        force; on a machine the kernel of the dead one would have to hold it back for as long as
        a restart takes. Hence the order, and the limit of the delay.
        """
        if not self.passes(source.machine, BUS):
            return
        agenda = self._world.agenda
        at = max(agenda.now + self.delay_us(), self._last_at.get(source, 0) + 1)
        self._last_at[source] = at
        agenda.after(at - agenda.now, act, *arguments)


class Broker:
    """NATS with JetStream, as far as the cores can tell."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.away = False
        self.stream_away = False
        self.lost_something = False  # the stream was away while something was said
        self.commands: dict[str, Command] = {}  # node -> the last one, as the stream has it
        self.incidents: dict[str, Incident] = {}
        self.answered: dict[str, Callable[[], Plan | None]] = {}
        self._count = 0

    # -- saying --------------------------------------------------------------------------

    def publish(self, source: Process, message: Message, *, to: str = "") -> None:
        """Say something; lost when the broker is away."""
        if self.away:
            return
        term = self._world.arbiter.term
        wired = self._wired(message, to)
        self._world.network.send_in_order(source, self._arrived, wired, to, term)

    def _wired(self, message: Message, to: str) -> Message:
        """Pass one message in a few through the codec; it must come out as it went in."""
        self._count += 1
        if self._count % WIRED_EVERY:
            return message
        cluster = self._world.weather.cluster.name
        envelope = Envelope(id="1", source="/simulation", cluster=cluster, time="then")
        payload = encode(message, envelope, subject_of(message, to=to))
        read, _ = decode(payload, cluster=cluster)
        assert read == message, f"the codec changed {message} into {read}"
        return read

    def _arrived(self, message: Message, to: str, term: Term) -> None:
        if self.away:
            return
        self._keep(message, to, term)
        for process in self._hearers(message, to):
            self._world.network.send(BUS, process.machine, process.deliver, message)

    def _keep(self, message: Message, to: str, term: Term) -> None:
        if isinstance(message, COMMANDS):
            self._world.faults.remember(to, message)
            if self.stream_away:
                self.lost_something = True
                return
            self.commands[to] = message
            self._world.watch.see(Recorded(message.plan, term))
        elif isinstance(message, INCIDENTS) and not self.stream_away:
            self.incidents[message.incident.id] = message.incident

    def _hearers(self, message: Message, to: str) -> tuple[Process, ...]:
        world = self._world
        if isinstance(message, COMMANDS):
            return (world.switchers[to],)
        if isinstance(message, FOR_ARBITER):
            return (world.arbiter,)
        if isinstance(message, IncidentOpened | IncidentUpdated):
            return tuple(world.observers.values())
        return ()

    # -- asking --------------------------------------------------------------------------

    def recall(self, asker: Process, node: str, told: Callable[[Recalled], None]) -> None:
        """Ask a switcher for the plan in force; no answer is no call."""
        switcher = self._world.switchers[node]

        def answer() -> None:
            memory = switcher.state.memory
            recalled = self._wired(Recalled(node=node, plan=memory.plan), "")
            self._send_back(switcher, asker, told, recalled)

        self._wired(Recall(asker=asker.name), node)
        self._ask(asker, switcher, answer)

    def echo(self, asker: Process, told: Callable[[], None]) -> None:
        """Send a process a question of its own, and its answer back."""
        self._ask(asker, asker, lambda: self._send_back(asker, asker, told))

    def request(
        self, asker: Process, request: OperatorRequest, told: Callable[[OperatorAnswer], None]
    ) -> None:
        """Ask the arbiter for a person."""
        arbiter = self._world.arbiter

        def reply(answer: OperatorAnswer) -> None:
            self._send_back(arbiter, asker, told, self._wired(answer, ""))

        self._wired(request, "")
        self._ask(asker, arbiter, lambda: arbiter.asked(request, reply))

    def read(
        self, asker: Process, reader: Callable[[Broker], object], told: Callable[..., None]
    ) -> None:
        """Read the stream; told None when it is away."""

        def arrived() -> None:
            if not (self.away or self.stream_away):
                found = reader(self)
                generation = asker.generation
                self._world.network.send(BUS, asker.machine, asker.ring, generation, told, (found,))

        if not self.away:
            self._world.network.send_in_order(asker, arrived)

    def _ask(self, asker: Process, target: Process, answer: Callable[[], None]) -> None:
        def arrived() -> None:
            if not self.away:
                self._world.network.send(BUS, target.machine, target.take, answer)

        if not self.away:
            self._world.network.send_in_order(asker, arrived)

    def _send_back(
        self, source: Process, asker: Process, told: Callable[..., None], *arguments: object
    ) -> None:
        generation = asker.generation

        def arrived() -> None:
            if not self.away:
                self._world.network.send(
                    BUS, asker.machine, asker.ring, generation, told, arguments
                )

        if not self.away:
            self._world.network.send_in_order(source, arrived)
