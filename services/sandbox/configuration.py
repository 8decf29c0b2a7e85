"""What the sandbox's cluster is configured as: short hold-downs, so that returns can be watched.

The real hold-downs have tests of their own; everything else is as a person would write it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from services.sandbox.network import WITNESS, vips
from services.sandbox.options import Options, Profile, Weak

BUS_PORT = 4222
TRACES_PORT = 4318
KEY = "equipoise.key"
CLUSTER_FILE = "equipoise.yaml"


@dataclass(frozen=True, slots=True)
class DemoService:
    """A service of the demonstration, and where its instances listen."""

    name: str
    listen: int
    port: int
    mode: str


SERVICES = (
    DemoService("shop", listen=80, port=8080, mode="balance"),
    DemoService("orders", listen=81, port=8081, mode="mirror"),
)


def cluster_file(
    options: Options, name: str, nodes: Sequence[str], addresses: Mapping[str, str]
) -> str:
    """Return equipoise.yaml."""
    capacities = (*options.capacities, *[100] * (options.nodes - len(options.capacities)))
    content = {
        "version": 1,
        "cluster": name,
        "key": KEY,
        "nodes": {
            node: {"address": addresses[node], "capacity": capacity}
            for node, capacity in zip(nodes, capacities, strict=True)
        },
        "witness": {"address": addresses[WITNESS]},
        "bus": {"servers": [f"nats://{addresses[WITNESS]}:{BUS_PORT}"]},
        "vips": _vips(options, nodes),
        **_heartbeat(options),
        "services": {service.name: _service(service, nodes[0]) for service in SERVICES},
        "policy": {
            "after": {"service": "1s", "node": "1s"},
            "ramp": "1s",
            "drain": "1s",
            # Drills move the same few instances again and again.
            "moves": "1000 per 10m",
            "forget": "100ms",  # drills on the same target follow one another
        },
    }
    head = "# The sandbox's cluster; `equipoise config show` has all defaults.\n"
    return head + yaml.safe_dump(content, sort_keys=False)


def _heartbeat(options: Options) -> dict[str, object]:
    """Return how often members beat, and how long leases are; nothing where that is the default."""
    if options.weak is Weak.NO_LEASE_WAIT:
        # So long that what is done in its second half cannot be missed.
        return {"heartbeat": {"lease": "800ms"}}
    if options.profile is Profile.FAST:
        return {"heartbeat": {"profile": options.profile.value}}
    return {}


def _vips(options: Options, nodes: Sequence[str]) -> dict[str, object]:
    return {
        name: {"address": f"{vip.address}/{vip.prefix}", "home": vip.home}
        for name, vip in vips(nodes, ipv6=options.ipv6).items()
    }


def _service(service: DemoService, primary: str) -> dict[str, object]:
    home = {"home": primary} if service.mode == "mirror" else {}
    return {
        "mode": service.mode,
        **home,
        "listen": service.listen,
        "port": service.port,
        "protocol": "http",
        "probe": {"http": "/healthz"},
        "identity": {"http": "/version", "every": "1s"},
    }


def bus_file(store: Path, address: str) -> str:
    """Return the nats-server's configuration."""
    return f"""\
server_name: {WITNESS}
listen: "{address}:{BUS_PORT}"
jetstream {{
  store_dir: "{store}"
  max_mem: 64MB
  max_file: 512MB
  # What is kept can be lost: every switcher has its plan on its own disk. All members of a sandbox
  # share one disk, and a write for every event would hold up the switchers' writes of plans.
  sync_interval: 1s
}}
"""


def balancer_file(addresses: Mapping[str, str], run_directory: Path) -> str:
    """Return a configuration for HAProxy without Equipoise: it checks and balances by itself."""
    parts = [
        f"""\
global
  stats socket {run_directory}/haproxy.sock mode 660 level admin
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
"""
    ]
    for service in SERVICES:
        servers = "".join(
            f"  server {node} {address}:{service.port} check inter 100ms fall 2 rise 2\n"
            for node, address in addresses.items()
        )
        parts.append(
            f"frontend {service.name}\n  bind :{service.listen}\n"
            f"  default_backend {service.name}\nbackend {service.name}\n"
            f"  balance roundrobin\n  option httpchk GET /healthz\n{servers}"
        )
    return "".join(parts)
