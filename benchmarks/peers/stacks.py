"""What takes care of the nodes: Equipoise, or keepalived and HAProxy in two configurations.

As *shipped* is what the manuals and most tutorials show: adverts every second, a script that looks
whether HAProxy's process is there, HAProxy's own intervals. *Tuned* is the tightest that we could
make of them: adverts twenty times a second (which no standard forbids), HAProxy checked ten times a
second, safe requests retried on the other instance, GARP repeated every second, and keepalived told
at once when HAProxy ends. keepalived's `track_process` would do the last; it needs the machine's
first namespaces, so a program that waits for that end writes a `track_file` instead (`watch`).
"""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from services.sandbox.configuration import SERVICES, DemoService
from services.sandbox.machine import TOOL_PATHS
from services.sandbox.network import addresses, node_names, vips
from shared.errors import MachineError

NODES = node_names(2)
INTERFACE = "eth1"  # of the nodes on the clients' network
ROUTER_IDS_FROM = 51
HOME, AWAY = 150, 100  # priorities
READY = "Startup complete"
ADVERT_S = 0.05


class Stack(StrEnum):
    """What takes care of the nodes."""

    EQUIPOISE = "equipoise"
    SHIPPED = "keepalived"
    TUNED = "keepalived-tuned"

    @property
    def words(self) -> str:
        """Its name in the document."""
        return {
            Stack.EQUIPOISE: "Equipoise",
            Stack.SHIPPED: "keepalived + HAProxy, as shipped",
            Stack.TUNED: "keepalived + HAProxy, tuned",
        }[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the files of a node's guests are."""

    folder: Path
    node: str

    def file(self, name: str) -> Path:
        """Return the place of a file of this node."""
        return self.folder / f"{self.node}.{name}"


def keepalived() -> str:
    """Return where keepalived is, or say how to get it."""
    found = shutil.which("keepalived", path=":".join(TOOL_PATHS))
    if found is None:
        raise MachineError(
            "keepalived is not here, which Equipoise is to be compared with: as root, "
            "apt-get install --no-install-recommends keepalived"
        )
    return found


def options(stack: Stack, folder: Path) -> tuple[str, ...]:
    """Write what a stack needs; return the sandbox's options for it."""
    if stack is Stack.EQUIPOISE:
        return ()
    tuned = stack is Stack.TUNED
    balancers, programs = {}, []
    for node in NODES:
        places = Places(folder=folder, node=node)
        balancers[node] = balancer(places, tuned=tuned)
        programs += list(_programs(places, tuned=tuned))
    guests = folder / "guests.json"
    guests.write_text(json.dumps({"balancers": balancers, "programs": programs}))
    return ("--only", "infrastructure", "--guests", str(guests))


def _programs(places: Places, *, tuned: bool) -> Iterator[dict[str, object]]:
    configured, check = places.file("keepalived.conf"), places.file("check")
    configured.write_text(router(places, tuned=tuned))
    check.write_text(ASKED if tuned else LOOKED.format(pid=places.file("haproxy.pid")))
    check.chmod(0o755)
    command = [keepalived(), "--dont-fork", "--log-console", "--vrrp", "-f", str(configured)]
    command += ["-p", str(places.file("keepalived.pid")), "-r", str(places.file("vrrp.pid"))]
    yield {"member": places.node, "name": "keepalived", "command": command, "ready": READY}
    if tuned:
        command = [sys.executable, "-m", "benchmarks.peers.watch"]
        command += [str(places.file("haproxy.pid")), str(places.file("down"))]
        yield {"member": places.node, "name": "watch", "command": command, "ready": "watching"}


# What everybody writes as `killall -0 haproxy`; by number, since here both nodes' processes are
# in one table.
LOOKED = '#!/bin/sh\nkill -0 "$(cat {pid})"\n'
ASKED = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET /alive HTTP/1.0\\r\\n\\r\\n' >&3
read -r -t 0.3 line <&3 && [[ $line == *" 200 "* ]]
"""


def router(places: Places, *, tuned: bool) -> str:
    """Return keepalived.conf of a node."""
    head = ["global_defs {", "  script_user root", "  enable_script_security"]
    script = ["vrrp_script check {", f'  script "{places.file("check")}"']
    tracked = ["  track_script {", "    check", "  }"]
    if tuned:
        head += ["  vrrp_version 3", "  vrrp_rt_priority 50"]
        head += ["  vrrp_garp_master_delay 1", "  vrrp_garp_master_refresh 1"]
        script += ["  interval 1", "  timeout 1"]  # whole seconds: one is the least
        tracked += ["  track_file {", "    down", "  }"]
    lines = [*head, "}", *script, "}"]
    if tuned:
        lines += ["vrrp_track_file down {", f'  file "{places.file("down")}"']
        lines += ["  weight 0", "  init_file 0 overwrite", "}"]
    for number, (name, vip) in enumerate(vips(NODES).items(), start=ROUTER_IDS_FROM):
        at_home = vip.home == places.node
        lines += [
            f"vrrp_instance {name} {{",
            f"  state {'MASTER' if at_home else 'BACKUP'}",
            f"  interface {INTERFACE}",
            f"  virtual_router_id {number}",
            f"  priority {HOME if at_home else AWAY}",
            *([f"  advert_int {ADVERT_S}"] if tuned else []),
            f"  virtual_ipaddress {{\n    {vip.address}/{vip.prefix}\n  }}",
            *tracked,
            "}",
        ]
    return "\n".join(lines) + "\n"


# Debian's own haproxy.cfg has these times.
SHIPPED_DEFAULTS = """\
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
"""
TUNED_DEFAULTS = """\
defaults
  mode http
  timeout connect 100ms
  timeout client 50s
  timeout server 500ms
  timeout check 200ms
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout
  default-server inter 100ms fastinter 50ms fall 2 rise 2 observe layer4 error-limit 1 on-error mark-down
"""  # noqa: E501 - one setting, one line
ONLY_SAFE = "http-request disable-l7-retry unless { method GET HEAD OPTIONS }"


def balancer(places: Places, *, tuned: bool) -> str:
    """Return haproxy.cfg of a node: the services of the sandbox, one balanced, one with a spare."""
    lines = ["global", '  stats socket "${EQUIPOISE_RUN_DIR}/haproxy.sock" mode 660 level admin']
    lines += [
        f"  pidfile {places.file('haproxy.pid')}",
        TUNED_DEFAULTS if tuned else SHIPPED_DEFAULTS,
    ]
    for service in SERVICES:
        lines += [f"frontend {service.name}", f"  bind :{service.listen}"]
        lines += [*(["  monitor-uri /alive"] if tuned else [])]
        lines += [f"  default_backend {service.name}", f"backend {service.name}"]
        lines += ["  balance roundrobin", "  option httpchk GET /healthz"]
        lines += [*([f"  {ONLY_SAFE}"] if tuned else []), *_servers(service, NODES)]
    return "\n".join(lines) + "\n"


def _servers(service: DemoService, nodes: Sequence[str]) -> Iterator[str]:
    for number, (node, address) in enumerate(_instances(nodes)):
        spare = " backup" if service.mode == "mirror" and number else ""
        yield f"  server {node} {address}:{service.port} check{spare}"


def _instances(nodes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return the nodes with their addresses on the cluster's network."""
    known = addresses(nodes)
    return ((node, known[node]) for node in nodes)
