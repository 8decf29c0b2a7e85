"""keepalived beside HAProxy: who holds which virtual IP, by VRRP.

keepalived's `track_process` would hear of HAProxy's end at once; it needs the machine's first
namespaces, which a sandbox is not, so a program that waits for that end writes a `track_file`
instead (`watch`).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.peers.places import INTERFACE, KEEPALIVED, NODES, Places
from services.sandbox.network import vips

ROUTER_IDS_FROM = 51
HOME, AWAY = 150, 100  # priorities
READY = "Startup complete"
# What everybody writes as `killall -0 haproxy`; by number, since here both nodes' processes are
# in one table.
LOOKED = '#!/bin/sh\nkill -0 "$(cat {pid})"\n'
ASKED = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET /alive HTTP/1.0\\r\\n\\r\\n' >&3
read -r -t 0.3 line <&3 && [[ $line == *" 200 "* ]]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalived:
    """A configuration."""

    advert_s: float | None = None  # None: as it is without a word, 1 s
    asks: bool = False  # the script asks HAProxy over HTTP; else it looks for its process
    # GARP repeated every second, real-time priority, HAProxy's end told at once.
    is_tightest: bool = False

    def programs(self, places: Places) -> Iterator[dict[str, object]]:
        """Write the files of a node; return what is to be started there."""
        configured, check = places.file("keepalived.conf"), places.file("check")
        configured.write_text(self.file(places))
        check.write_text(ASKED if self.asks else LOOKED.format(pid=places.file("haproxy.pid")))
        check.chmod(0o755)
        command = [KEEPALIVED.path, "--dont-fork", "--log-console", "--vrrp", "-f", str(configured)]
        command += ["-p", str(places.file("keepalived.pid")), "-r", str(places.file("vrrp.pid"))]
        yield {"member": places.node, "name": "keepalived", "command": command, "ready": READY}
        if self.is_tightest:
            command = [sys.executable, "-m", "benchmarks.peers.watch"]
            command += [str(places.file("haproxy.pid")), str(places.file("down"))]
            yield {"member": places.node, "name": "watch", "command": command, "ready": "watching"}

    def file(self, places: Places) -> str:
        """Return keepalived.conf of a node."""
        head = ["global_defs {", "  script_user root", "  enable_script_security"]
        # Whole seconds: one is the least.
        script = ["vrrp_script check {", f'  script "{places.file("check")}"', "  interval 1"]
        tracked = ["  track_script {", "    check", "  }"]
        if self.advert_s is not None:
            head.append("  vrrp_version 3")
        if self.is_tightest:
            head += ["  vrrp_rt_priority 50", "  vrrp_garp_master_delay 1"]
            head += ["  vrrp_garp_master_refresh 1", "  vrrp_garp_lower_prio_repeat 5"]
            script.append("  timeout 1")
            tracked += ["  track_file {", "    down", "  }"]
        lines = [*head, "}", *script, "}"]
        if self.is_tightest:
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
                *([f"  advert_int {self.advert_s}"] if self.advert_s is not None else []),
                f"  virtual_ipaddress {{\n    {vip.address}/{vip.prefix}\n  }}",
                *tracked,
                "}",
            ]
        return "\n".join(lines) + "\n"
