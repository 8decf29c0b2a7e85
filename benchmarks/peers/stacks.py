"""What takes care of the nodes: Equipoise, or others, each in several configurations.

Each is compared on what it takes care of. HAProxy and Envoy by themselves move no address, so
each node has its own for good, and faults of instances alone are played. With keepalived beside
them, instances are still the load balancer's affair: what is played is what moves addresses. One
that differs from another in a single thing is compared on what that thing is for.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import envoy, haproxy
from benchmarks.peers.envoy import Envoy
from benchmarks.peers.faults import BALANCERS, INSTANCES, MOVING, SILENT, Fault
from benchmarks.peers.haproxy import Haproxy
from benchmarks.peers.keepalived import Keepalived
from benchmarks.peers.places import ENVOY, INTERFACE, KEEPALIVED, NODES, Peer, Places
from services.sandbox.drills.balancers import Weights
from services.sandbox.drills.scene import Scene
from services.sandbox.network import vips
from services.sandbox.options import Profile
from shared.instant import MILLISECOND, SECOND, Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One of them."""

    name: str
    words: str  # in the documents
    rhythm_us: Duration  # its longest: a fault comes at a moment drawn from so long
    profile: Profile | None = None  # of Equipoise; None: it is another's
    balancer: Haproxy | Envoy | None = None
    router: Keepalived | None = None  # None: nobody moves addresses, unless Equipoise does
    differs_in: tuple[Fault, ...] = ()  # all others go as with the stack before it

    @property
    def is_ours(self) -> bool:
        """Whether it is Equipoise."""
        return self.profile is not None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What it is compared on."""
        if self.differs_in:
            return self.differs_in
        if self.is_ours:
            return tuple(Fault)
        return INSTANCES if self.router is None else MOVING

    @property
    def peers(self) -> tuple[Peer, ...]:
        """What must be on this machine."""
        routing = (KEEPALIVED,) if self.router else ()
        return (*routing, ENVOY) if isinstance(self.balancer, Envoy) else routing

    @property
    def missing(self) -> str | None:
        """Say what is not here, and how to get it; None if all is."""
        return "; ".join(lack for peer in self.peers if (lack := peer.missing)) or None

    @property
    def versions(self) -> Mapping[str, str]:
        """What its programs say of themselves."""
        return {peer.name: peer.version for peer in self.peers}

    def options(self, folder: Path) -> tuple[str, ...]:
        """Write what it needs into a folder; return the sandbox's options for it."""
        if self.profile is not None:
            return () if self.profile is Profile.DEFAULT else ("--profile", self.profile.value)
        content: dict[str, object] = {
            "balancers": {node: self._haproxy(folder, node) for node in NODES},
            "programs": [program for node in NODES for program in self._programs(folder, node)],
        }
        guests = folder / "guests.json"
        guests.write_text(json.dumps(content))
        return ("--only", "infrastructure", "--guests", str(guests))

    def _haproxy(self, folder: Path, node: str) -> str | None:
        if not isinstance(self.balancer, Haproxy):
            return None
        return self.balancer.file(Places(folder=folder, node=node))

    def _programs(self, folder: Path, node: str) -> list[dict[str, object]]:
        places = Places(folder=folder, node=node)
        found = self.balancer.programs(places) if isinstance(self.balancer, Envoy) else []
        return found + (list(self.router.programs(places)) if self.router else [settled(node)])

    async def weights(self, scene: Scene, folder: Path) -> dict[str, Weights]:
        """Return what every load balancer gives every instance, by its own word."""
        if not isinstance(self.balancer, Envoy):
            return await scene.weights()
        sockets = [Places(folder=folder, node=node).file("envoy.sock") for node in NODES]
        return dict(zip(NODES, await asyncio.gather(*map(envoy.read, sockets)), strict=True))


def settled(node: str) -> dict[str, object]:
    """Return what gives a node its virtual IPs for good, where nobody moves them."""
    lines = [
        f"ip address replace {vip.address}/{vip.prefix} dev {INTERFACE}"
        for vip in vips(NODES).values()
        if vip.home == node
    ]
    script = "; ".join([*lines, "echo settled", "exec sleep infinity"])
    return {
        "member": node,
        "name": "addresses",
        "command": ["sh", "-ec", script],
        "ready": "settled",
    }


OURS = Stack(name="equipoise", words="Equipoise", rhythm_us=SECOND, profile=Profile.DEFAULT)
STACKS = (
    OURS,
    Stack(
        name="equipoise-fast",
        words="Equipoise, fast",
        rhythm_us=SECOND,
        profile=Profile.FAST,
        differs_in=SILENT,
    ),
    Stack(
        name="haproxy",
        words="HAProxy alone, as documented",
        rhythm_us=2 * SECOND,
        balancer=haproxy.DOCUMENTED,
    ),
    Stack(
        name="haproxy-tightest",
        words="HAProxy alone, tightest",
        rhythm_us=100 * MILLISECOND,
        balancer=haproxy.TIGHTEST,
    ),
    Stack(
        name="envoy",
        words="Envoy alone, as documented",
        rhythm_us=2 * SECOND,
        balancer=envoy.DOCUMENTED,
    ),
    Stack(
        name="envoy-tightest",
        words="Envoy alone, tightest",
        rhythm_us=100 * MILLISECOND,
        balancer=envoy.TIGHTEST,
    ),
    Stack(
        name="keepalived",
        words="keepalived + HAProxy, as shipped",
        rhythm_us=2 * SECOND,
        balancer=haproxy.DOCUMENTED,
        router=Keepalived(),
    ),
    Stack(
        name="keepalived-100ms",
        words="keepalived 100 ms + HAProxy",
        rhythm_us=SECOND,
        balancer=haproxy.TIGHTEST_FOR_NODES,
        router=Keepalived(advert_s=0.1),
    ),
    Stack(
        name="keepalived-http",
        words="keepalived 100 ms, HTTP script + HAProxy",
        rhythm_us=SECOND,
        balancer=haproxy.TIGHTEST_FOR_NODES,
        router=Keepalived(advert_s=0.1, asks=True),
        differs_in=BALANCERS,
    ),
    Stack(
        name="keepalived-20ms",
        words="keepalived 20 ms, tightest + HAProxy",
        rhythm_us=SECOND,
        balancer=haproxy.TIGHTEST_FOR_NODES,
        router=Keepalived(advert_s=0.02, asks=True, is_tightest=True),
    ),
)


def stack(name: str) -> Stack:
    """Return one by its name."""
    return next(each for each in STACKS if each.name == name)
