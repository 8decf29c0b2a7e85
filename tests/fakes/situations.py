"""A cluster of two nodes that sells shoes, and what is said of it: the words of every test."""

from collections.abc import Mapping

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
from shared.instant import HOUR, MILLISECOND, MINUTE, SECOND
from shared.messages.facts import (
    Cost,
    EvidenceItem,
    Incident,
    IncidentState,
    InstanceBelief,
    InstanceState,
    NodeBelief,
    NodeState,
    Phase,
    Readiness,
    Situation,
    Takeover,
)
from shared.messages.health import Evidence, Grade, Heartbeat, Sign, Verdict
from shared.messages.traffic import (
    InstanceLoad,
    Measured,
    Override,
    Plan,
    Record,
    ServiceLoad,
)
from shared.rules import Admission, Rule, Rules, digest, original, serving

WALL = 1_795_061_528_000_000  # 2026-11-19 04:12:08 UTC
CONFIGURATION = "9c1f0a2b"


def service(name: str, mode: Mode, listen: int) -> Service:
    return Service(
        name=name,
        mode=mode,
        protocol=Protocol.HTTP,
        listen=listen,
        port=listen + 8_000,
        home="node-a",
        limit_per_s=None,
        probe=Probe(
            path="/healthz",
            expect=((200, 299),),
            every_us=100 * MILLISECOND,
            timeout_us=None,
            fall=2,
            rise=3,
        ),
        identity=Identity(path="/version", header=None, every_us=30 * SECOND),
    )


def shop(name: str = "shop", servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)) -> Cluster:
    return Cluster(
        name=name,
        nodes={
            "node-a": Node(name="node-a", address="10.0.0.11"),
            "node-b": Node(name="node-b", address="10.0.0.12"),
        },
        witness=Node(name="witness", address="10.0.0.13"),
        services={
            "shoes": service("shoes", Mode.BALANCE, 80),
            "orders": service("orders", Mode.MIRROR, 81),
        },
        heartbeat=HeartbeatSettings(every_us=50 * MILLISECOND, port=7_000),
        policy=Policy(
            failback=FailbackMode.AUTOMATIC,
            after_us=10 * SECOND,
            ramp_us=10 * SECOND,
            drain_us=30 * SECOND,
            moves_max=6,
            moves_window_us=10 * MINUTE,
            override_max_us=4 * HOUR,
            forget_us=HOUR,
        ),
        bus_servers=servers,
        configuration=CONFIGURATION,
    )


def plan(
    sequence: int = 41,
    *,
    epoch: int = 3,
    rules: Rules | None = None,
    overrides: tuple[Override, ...] = (),
    reason: str = "the original settings",
) -> Plan:
    records: tuple[Record, ...] = ()
    return Plan(
        epoch=epoch,
        sequence=sequence,
        services=original(shop()) if rules is None else rules,
        reason=reason,
        overrides=overrides,
        records=records,
    )


def without_b() -> dict[str, dict[str, Rule]]:
    """Return the rules after shoes failed on node-b."""
    rules = original(shop())
    rules["shoes"]["node-b"] = Rule(Admission.OUT, 0)
    return rules


def believed(
    state: InstanceState = InstanceState.HOME,
    *,
    reason: str = "",
    waiting_for: str = "",
    incident: str | None = None,
) -> InstanceBelief:
    return InstanceBelief(
        state=state,
        reason=reason,
        waiting_for=waiting_for,
        since_us=12 * SECOND,
        incident=incident,
        answer_us=4 * MILLISECOND,
        identity="1.0",
        relapses=0,
    )


def node(state: NodeState = NodeState.UP, *, reason: str = "") -> NodeBelief:
    return NodeBelief(
        state=state,
        silent_us=12 * MILLISECOND,
        configuration=CONFIGURATION,
        boot_id="00",
        applied=(3, 41),
        reason=reason,
        since_us=2 * HOUR,
    )


def ready(of: Plan) -> Readiness:
    """Return readiness by the plan alone: who serves can take over, and so can a standby."""
    takeovers = []
    for name, rules in of.services.items():
        able = [n for n, rule in rules.items() if rule.admission is not Admission.OUT]
        for lost in serving(rules):
            to = tuple(n for n in able if n != lost)
            takeovers.append(
                Takeover(
                    service=name,
                    node=lost,
                    to=to,
                    ready=bool(to),
                    reason="it matches" if to else "node-b: out: connection refused",
                )
            )
    return Readiness(ready=all(item.ready for item in takeovers), takeovers=tuple(takeovers))


