"""A stage for the arbiter's core: observers, switchers and people that do what a test says."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.arbiter.core import Past, decide, start
from services.arbiter.core.state import (
    Action,
    Adopt,
    Asked,
    CatchUp,
    CaughtUp,
    Event,
    Order,
    Reply,
    Say,
    Sent,
    State,
    Tick,
)
from shared.cluster import (
    Cluster,
    FailbackMode,
    HeartbeatSettings,
    Identity,
    Mode,
    Node,
    Policy,
    Probe,
    Protocol,
    Service,
)
from shared.instant import MILLISECOND, MINUTE, SECOND, Duration
from shared.messages.facts import Incident, IncidentClosed, IncidentOpened, IncidentUpdated
from shared.messages.health import Evidence, Grade, Heartbeat, Sign, Verdict
from shared.messages.operator import OperatorAnswer, OperatorRequest, Verb
from shared.messages.table import Message
from shared.messages.traffic import Applied, InstanceLoad, Measured, Plan, ServiceLoad, Stage
from shared.rules import Admission, digest

POLICY = Policy(
    failback=FailbackMode.AUTOMATIC,
    after_us=10 * SECOND,
    forget_us=60 * MINUTE,
    ramp_us=10 * SECOND,
    drain_us=30 * SECOND,
    moves_max=6,
    moves_window_us=10 * MINUTE,
    override_max_us=240 * MINUTE,
)
PROBE = Probe(
    path="/healthz",
    expect=((200, 299),),
    every_us=100 * MILLISECOND,
    timeout_us=None,
    fall=2,
    rise=3,
)


def service(name: str, mode: Mode = Mode.BALANCE, *, home: str = "node-a") -> Service:
    """Return a service of the stage's cluster."""
    return Service(
        name=name,
        mode=mode,
        protocol=Protocol.HTTP,
        listen=80,
        port=8080,
        home=home,
        limit_per_s=None,
        probe=PROBE,
        identity=Identity(path="/version", header=None, every_us=30 * SECOND),
    )


def cluster_of(
    *services: Service, nodes: int = 2, policy: Policy = POLICY, capacities: tuple[int, ...] = ()
) -> Cluster:
    """Return a cluster of so many nodes and a witness."""
    names = [f"node-{chr(ord('a') + k)}" if nodes <= 26 else f"node-{k:03}" for k in range(nodes)]
    return Cluster(
        name="test",
        nodes={
            name: Node(
                name=name,
                address=f"10.0.{k // 200}.{k % 200 + 11}",
                capacity=capacities[k] if capacities else 100,
            )
            for k, name in enumerate(names)
        },
        witness=Node(name="witness", address="10.0.9.5"),
        services={each.name: each for each in services or (service("shop"),)},
        heartbeat=HeartbeatSettings(every_us=50 * MILLISECOND, port=8643),
        policy=policy,
        bus_servers=("nats://10.0.9.5:4222",),
        configuration="c0ffee",
    )


