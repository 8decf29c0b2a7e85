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
    VirtualIp,
)
from shared.frozen import replace
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
    VipBelief,
    VipMove,
    VipState,
    VipTakeover,
)
from shared.messages.health import Evidence, Grade, Heartbeat, Presence, Sign, Verdict
from shared.messages.traffic import (
    InstanceLoad,
    Measured,
    Override,
    Placement,
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
        vips=("web", "api"),
    )


def vip(name: str, last: int, home: str) -> VirtualIp:
    return VirtualIp(name=name, address=f"10.0.0.{last}", prefix=24, home=home)


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
        vips={"web": vip("web", 100, "node-a"), "api": vip("api", 101, "node-b")},
    )


def placements(**holders: str) -> dict[str, Placement]:
    """Return where the VIPs are to be: at home since the first plan, but for those named."""
    at_home = {name: vip.home for name, vip in shop().vips.items()}
    return {
        name: Placement(holder=holders[name], term=(3, 42), previous=home)
        if holders.get(name, home) != home
        else Placement(holder=home, term=(3, 1))
        for name, home in at_home.items()
    }


def plan(
    sequence: int = 41,
    *,
    epoch: int = 3,
    rules: Rules | None = None,
    overrides: tuple[Override, ...] = (),
    reason: str = "the original settings",
    vips: Mapping[str, Placement] | None = None,
) -> Plan:
    records: tuple[Record, ...] = ()
    return Plan(
        epoch=epoch,
        sequence=sequence,
        services=original(shop()) if rules is None else rules,
        reason=reason,
        overrides=overrides,
        records=records,
        vips=placements() if vips is None else vips,
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


def node(
    state: NodeState = NodeState.UP,
    *,
    reason: str = "",
    signals: tuple[str, ...] = (),
    waiting_for: str = "",
) -> NodeBelief:
    return NodeBelief(
        state=state,
        silent_us=12 * MILLISECOND,
        configuration=CONFIGURATION,
        boot_id="00",
        applied=(3, 41),
        reason=reason,
        since_us=2 * HOUR,
        signals=signals,
        waiting_for=waiting_for,
        lease_us=240 * MILLISECOND,
    )


def held(
    name: str,
    of: Plan | None = None,
    *,
    state: VipState = VipState.HELD,
    reason: str = "its home",
    waiting_for: str = "",
    incident: str | None = None,
) -> VipBelief:
    """Return what is believed of a VIP, by default that its holder in the plan has it."""
    placement = (of or plan()).vips[name]
    vip = shop().vips[name]
    return VipBelief(
        address=vip.address,
        home=vip.home,
        holder=placement.holder,
        term=placement.term,
        state=state,
        reason=reason,
        waiting_for=waiting_for,
        since_us=12 * SECOND,
        incident=incident,
        lease_us=240 * MILLISECOND,
        answered_age_us=2 * SECOND if state is VipState.HELD else None,
    )


def takeovers_of(vips: Mapping[str, VipBelief], nodes: Mapping[str, NodeBelief]) -> Readiness:
    """Return readiness of VIPs: another node that is up can take them."""
    takeovers = []
    for name, belief in sorted(vips.items()):
        others = (node for node in ("node-a", "node-b") if node != belief.holder)
        to = tuple(node for node in others if nodes[node].state is NodeState.UP)
        reason = "it is fit" if to else "no other node is up"
        takeovers.append(
            VipTakeover(vip=name, holder=belief.holder, to=to, ready=bool(to), reason=reason)
        )
    return Readiness(
        ready=all(item.ready for item in takeovers), takeovers=(), vips=tuple(takeovers)
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
    vips: Mapping[str, VipBelief] | None = None,
) -> Situation:
    of = of or plan()
    instances = {
        name: {n: (beliefs or {}).get((name, n), believed()) for n in rules}
        for name, rules in of.services.items()
    }
    members = {name: node() for name in ("node-a", "node-b", "witness")} | dict(nodes or {})
    believed_vips = {name: held(name, of) for name in of.vips} | dict(vips or {})
    services, of_vips = ready(of), takeovers_of(believed_vips, members)
    return Situation(
        arbiter="witness",
        plan=of,
        settled=True,
        paused=paused,
        nodes=members,
        instances=instances,
        readiness=Readiness(
            ready=services.ready and of_vips.ready,
            takeovers=services.takeovers,
            vips=of_vips.vips,
        ),
        incidents=incidents,
        alarms=alarms,
        vips=believed_vips,
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


def heartbeat(member: str, *, configuration: str = CONFIGURATION) -> Presence:
    """Return what a heartbeat says every second."""
    return Presence(
        beat=Heartbeat(
            node=member,
            boot_id="00",
            sequence=1,
            configuration=configuration,
            hears_us={"node-a": 11 * MILLISECOND},
        )
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


SIGNALS = ("silent on the bus for 320 ms", "not heard by UDP for 310 ms")
LOST = "silent on the bus for 320 ms and by UDP for 310 ms"


def node_lost(state: IncidentState = IncidentState.HANDLED) -> Incident:
    """Return the incident of a whole node: its VIP moved when its lease had certainly ended."""
    of_service = incident("9PX3QZ", state)
    return replace(
        of_service,
        service="",
        cause="fell silent",
        sentence="node-b fell silent; node-a holds api and serves all of shoes",
        evidence=tuple(
            EvidenceItem(
                observer=observer,
                boot_id="00",
                sequence=7,
                what=what,
                value=value,
                threshold=threshold,
                grade=Grade.SUSPICIOUS,
                sign=sign,
                age_us=310 * MILLISECOND,
            )
            for observer, what, value, threshold, sign in (
                ("witness", "silent on the bus", "320 ms", "160 ms", Sign.TIMEOUT),
                ("node-a", "not heard by UDP", "310 ms", "160 ms", Sign.TIMEOUT),
            )
        ),
        phases=(
            Phase(name="detect", duration_us=161_000, detail="silent for 160 ms"),
            Phase(name="lease", duration_us=98_400, detail="until node-b's lease had ended"),
            Phase(name="decide", duration_us=52),
            Phase(name="switch", duration_us=3_412),
            Phase(name="verify", duration_us=2_136),
        ),
        before={"shoes/node-b": Rule(Admission.SERVING, 100)},
        not_done="node-b was not fenced: its lease had ended by itself",
        faster="37 % of the time was the lease; 'profile: fast' makes it 120 ms",
        vips=(
            VipMove(
                vip="api",
                address="10.0.0.101",
                before="node-b",
                after="node-a",
                waited_us=98_400,
            ),
        ),
    )


def lost_b() -> Situation:
    """Return what is believed while node-b is dead and node-a holds everything."""
    of = plan(42, rules=without_b(), vips=placements(api="node-a"), reason="node-b is dead")
    dead = node(NodeState.DEAD, reason=LOST, waiting_for="its beats", signals=SIGNALS)
    out = believed(
        InstanceState.OUT, reason="node-b is dead", waiting_for="node-b", incident="9PX3QZ"
    )
    away = held("api", of, reason="node-b is dead", waiting_for="node-b well for 30 s")
    return situation(
        of,
        nodes={"node-b": dead},
        beliefs={("shoes", "node-b"): out, ("orders", "node-b"): out},
        incidents=("9PX3QZ",),
        vips={"api": replace(away, incident="9PX3QZ")},
    )
