"""What a seed draws: the cluster, which faults blow in it, and how hard.

Swarm testing: every kind of fault is on with probability one half and has a rate of its own, so
that each seed is one-sided in its own way; a fixed mixture finds less, because faults also hide
each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

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
from shared.instant import HOUR, MILLISECOND, SECOND, Duration

WITNESS = "witness"
STORM_MIN_US: Duration = 10 * SECOND
STORM_MAX_US: Duration = 18 * SECOND


class Fault(StrEnum):
    """What can go wrong; each is injected, proved, counted and healed."""

    ARBITER_CRASH = "arbiter-crash"
    SWITCHER_CRASH = "switcher-crash"
    PROBE_CRASH = "probe-crash"
    HEARTBEAT_CRASH = "heartbeat-crash"
    CRASH_BETWEEN = "crash-between-actions"
    ARBITER_FREEZE = "arbiter-freeze"
    SWITCHER_FREEZE = "switcher-freeze"
    PROBE_FREEZE = "probe-freeze"
    HEARTBEAT_FREEZE = "heartbeat-freeze"
    STUTTER = "stutter"  # freezes of milliseconds, as on a busy machine
    NODE_CRASH = "node-crash"
    BUS_AWAY = "bus-away"
    STREAM_AWAY = "stream-away"
    CUT_ONE_WAY = "cut-one-way"
    CUT_PEER = "cut-peer"  # two nodes cannot reach each other; both reach the bus
    LOSS = "loss"
    DELAY = "delay"  # and so reordering
    DUPLICATION = "duplication"
    REPLAY = "replay"  # an old command is heard again
    EMPTY_PLAN = "empty-plan"  # somebody orders that a service be left with nothing
    INSTANCE_KILL = "instance-kill"
    INSTANCE_HANG = "instance-hang"
    INSTANCE_ERROR = "instance-error"
    INSTANCE_SLOW = "instance-slow"
    INSTANCE_OTHER = "instance-other"  # it comes back as another version
    BALANCER_RESTART = "balancer-restart"
    BALANCER_HANG = "balancer-hang"
    FOREIGN_CLOSE = "foreign-close"  # somebody's maintenance by hand
    FOREIGN_WEIGHT = "foreign-weight"
    DISK_FULL = "disk-full"
    PEOPLE = "people"
    CONFIGURATION = "configuration-differs"


# Mean seconds between two injections, from rough to mild; drawn in between for each seed.
EVERY_S: Mapping[Fault, tuple[float, float]] = {
    Fault.ARBITER_CRASH: (3, 10),
    Fault.SWITCHER_CRASH: (2, 8),
    Fault.PROBE_CRASH: (3, 10),
    Fault.HEARTBEAT_CRASH: (3, 10),
    Fault.CRASH_BETWEEN: (3, 10),
    Fault.ARBITER_FREEZE: (2, 8),
    Fault.SWITCHER_FREEZE: (2, 8),
    Fault.PROBE_FREEZE: (2, 8),
    Fault.HEARTBEAT_FREEZE: (3, 10),
    Fault.STUTTER: (0.3, 2),
    Fault.NODE_CRASH: (6, 20),
    Fault.BUS_AWAY: (5, 15),
    Fault.STREAM_AWAY: (5, 15),
    Fault.CUT_ONE_WAY: (2, 8),
    Fault.CUT_PEER: (2, 8),
    Fault.LOSS: (2, 8),
    Fault.DELAY: (2, 8),
    Fault.DUPLICATION: (2, 8),
    Fault.REPLAY: (0.5, 3),
    Fault.EMPTY_PLAN: (1, 5),
    Fault.INSTANCE_KILL: (2, 6),
    Fault.INSTANCE_HANG: (2, 8),
    Fault.INSTANCE_ERROR: (2, 8),
    Fault.INSTANCE_SLOW: (2, 8),
    Fault.INSTANCE_OTHER: (3, 10),
    Fault.BALANCER_RESTART: (3, 10),
    Fault.BALANCER_HANG: (4, 12),
    Fault.FOREIGN_CLOSE: (3, 10),
    Fault.FOREIGN_WEIGHT: (3, 10),
    Fault.DISK_FULL: (3, 10),
    Fault.PEOPLE: (1, 5),
    Fault.CONFIGURATION: (5, 15),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """One seed's cluster and climate."""

    cluster: Cluster
    every_us: Mapping[Fault, Duration]  # faults that blow, and the mean time between two
    storm_us: Duration
    leaves_overrides: bool  # people do not tidy up before the end


