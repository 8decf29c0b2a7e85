"""HAProxy that checks and balances by itself: as documented, and as tight as it gets."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.peers.places import Places, instances
from services.sandbox.configuration import SERVICES, DemoService


@dataclass(frozen=True, slots=True, kw_only=True)
class Haproxy:
    """A configuration."""

    defaults: str
    is_tight: bool = False

    def file(self, places: Places) -> str:
        """Return haproxy.cfg of a node: the sandbox's services, one balanced, one with a spare."""
        lines = [
            "global",
            '  stats socket "${EQUIPOISE_RUN_DIR}/haproxy.sock" mode 660 level admin',
        ]
        lines += [f"  pidfile {places.file('haproxy.pid')}", self.defaults]
        for service in SERVICES:
            lines += [f"frontend {service.name}", f"  bind :{service.listen}"]
            lines += [*(["  monitor-uri /alive"] if self.is_tight else [])]
            lines += [f"  default_backend {service.name}", f"backend {service.name}"]
            lines += ["  balance roundrobin", "  option httpchk GET /healthz"]
            lines += [*([f"  {ONLY_SAFE}"] if self.is_tight else []), *_servers(service)]
        return "\n".join(lines) + "\n"


def _servers(service: DemoService) -> Iterator[str]:
    for number, (node, address) in enumerate(instances()):
        spare = " backup" if service.mode == "mirror" and number else ""
        yield f"  server {node} {address}:{service.port} check{spare}"


# Debian's own haproxy.cfg has these times; checks are HAProxy's: every 2 s, three misses.
DOCUMENTED = Haproxy(
    defaults="""\
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
"""
)
# `timeout server` is also the longest that an honest answer may take.
TIGHTEST = Haproxy(
    is_tight=True,
    defaults="""\
defaults
  mode http
  timeout connect 100ms
  timeout client 50s
  timeout server 500ms
  timeout check 100ms
  retries 3
  option redispatch 1
  retry-on all-retryable-errors
  default-server inter 100ms fastinter 50ms downinter 50ms fall 2 rise 2 \
observe layer7 error-limit 1 on-error mark-down on-marked-down shutdown-sessions
""",
)
# Sessions that are shut while they connect are not repeated. That is the shortest for an instance
# that hangs; where whole nodes are lost, it would cost what is lost without it.
TIGHTEST_FOR_NODES = replace(
    TIGHTEST, defaults=TIGHTEST.defaults.replace(" on-marked-down shutdown-sessions", "")
)
ONLY_SAFE = "http-request disable-l7-retry unless { method GET HEAD OPTIONS }"
