"""What a seed draws: the cluster, its clocks, which faults blow in it, and how hard.

Every kind of fault is on with probability one half, so that each seed is one-sided in its own
way; rates are generous, because what is looked for lies in the corners.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

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
    VirtualIp,
)
from shared.instant import HOUR, MILLISECOND, SECOND, Duration

WITNESS = "witness"
STORM_MIN_US: Duration = 3 * SECOND
STORM_MAX_US: Duration = 6 * SECOND
RATE_LIMIT = 30_000  # parts of a million: the protocol's bound
TICKS_US = (MILLISECOND, 4 * MILLISECOND, 10 * MILLISECOND)  # of kernels: 1000, 250, 100 a second


class Fault(StrEnum):
    """What can go wrong."""

    LATE = "late messages"  # and so overtaking each other
    DOUBLED = "doubled messages"
    LOST = "lost messages"
    CUT = "one-way cut"
    ISLE = "node cut off both ways"
    SWITCHER_FREEZE = "switcher frozen"
    SWITCHER_STRIKE = "switcher frozen between two steps"
    SWITCHER_KILL = "switcher killed"
    SWITCHER_DIES = "switcher killed between two steps"
    ARBITER_FREEZE = "arbiter frozen"
    ARBITER_STRIKE = "arbiter frozen between two steps"
    ARBITER_KILL = "arbiter killed"
    FILES_LOST = "files lost"
    DISK_FULL = "disk full"
    POWER = "node without power"
    UNFIT = "balancer dead, no carrier, or leaving"
    KERNEL = "guard refuses"
    PEOPLE = "persons move VIPs"
    # Several at the worst moment for each other.
    RELAPSE = "released, killed and back before the release is heard"
    SUCCESSION = "arbiter killed and back, then a node cut off"
    OVERTAKEN = "moved to and fro while a node's messages are late, then a new arbiter"
    LAST_RENEWAL = "cut off, and frozen within the last renewal"


# Mean milliseconds between two injections (of strikes: points), from rough to mild.
EVERY: Mapping[Fault, tuple[int, int]] = {
    Fault.LATE: (150, 1_500),
    Fault.DOUBLED: (150, 1_500),
    Fault.LOST: (300, 2_000),
    Fault.CUT: (300, 2_000),
    Fault.ISLE: (500, 3_000),
    Fault.SWITCHER_FREEZE: (200, 1_500),
    Fault.SWITCHER_STRIKE: (40, 600),
    Fault.SWITCHER_KILL: (300, 2_500),
    Fault.SWITCHER_DIES: (300, 2_000),
    Fault.ARBITER_FREEZE: (400, 2_500),
    Fault.ARBITER_STRIKE: (80, 1_000),
    Fault.ARBITER_KILL: (400, 3_000),
    Fault.FILES_LOST: (600, 3_000),
    Fault.DISK_FULL: (600, 3_000),
    Fault.POWER: (1_000, 4_000),
    Fault.UNFIT: (200, 1_500),
    Fault.KERNEL: (800, 3_000),
    Fault.PEOPLE: (100, 800),
    Fault.RELAPSE: (300, 2_000),
    Fault.SUCCESSION: (400, 2_500),
    Fault.OVERTAKEN: (300, 2_500),
    Fault.LAST_RENEWAL: (400, 2_500),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """One seed's cluster and climate."""

    cluster: Cluster
    rates: Mapping[str, int]  # of the machines' clocks
    ticks_us: Mapping[str, Duration]  # of the nodes' kernels
    every: Mapping[Fault, int]  # faults that blow
    storm_us: Duration


def drawn(rng: Random, storm: frozenset[Fault] | None = None) -> Weather:
    """Draw the weather; `storm` names the faults that blow hard, and no others."""
    every = {}
    for fault in Fault:
        rough, mild = EVERY[fault]
        is_on, mean = rng.random() < 0.5, rng.randrange(rough, mild)
        if storm is not None:
            is_on, mean = fault in storm, rng.randrange(rough, 2 * rough)
        if is_on:
            every[fault] = mean
    cluster = _cluster(rng)
    machines = tuple(cluster.members)
    return Weather(
        cluster=cluster,
        rates={name: _rate(rng) for name in machines},
        ticks_us={name: rng.choice(TICKS_US) for name in cluster.nodes},
        every=every,
        storm_us=rng.randrange(STORM_MIN_US, STORM_MAX_US),
    )


def _rate(rng: Random) -> int:
    """Return a clock's rate; the extremes are what the protocol must bear."""
    if rng.random() < 0.6:
        return 1_000_000 + rng.choice((-RATE_LIMIT, RATE_LIMIT))
    return 1_000_000 + rng.randint(-RATE_LIMIT, RATE_LIMIT)


def _cluster(rng: Random) -> Cluster:
    names = ("node-a", "node-b", "node-c")[: rng.choice((2, 2, 3))]
    nodes = {name: Node(name=name, address=f"10.0.0.{11 + k}") for k, name in enumerate(names)}
    vips = {
        name: VirtualIp(
            name=name, address=f"10.0.1.{201 + k}", prefix=24, home=names[k % len(names)]
        )
        for k, name in enumerate(("web", "api")[: rng.choice((1, 1, 2))])
    }
    lease_us = rng.choice((None, None, 120, 300, 1_000))
    return Cluster(
        name="simulated",
        nodes=nodes,
        witness=Node(name=WITNESS, address="10.0.0.5"),
        services={"shop": _service(names[0], tuple(vips))},
        heartbeat=HeartbeatSettings(
            every_us=rng.choice((20, 50, 50, 80)) * MILLISECOND,
            port=8643,
            lease_us=None if lease_us is None else lease_us * MILLISECOND,
        ),
        policy=Policy(
            failback=FailbackMode.AUTOMATIC if rng.random() < 0.9 else FailbackMode.MANUAL,
            after_us=300 * MILLISECOND,
            ramp_us=0,
            drain_us=rng.choice((100, 300, 1_000)) * MILLISECOND,
            moves_max=rng.choice((4, 20)),
            moves_window_us=5 * SECOND,
            override_max_us=4 * HOUR,
            forget_us=SECOND,
            node_after_us=rng.choice((200, 500)) * MILLISECOND,
        ),
        bus_servers=("nats://10.0.0.5:4222",),
        configuration="c0ffee",
        vips=vips,
    )


def _service(home: str, vips: tuple[str, ...]) -> Service:
    return Service(
        name="shop",
        mode=Mode.BALANCE,
        protocol=Protocol.TCP,
        listen=80,
        port=8080,
        home=home,
        limit_per_s=None,
        probe=Probe(
            path=None,
            expect=((200, 299),),
            every_us=200 * MILLISECOND,
            timeout_us=None,
            fall=2,
            rise=1,
        ),
        identity=None,
        vips=vips,
    )