def drawn(rng: Random, storm: frozenset[Fault] | None = None) -> Weather:
    """Draw the weather; `storm` names the faults that blow hard, and no others."""
    every_us = {}
    for fault in Fault:
        rough, mild = EVERY_S[fault]
        is_on, every_s = rng.random() < 0.5, rng.uniform(rough, mild)
        if storm is not None:
            is_on, every_s = fault in storm, rough
        if is_on:
            every_us[fault] = int(every_s * SECOND)
    return Weather(
        cluster=_cluster(rng),
        every_us=every_us,
        storm_us=rng.randrange(STORM_MIN_US, STORM_MAX_US),
        leaves_overrides=rng.random() < 0.5,
    )


def _cluster(rng: Random) -> Cluster:
    names = ["node-a", "node-b", "node-c", "node-d"][: rng.choice((2, 2, 2, 2, 3, 3, 4))]
    nodes = {
        name: Node(name=name, address=f"10.0.0.{11 + k}", capacity=rng.choice((100, 100, 50, 300)))
        for k, name in enumerate(names)
    }
    services = [_service(rng, name, names) for name in ("orders", "shop")[: rng.choice((1, 2, 2))]]
    return Cluster(
        name="simulated",
        nodes=nodes,
        witness=Node(name=WITNESS, address="10.0.0.5"),
        services={service.name: service for service in services},
        heartbeat=HeartbeatSettings(every_us=rng.choice((100, 150, 200)) * MILLISECOND, port=8643),
        policy=_policy(rng),
        bus_servers=("nats://10.0.0.5:4222",),
        configuration="c0ffee",
    )


def _service(rng: Random, name: str, nodes: list[str]) -> Service:
    is_http = rng.random() < 0.8
    probe = Probe(
        path="/healthz" if is_http else None,
        expect=((200, 299),),
        every_us=rng.choice((150, 200, 300)) * MILLISECOND,
        timeout_us=rng.choice((None, None, 100 * MILLISECOND)),
        fall=rng.choice((1, 2, 2, 3)),
        rise=rng.choice((1, 2, 3)),
    )
    identity = Identity(path="/version", header=None, every_us=2 * SECOND)
    return Service(
        name=name,
        mode=rng.choice((Mode.BALANCE, Mode.BALANCE, Mode.MIRROR)),
        protocol=Protocol.HTTP if is_http else Protocol.TCP,
        listen=80,
        port=8080,
        home=rng.choice(nodes),
        limit_per_s=rng.choice((None, 100)),
        probe=probe,
        identity=identity if is_http and rng.random() < 0.7 else None,
    )


def _policy(rng: Random) -> Policy:
    failback = FailbackMode.AUTOMATIC if rng.random() < 0.85 else FailbackMode.MANUAL
    after_us = rng.choice((300, 600, 1_200)) * MILLISECOND
    return Policy(
        failback=failback,
        after_us=after_us,
        node_after_us=2 * after_us,
        ramp_us=rng.choice((0, 500, 1_000, 2_000)) * MILLISECOND,
        drain_us=rng.choice((200, 500, 1_000)) * MILLISECOND,
        moves_max=rng.choice((2, 4, 4, 6)),
        moves_window_us=rng.choice((5, 8, 12)) * SECOND,
        override_max_us=4 * HOUR,
        forget_us=rng.choice((HOUR, 10 * SECOND)),
    )