def situation(
    of: Plan | None = None,
    *,
    nodes: Mapping[str, NodeBelief] | None = None,
    beliefs: Mapping[tuple[str, str], InstanceBelief] | None = None,
    incidents: tuple[str, ...] = (),
    alarms: tuple[str, ...] = (),
    paused: bool = False,
) -> Situation:
    of = of or plan()
    instances = {
        name: {n: (beliefs or {}).get((name, n), believed()) for n in rules}
        for name, rules in of.services.items()
    }
    members = {name: node() for name in ("node-a", "node-b", "witness")}
    return Situation(
        arbiter="witness",
        plan=of,
        settled=True,
        paused=paused,
        nodes={**members, **(nodes or {})},
        instances=instances,
        readiness=ready(of),
        incidents=incidents,
        alarms=alarms,
    )


def load(requests: int, failed: int = 0) -> dict[str, ServiceLoad]:
    """Return what one load balancer counted, half of it on each node."""
    half = InstanceLoad(requests=requests // 2, errors=0, sessions=1, up=True)
    of_service = ServiceLoad(
        requests=requests, failed=failed, instances={"node-a": half, "node-b": half}
    )
    return {"shoes": of_service, "orders": of_service}


def measured(
    member: str,
    of: Plan | None = None,
    *,
    requests: int = 0,
    failed: int = 0,
    verified: bool = True,
    balancer_ok: bool = True,
) -> Measured:
    of = of or plan()
    return Measured(
        node=member,
        boot_id="00",
        epoch=of.epoch,
        sequence=of.sequence,
        digest=digest(of.services),
        balancer_ok=balancer_ok,
        balancer_detail="" if balancer_ok else "haproxy.sock: connection refused",
        services=load(requests, failed),
        installed=of.services,
        verified_age_us=2 * SECOND if verified else None,
    )


def heartbeat(member: str, *, configuration: str = CONFIGURATION) -> Heartbeat:
    return Heartbeat(
        node=member,
        boot_id="00",
        sequence=1,
        configuration=configuration,
        hears_us={"node-a": 11 * MILLISECOND},
    )


def refused(observer: str = "node-b") -> Evidence:
    """Return what an observer says of shoes on node-b when nothing listens there any more."""
    return Evidence(
        observer=observer,
        boot_id="00",
        sequence=7,
        node="node-b",
        service="shoes",
        verdict=Verdict.UNHEALTHY,
        grade=Grade.CONCLUSIVE,
        sign=Sign.REFUSED,
        detail="connection refused",
        value="0.3 ms",
        threshold="refused again",
        streak=2,
        first_age_us=8 * MILLISECOND,
        age_us=0,
        answer_us=4 * MILLISECOND,
        timeout_us=50 * MILLISECOND,
        late_us=0,
        abstains=False,
    )


def incident(
    name: str = "7K2F0A",
    state: IncidentState = IncidentState.HANDLED,
    *,
    began_wall_us: int = WALL,
) -> Incident:
    closed = state is IncidentState.CLOSED
    home = digest(original(shop()))
    return Incident(
        id=name,
        trace_id="7f2f09c4" * 4,
        planned=False,
        state=state,
        service="shoes",
        node="node-b",
        cause="connection refused",
        sentence="shoes on node-b refused connections; node-a serves all of it",
        began_wall_us=began_wall_us,
        closed_wall_us=began_wall_us + 25 * SECOND if closed else None,
        evidence=(
            EvidenceItem(
                observer="node-b",
                boot_id="00",
                sequence=7,
                what="connection refused",
                value="0.3 ms",
                threshold="refused again",
                grade=Grade.CONCLUSIVE,
                sign=Sign.REFUSED,
                age_us=1_204,
            ),
        ),
        phases=(
            Phase(name="detect", duration_us=1_204, detail="reset, then refused"),
            Phase(name="decide", duration_us=38),
            Phase(name="switch", duration_us=6_333),
            Phase(name="verify", duration_us=2_421),
        ),
        recovery=(
            Phase(name="observe", duration_us=10_000_000),
            Phase(name="match", duration_us=12_000),
            Phase(name="ramp", duration_us=10_400_000),
            Phase(name="compare", duration_us=3_000),
        )
        if closed
        else (),
        cost=Cost(requests=512, failed=0),
        before={"shoes/node-b": Rule(Admission.SERVING, 100)},
        after={"shoes/node-b": Rule(Admission.OUT, 0)},
        not_done="orders was left as it is: its probe is green",
        faster="64 % was the switch: node-b was last",
        waiting_for="" if closed else "its probes to be green",
        original_digest=home if closed else "",
        installed={"node-a": home, "node-b": home} if closed else {},
    )
