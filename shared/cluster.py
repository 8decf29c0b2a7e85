"""What the configuration says the cluster is, as frozen values that cores may hold.

`shared.settings` is the only maker of these; defaults, limits and relations are checked there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.instant import MILLISECOND, SECOND, Duration

# A lease that is left to us (`lease: auto`) lies between these; what is fixed in the file may be
# shorter (the profile `fast`), never longer. The longest bounds what a starting arbiter waits.
LEASE_SHORTEST_US: Duration = 200 * MILLISECOND
LEASE_LONGEST_US: Duration = SECOND


class Mode(StrEnum):
    """How the instances of a service share its work."""

    BALANCE = "balance"  # all serve, by weight
    MIRROR = "mirror"  # the home node's instance serves, the others stand by


class Protocol(StrEnum):
    """What the load balancer speaks for a service."""

    HTTP = "http"
    TCP = "tcp"


class FailbackMode(StrEnum):
    """Who brings a recovered instance back."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class Unhealthy(StrEnum):
    """What it is worth that a container's own health check fails."""

    IGNORED = "ignored"
    SUSPICIOUS = "suspicious"
    CONCLUSIVE = "conclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine that serves traffic, or the witness, which does not."""

    name: str
    address: str
    capacity: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualIp:
    """An address that clients use, held by one node at a time."""

    name: str
    address: str  # IPv4 or IPv6, as `ipaddress` writes it
    prefix: int  # of the subnet that it lies in
    home: str  # the node it belongs on
    interface: str | None = None  # None: the one that has the subnet, whatever it is called


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How an instance is asked whether it works."""

    path: str | None  # an HTTP path; None means a TCP connection is proof enough
    expect: tuple[tuple[int, int], ...]  # accepted status ranges, ends included
    every_us: Duration
    timeout_us: Duration | None  # None means auto: follows the instance's normal answers
    fall: int
    rise: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What must be equal on every node for services to match."""

    path: str | None  # an HTTP path on the instance; None: it is not asked
    header: str | None  # the identity is this header of the answer; None means its body
    every_us: Duration
    image: bool = False  # the image of the instance's container is a part of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Contained:
    """The container that an instance runs in, of which its node's Docker engine tells."""

    container: str  # its name; `{node}` in it is the node's
    unhealthy: Unhealthy = Unhealthy.SUSPICIOUS

    def on(self, node: str) -> str:
        """Return the container's name on a node."""
        return self.container.replace("{node}", node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A load-balanced application; one instance of it on every node."""

    name: str
    mode: Mode
    protocol: Protocol
    listen: int
    port: int
    home: str  # mirror: the node that serves; balance: the primary, without meaning
    limit_per_s: int | None  # requests/s one instance takes on a node of capacity 100
    probe: Probe
    identity: Identity | None
    vips: tuple[str, ...] = ()  # where clients reach it, beside the nodes' own addresses
    docker: Contained | None = None  # None: the engine is not asked about it


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings:
    """How nodes say that they are alive, and for how long that lets them hold an address."""

    every_us: Duration
    port: int
    lease_us: Duration | None = None  # None means auto: follows the gaps between a node's beats


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The thresholds that decisions are made by."""

    failback: FailbackMode
    after_us: Duration  # healthy for so long before a failback; doubled for each relapse
    forget_us: Duration  # a failure later than this after the last one is no relapse
    ramp_us: Duration
    drain_us: Duration
    moves_max: int  # automatic moves per target within the window, then advise only
    moves_window_us: Duration
    override_max_us: Duration  # no person's override lasts longer
    node_after_us: Duration = 30 * SECOND  # as `after_us`, for a node and the VIPs it comes home to


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole configuration that decisions and rules depend on."""

    name: str
    nodes: Mapping[str, Node]  # in the file's order; the first is the primary
    witness: Node | None
    services: Mapping[str, Service]
    heartbeat: HeartbeatSettings
    policy: Policy
    bus_servers: tuple[str, ...]
    configuration: str  # hash of the file's meaning: nodes that differ are reported
    vips: Mapping[str, VirtualIp] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        """The first node of the file: it wins ties."""
        return next(iter(self.nodes))

    @property
    def members(self) -> Mapping[str, Node]:
        """All who beat: the nodes, and the witness under the name `witness`."""
        if self.witness is None:
            return self.nodes
        return {**self.nodes, self.witness.name: self.witness}