@dataclass
class Play:
    """The arbiter's core with everybody around it obeying, at a clock that the test moves."""

    cluster: Cluster = field(default_factory=cluster_of)
    past: Past = field(default_factory=lambda: Past(plans=(), incidents={}))
    now: int = 1_000 * SECOND
    wall_us: int = 1_700_000_000 * SECOND
    obedient: bool = True  # switchers install and verify every order at once
    deaf: set[str] = field(default_factory=set)  # nodes whose switchers hear nothing
    mute: set[str] = field(default_factory=set)  # members that say nothing on the bus
    unheard: set[str] = field(default_factory=set)  # members whose datagrams reach nobody
    dark: set[str] = field(default_factory=set)  # nodes that answer no peer's probe
    spoke_at: dict[str, int] = field(default_factory=dict)  # the last datagram of each
    late: dict[str, int] = field(default_factory=dict)  # how late a member's own loop is
    boots: dict[str, str] = field(default_factory=dict)
    timed: list[tuple[int, Message]] = field(default_factory=list)  # what was said, and when
    said: list[Message] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    answers: list[OperatorAnswer] = field(default_factory=list)
    adoptions: int = 0
    sequence: int = 0
    sick: dict[tuple[str, str], Evidence] = field(default_factory=dict)
    identities: dict[tuple[str, str], str] = field(default_factory=dict)
    loads: dict[tuple[str, str], InstanceLoad] = field(default_factory=dict)
    failed: int = 0

    def __post_init__(self) -> None:
        """Start, and let everybody say once that all is well."""
        self.state, actions = start(self.cluster, "witness", self.past, self.now)
        self._obey(actions)
        self.pass_by(1_100 * MILLISECOND)

    @property
    def plan(self) -> Plan:
        """The newest plan."""
        return self.state.plan

    def admissions(self, name: str = "shop") -> dict[str, Admission]:
        """Return who receives what of a service."""
        return {node: rule.admission for node, rule in self.plan.services[name].items()}

    def weights(self, name: str = "shop") -> dict[str, int]:
        """Return the weights of a service."""
        return {node: rule.weight for node, rule in self.plan.services[name].items()}

    def tell(self, event: Event) -> None:
        """Give the core one event, and obey what it orders."""
        self.state, actions = decide(self.state, event, self.now)
        self._obey(actions)

    def _obey(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Order():
                    self.orders.append(action)
                    self.tell(Sent(number=action.command.plan.number))
                    if self.obedient:
                        self.install(action.command.plan, action.to)
                case Say():
                    self.said.append(action.message)
                    self.timed.append((self.now, action.message))
                case Reply():
                    self.answers.append(action.answer)
                case CatchUp():
                    self.now += 1_000
                    self.tell(CaughtUp(sleep=action.sleep))
                case Adopt():
                    self.adoptions += 1

    def install(self, plan: Plan, nodes: tuple[str, ...]) -> None:
        """Let switchers acknowledge a plan."""
        for node in nodes:
            for stage in (Stage.INSTALLED, Stage.VERIFIED):
                if node not in self.deaf:
                    self.tell(applied(node, plan, stage))

    def pass_by(self, duration: Duration, *, quiet: bool = False) -> None:
        """Let time pass in ticks, with beats, pictures and counters as in life."""
        end = self.now + duration
        while self.now < end:
            self.now += 20 * MILLISECOND
            if not quiet and self.now % SECOND < 20 * MILLISECOND:
                self._picture()
            if not quiet and self.now % (50 * MILLISECOND) < 20 * MILLISECOND:
                self.beat()
            self.tell(Tick(wall_us=self.wall_us + self.now))

    def beat(self) -> None:
        """Let every member that can beat to its peers, and on the bus."""
        for name in self.cluster.members:
            if name not in self.unheard:
                self.spoke_at[name] = self.now
        for name in self.cluster.members:
            if name not in self.mute:
                self.tell(self.heartbeat(name))

    def heartbeat(self, name: str) -> Heartbeat:
        """Return a member's beat: it hears all whose datagrams reach anybody."""
        return Heartbeat(
            node=name,
            boot_id=self.boots.get(name, "b"),
            sequence=self.now,
            configuration="c0ffee",
            hears_us={
                peer: self.now - at for peer, at in sorted(self.spoke_at.items()) if peer != name
            },
            late_us=self.late.get(name, 0),
        )

    def lose(self, *names: str) -> None:
        """Cut members off from everything, at once."""
        self.dark.update(names)
        self.mute.update(names)
        self.unheard.update(names)
        self.deaf.update(names)

    def find(self, *names: str) -> None:
        """Let lost members be there again; what they missed is said again."""
        self.dark.difference_update(names)
        self.mute.difference_update(names)
        self.unheard.difference_update(names)
        self.deaf.difference_update(names)

    def _picture(self) -> None:
        for observer in self.cluster.nodes:
            if observer in self.mute:
                continue
            for name in self.cluster.services:
                for node in self.cluster.nodes:
                    self.tell(self._evidence(observer, name, node))
            if observer not in self.deaf:
                self.tell(self.measured(observer))

    def _evidence(self, observer: str, name: str, node: str) -> Evidence:
        known = self.sick.get((name, node))
        self.sequence += 1
        base = known or evidence(observer, name, node)
        if node in self.dark:
            base = evidence(
                observer,
                name,
                node,
                verdict=Verdict.UNHEALTHY,
                grade=Grade.SUSPICIOUS,
                sign=Sign.TIMEOUT,
            )
        return replace(
            base,
            observer=observer,
            sequence=self.sequence,
            identity=self.identities.get((name, node), "1.0"),
        )

    def measured(self, node: str) -> Measured:
        """Return a switcher's full picture, without proof of a plan."""
        loads = {
            name: ServiceLoad(
                requests=self.now // MILLISECOND,
                failed=self.failed,
                instances={
                    each: self.loads.get(
                        (name, each),
                        InstanceLoad(
                            requests=self.now // MILLISECOND, errors=0, sessions=0, up=True
                        ),
                    )
                    for each in self.cluster.nodes
                },
            )
            for name in self.cluster.services
        }
        return Measured(
            node=node,
            boot_id="b",
            epoch=0,
            sequence=0,
            digest="",
            balancer_ok=True,
            balancer_detail="",
            services=loads,
        )

    def refuse(self, node: str, name: str = "shop", observer: str | None = None) -> None:
        """Let an instance's process die: its port refuses."""
        self.sequence += 1
        self.sick[name, node] = evidence(
            observer or node,
            name,
            node,
            verdict=Verdict.UNHEALTHY,
            grade=Grade.CONCLUSIVE,
            sign=Sign.REFUSED,
            sequence=self.sequence,
        )
        self.tell(self.sick[name, node])

    def suspect(self, node: str, observer: str, name: str = "shop") -> None:
        """Let one observer find an instance too slow."""
        self.sequence += 1
        self.tell(
            evidence(
                observer,
                name,
                node,
                verdict=Verdict.UNHEALTHY,
                grade=Grade.SUSPICIOUS,
                sign=Sign.TIMEOUT,
                sequence=self.sequence,
            )
        )

    def hang(self, node: str, name: str = "shop") -> None:
        """Let an instance answer nobody."""
        self.sick[name, node] = evidence(
            node, name, node, verdict=Verdict.UNHEALTHY, grade=Grade.SUSPICIOUS, sign=Sign.TIMEOUT
        )
        for observer in self.cluster.nodes:
            self.suspect(node, observer, name)

    def heal(self, node: str, name: str = "shop") -> None:
        """Let an instance work again, and all observers see it."""
        self.sick.pop((name, node), None)
        for observer in self.cluster.nodes:
            self.tell(self._evidence(observer, name, node))

    def ask(
        self, verb: Verb, node: str | None = None, name: str | None = None, **more: object
    ) -> OperatorAnswer:
        """Let a person ask, and return the answer."""
        words: dict[str, object] = {
            "verb": verb,
            "node": node,
            "service": name,
            "owner": "ana",
            "reason": "a reason",
            **more,
        }
        self.tell(Asked(ticket=len(self.answers), request=OperatorRequest(**words)))  # type: ignore[arg-type]
        return self.answers[-1]

    def incidents(
        self, kind: type[IncidentOpened | IncidentUpdated | IncidentClosed]
    ) -> list[Incident]:
        """Return the documents said with one type of message."""
        return [each.incident for each in self.said if isinstance(each, kind)]

    def incidents_of_nodes(self) -> list[Incident]:
        """Return the documents of incidents that were opened for the loss of a node."""
        return [each for each in self.incidents(IncidentOpened) if each.service == ""]

    def again(self, plans: tuple[Plan, ...] | None = None) -> "Play":
        """Return the play after a restart of the arbiter, from the plan in force."""
        documents: Mapping[str, Incident] = {
            name: case.incident for name, case in self.state.cases.items()
        }
        past = Past(
            plans=plans if plans is not None else (self.state.command.plan,),
            incidents=documents,
            wall_us=self.wall_us + self.now,
        )
        return Play(
            cluster=self.cluster,
            past=past,
            now=self.now,
            sick=dict(self.sick),
            deaf=set(self.deaf),
            mute=set(self.mute),
            unheard=set(self.unheard),
            dark=set(self.dark),
            spoke_at=dict(self.spoke_at),
            loads=dict(self.loads),
            sequence=self.sequence,
        )


def evidence(
    observer: str,
    name: str,
    node: str,
    *,
    verdict: Verdict = Verdict.HEALTHY,
    grade: Grade = Grade.NONE,
    sign: Sign = Sign.OK,
    sequence: int = 0,
    abstains: bool = False,
) -> Evidence:
    """Return what an observer says of an instance."""
    words = {Sign.OK: "HTTP 200", Sign.REFUSED: "connection refused", Sign.TIMEOUT: "no answer"}
    return Evidence(
        observer=observer,
        boot_id="b",
        sequence=sequence,
        node=node,
        service=name,
        verdict=verdict,
        grade=grade,
        sign=sign,
        detail=words.get(sign, str(sign)),
        value="0.3 ms",
        threshold="fall 2 of 2",
        streak=1,
        first_age_us=2 * MILLISECOND if verdict is Verdict.UNHEALTHY else 0,
        age_us=100,
        answer_us=500,
        timeout_us=50 * MILLISECOND,
        late_us=0,
        abstains=abstains,
        identity="1.0",
    )


def applied(node: str, plan: Plan, stage: Stage) -> Applied:
    """Return a switcher's acknowledgement."""
    return Applied(
        node=node,
        boot_id="b",
        epoch=plan.epoch,
        sequence=plan.sequence,
        stage=stage,
        digest=digest(plan.services),
        incident=plan.incident,
        detail="",
    )


__all__ = ["POLICY", "Play", "State", "applied", "cluster_of", "evidence", "service"]
