"""Plays situations to the switcher's core: a disk, a load balancer and a bus as plain values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.traffic_switcher.core import decisions
from services.traffic_switcher.core.installed import Gate, Installation, Instance, Target, targets
from services.traffic_switcher.core.state import (
    Action,
    Apply,
    Commanded,
    Event,
    Memory,
    NotPersisted,
    NotShown,
    Outcome,
    Overtaken,
    Persist,
    Persisted,
    Prepare,
    Prepared,
    Read,
    Say,
    Shown,
    State,
    Tick,
    Trace,
    Verified,
    Verify,
)
from services.traffic_switcher.core.steps import Change, Step
from shared.cluster import (
    Cluster,
    FailbackMode,
    HeartbeatSettings,
    Mode,
    Node,
    Policy,
    Probe,
    Protocol,
    Service,
)
from shared.instant import MILLISECOND, MINUTE, SECOND, Duration, Instant
from shared.messages.table import Message
from shared.messages.traffic import (
    Applied,
    Drift,
    Failover,
    InstanceLoad,
    Measured,
    Plan,
    Refused,
    ServiceLoad,
)
from shared.rules import Admission, Rule, Rules, original

NODES = ("node-a", "node-b")
SERVE = Rule(Admission.SERVING, 100)
OUT = Rule(Admission.OUT, 0)
DRAIN = Rule(Admission.DRAINING, 0)
STANDBY = Rule(Admission.STANDBY, 0)


def service(name: str, **changes: object) -> Service:
    """Return a service as configured, balanced over HTTP unless told otherwise."""
    probe = Probe(
        path="/healthz", expect=((200, 299),), every_us=SECOND, timeout_us=None, fall=2, rise=2
    )
    return replace(
        Service(
            name=name,
            mode=Mode.BALANCE,
            protocol=Protocol.HTTP,
            listen=8_080,
            port=9_080,
            home="node-a",
            limit_per_s=None,
            probe=probe,
            identity=None,
        ),
        **changes,  # type: ignore[arg-type]
    )


def cluster(*services: Service, nodes: Iterable[Node] = ()) -> Cluster:
    """Return a cluster of two nodes; with `shop` balanced and `books` mirrored by default."""
    chosen = services or (service("shop"), service("books", mode=Mode.MIRROR, listen=8_081))
    members = tuple(nodes) or tuple(
        Node(name=n, address=f"10.0.0.{i}") for i, n in enumerate(NODES, 1)
    )
    return Cluster(
        name="test",
        nodes={node.name: node for node in members},
        witness=None,
        services={each.name: each for each in chosen},
        heartbeat=HeartbeatSettings(every_us=50 * MILLISECOND, port=7_400),
        policy=Policy(
            failback=FailbackMode.AUTOMATIC,
            after_us=SECOND,
            forget_us=3_600_000_000,
            ramp_us=SECOND,
            drain_us=5 * SECOND,
            moves_max=5,
            moves_window_us=10 * MINUTE,
            override_max_us=10 * MINUTE,
        ),
        bus_servers=("nats://127.0.0.1:4222",),
        configuration="0",
    )


def plan(number: tuple[int, int], rules: Rules, *, incident: str | None = None) -> Plan:
    """Return a plan."""
    epoch, sequence = number
    return Plan(epoch=epoch, sequence=sequence, services=rules, reason="a test", incident=incident)


def changed(of: Cluster, rules: Mapping[str, Mapping[str, Rule]]) -> Rules:
    """Return the original rules with some of them changed."""
    return {
        name: {**of_service, **rules.get(name, {})} for name, of_service in original(of).items()
    }


@dataclass
class Balancer:
    """A load balancer as a value."""

    instances: dict[Target, Instance]
    process: str = "1@1"
    outdated: bool = False
    answers: bool = True
    taken: list[Step] = field(default_factory=list)

    def show(self) -> Installation:
        """Return what it shows, with counters."""
        loads = {
            name: ServiceLoad(
                requests=0,
                failed=0,
                instances={
                    node: InstanceLoad(requests=0, errors=0, sessions=0, up=True)
                    for (of, node) in self.instances
                    if of == name
                },
            )
            for name, _ in self.instances
        }
        return Installation(
            process=self.process,
            outdated=self.outdated,
            instances=dict(self.instances),
            loads=loads,
        )

    def take(self, step: Step) -> None:
        """Do what a step says."""
        self.taken.append(step)
        found = self.instances[step.target]
        match step.change:
            case Change.WEIGH:
                found = replace(found, weight=step.weight)
            case Change.OPEN:
                found = replace(found, gate=Gate.OPEN)
            case Change.DRAIN:
                found = replace(found, gate=Gate.DRAINING)
            case Change.CLOSE:
                found = replace(found, gate=Gate.CLOSED)
        self.instances[step.target] = found

    def restart(self, rules: Rules, closed: frozenset[Target] = frozenset()) -> None:
        """Begin anew with a file."""
        epoch, number = self.process.split("@")
        self.process = f"{epoch}@{int(number) + 1}"
        self.instances = begun_with(rules, closed)


def begun_with(rules: Rules, closed: frozenset[Target] = frozenset()) -> dict[Target, Instance]:
    """Return what a load balancer shows that began with a file of these rules."""
    return {
        target: Instance(Gate.CLOSED, 1)
        if rule.admission is not Admission.SERVING or target in closed
        else Instance(Gate.OPEN, rule.weight)
        for target, rule in targets(rules)
    }


class Play:
    """One switcher with its surroundings; everything happens at once unless told otherwise."""

    def __init__(self, of: Cluster | None = None, remembered: Memory | None = None) -> None:
        self.cluster = of or cluster()
        self.now: Instant = 1_000 * SECOND
        self.disk: Memory | None = remembered
        self.disk_full = False
        self.balancer = Balancer(begun_with(original(self.cluster)))
        self.file: tuple[Rules, frozenset[Target]] = (original(self.cluster), frozenset())
        self.confirms = True
        self.said: list[Message] = []
        self.traced: list[Trace] = []
        self.prepared: list[Prepare] = []
        self.held: list[Action] = []  # actions that wait for `release`
        self.hold: tuple[type[Action], ...] = ()
        self.state = self.start()

    def start(self) -> State:
        """Start the switcher (again), with what the disk has."""
        self.held = []
        self.state = decisions.start(self.cluster, "node-a", "boot", self.disk, self.now)
        self.feed(Tick())
        return self.state

    def command(
        self, number: tuple[int, int], rules: Rules, *, incident: str | None = None
    ) -> None:
        """Let it hear a failover."""
        self.feed(Commanded(Failover(plan=plan(number, rules, incident=incident))))

    def feed(self, event: Event) -> None:
        """Let something happen, and all that follows at once."""
        self.state, actions = decisions.decide(self.state, event, self.now)
        for action in actions:
            if isinstance(action, self.hold):
                self.held.append(action)
            else:
                self.perform(action)

    def release(self) -> None:
        """Let what was held happen now."""
        held, self.held, self.hold = self.held, [], ()
        for action in held:
            self.perform(action)

    def pass_time(self, duration_us: Duration) -> None:
        """Let time pass, ticking whenever something is due."""
        until = self.now + duration_us
        while (due := decisions.deadline(self.state)) is not None and due <= until:
            self.now = max(self.now, due)
            self.feed(Tick())
        self.now = until

    def perform(self, action: Action) -> None:
        """Do one thing and let the switcher know."""
        match action:
            case Persist():
                self._persist(action)
            case Read():
                self.feed(self._shown())
            case Apply():
                self._apply(action)
            case Prepare():
                self.prepared.append(action)
                self.file = (action.rules, action.closed)
                self.balancer.outdated = False
                self.feed(Prepared(""))
            case Verify():
                outcomes = tuple(
                    Outcome(name, self.confirms, f"{name}: seen") for name in sorted(action.rules)
                )
                self.feed(Verified(action.number, outcomes))
            case Say():
                self.said.append(action.message)
            case Trace():
                self.traced.append(action)

    def _persist(self, action: Persist) -> None:
        if self.disk_full:
            self.feed(NotPersisted(action.memory.fence, "disk full"))
        else:
            self.disk = action.memory
            self.feed(Persisted(action.memory.fence))

    def _apply(self, action: Apply) -> None:
        if not decisions.is_current(self.state, action.number):
            self.feed(Overtaken())
            return
        if self.balancer.answers:
            for step in action.steps:
                self.balancer.take(step)
        self.feed(self._shown())

    def _shown(self) -> Event:
        return Shown(self.balancer.show()) if self.balancer.answers else NotShown("frozen")

    # -- what was said -------------------------------------------------------------------

    @property
    def applied(self) -> list[tuple[tuple[int, int], str]]:
        """The acknowledgements so far: number and stage."""
        return [((m.epoch, m.sequence), m.stage.value) for m in self.said if isinstance(m, Applied)]

    @property
    def refusals(self) -> list[Refused]:
        """What was refused."""
        return [m for m in self.said if isinstance(m, Refused)]

    @property
    def drifts(self) -> list[Drift]:
        """What had drifted."""
        return [m for m in self.said if isinstance(m, Drift)]

    @property
    def measured(self) -> Measured:
        """The newest picture."""
        return [m for m in self.said if isinstance(m, Measured)][-1]

    def gate(self, service_name: str, node: str) -> Gate:
        """Whether an instance receives requests."""
        return self.balancer.instances[service_name, node].gate
