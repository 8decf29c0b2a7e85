"""haproxy.cfg: what HAProxy is told at its start, rendered from the cluster's configuration.

HAProxy must mask failures by itself while everything of ours is away; so it has checks, retries
and redispatch of its own. Every value here was tried on HAProxy 2.6 and 2.8; docs/decisions/0011
and 0012 tell what happened with others.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from services.traffic_switcher.core.installed import Target
from shared.cluster import Cluster, Mode, Protocol, Service
from shared.errors import ConfigError
from shared.instant import MILLISECOND, SECOND, Duration
from shared.rules import Admission, Rule, Rules, original

# A LAN answers a SYN in under 1 ms, and a lost one is repeated only after 1 s: soon another
# instance is the better bet. It is also how long HAProxy waits before it tries again where one
# instance is left: the grain of a mirror's gap, and what a request pays that is refused by one of
# two in the very moment in which that one is taken out.
CONNECT_BALANCE_US: Duration = 40 * MILLISECOND
CONNECT_MIRROR_US: Duration = 75 * MILLISECOND
# Two instances are tried twice each, and 0.2 s are waited for a lone one; an error that all of them
# give reaches the client.
RETRIES_BALANCE = 4
# 12 x 75 ms: a mirror's requests wait 0.9 s for the standby, which covers detection, decision and
# the restart of an arbiter.
RETRIES_MIRROR = 12
# Requests may take long; a hung instance is noticed by probes, not by this.
ANSWER_TIMEOUT_US: Duration = 60 * SECOND
IDLE_TIMEOUT_US: Duration = 3_600 * SECOND  # connections of databases and web sockets rest
# HAProxy's own checks are the last resort (3 to 5 s), so that a slow moment never empties a
# service; ours decide within 150 ms.
CHECK_EVERY_US: Duration = SECOND
CHECK_SUSPECT_EVERY_US: Duration = 100 * MILLISECOND
CHECK_DOWN_EVERY_US: Duration = 500 * MILLISECOND
CHECK_TIMEOUT_US: Duration = 2 * SECOND
CHECK_FALL, CHECK_RISE = 3, 2
ALIVE = "_alive"  # the frontend that answers for HAProxy itself; services have no "_" in front
ALIVE_SOCKET = "haproxy-alive.sock"
DESCRIPTORS_MAX = 50_000  # about 24,000 connections; the machine's own limit holds if it is lower

# The server that takes what finds nobody: a port where nobody listens, so that HAProxy retries it
# and looks again for an instance each time. Instances are named by nodes, which have no "_".
NOBODY = "_nobody"
NOBODY_ADDRESS = "127.0.0.1:1"

VERIFY_HEADER = "equipoise-verify"  # of a request: the token
INSTANCE_HEADER = "equipoise-instance"  # of its answer: the node whose instance gave it

# Lists of the addresses whose clients are to leave, one to a service: HAProxy knows them by number,
# and counts its own from 0. They begin with what is no address of ours.
FAREWELLS_FROM = 7_000
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - never listened at
KEEP_ALIVE_US: Duration = 30 * SECOND

SAFE = "{ method GET HEAD OPTIONS }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one node's HAProxy is, and the secret that its verifications are known by."""

    socket: PurePath
    token: str

    @property
    def alive(self) -> PurePath:
        """Where HAProxy itself answers any request, as a sign of life."""
        return self.socket.with_name(ALIVE_SOCKET)


def token_of(key: bytes) -> str:
    """Return the secret that tells our verification requests from everybody else's."""
    return hmac.new(key, b"equipoise verification", hashlib.sha256).hexdigest()[:32]


def retries_of(service: Service) -> int:
    """Return how often a request of a service is tried again."""
    return RETRIES_MIRROR if service.mode is Mode.MIRROR else RETRIES_BALANCE


def connect_timeout_us(service: Service) -> Duration:
    """Return how long one attempt to connect may take, and a pause between two."""
    return CONNECT_MIRROR_US if service.mode is Mode.MIRROR else CONNECT_BALANCE_US


def farewells(cluster: Cluster) -> dict[str, int]:
    """Return the number of each service's list of addresses whose clients are to leave."""
    return {
        name: FAREWELLS_FROM + number
        for number, (name, service) in enumerate(cluster.services.items())
        if service.protocol is Protocol.HTTP and service.vips
    }


def keep_alive_us(cluster: Cluster, service: Service) -> Duration:
    """Return how long a client's connection may rest: it must end while its VIP drains."""
    if not service.vips:
        return KEEP_ALIVE_US
    return min(KEEP_ALIVE_US, cluster.policy.drain_us * 9 // 10 or KEEP_ALIVE_US)


def mark_of(cluster: Cluster, node: str, place: Place) -> str:
    """Return what names the structure of a configuration, whatever the rules in force."""
    text = "\n".join(_lines(cluster, node, place, original(cluster), frozenset()))
    return f"equipoise {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def render(
    cluster: Cluster, node: str, place: Place, rules: Rules, closed: frozenset[Target]
) -> str:
    """Return haproxy.cfg, beginning with these rules; `closed` are closed whatever they say."""
    lines = _lines(cluster, node, place, rules, closed)
    mark = f"    description {_word(mark_of(cluster, node, place))}"
    written_by = f"# Written by Equipoise for {node}; changes made here are lost."
    return "\n".join((written_by, next(lines), mark, *lines)) + "\n"


def _lines(
    cluster: Cluster, node: str, place: Place, rules: Rules, closed: frozenset[Target]
) -> Iterator[str]:
    yield from _global(cluster, place)
    yield from _defaults()
    yield from _alive(place)
    own = cluster.nodes[node].address
    for name, service in cluster.services.items():
        yield from _frontend(service, own, cluster)
        yield from _backend(service, place)
        for instance, member in cluster.nodes.items():
            rule = rules[name][instance]
            state = " disabled" if (name, instance) in closed else _state(rule)
            yield f"    server {instance} {_at(member.address, service.port)} check{state}"
        yield f"    server {NOBODY} {NOBODY_ADDRESS} backup"


def _global(cluster: Cluster, place: Place) -> Iterator[str]:
    drain_us = max(cluster.policy.drain_us, SECOND)
    yield "global"
    # The group is HAProxy's own: a switcher of another user shares it, and nobody else.
    yield f"    stats socket {_word(str(place.socket))} mode 660 level admin"
    yield f"    fd-hard-limit {DESCRIPTORS_MAX}"
    # After a reload the old process lets its connections go one by one, then all.
    yield f"    close-spread-time {_time(drain_us)}"
    yield f"    hard-stop-after {_time(drain_us + 5 * SECOND)}"


def _defaults() -> Iterator[str]:
    yield "defaults"
    yield "    balance roundrobin"
    yield "    option redispatch 1"
    yield f"    timeout check {_time(CHECK_TIMEOUT_US)}"
    yield "    timeout queue 1s"
    yield (
        f"    default-server inter {_time(CHECK_EVERY_US)}"
        f" fastinter {_time(CHECK_SUSPECT_EVERY_US)} downinter {_time(CHECK_DOWN_EVERY_US)}"
        f" fall {CHECK_FALL} rise {CHECK_RISE}"
    )


def _alive(place: Place) -> Iterator[str]:
    """Yield what our watch asks every moment: no instance is behind it, and no network before."""
    yield f"frontend {ALIVE}"
    yield "    mode http"
    yield f"    bind {_word(f'unix@{place.alive}')} mode 660"
    yield f"    timeout client {_time(IDLE_TIMEOUT_US)}"
    yield "    timeout http-request 10s"
    yield f"    timeout http-keep-alive {_time(IDLE_TIMEOUT_US)}"
    yield "    http-request return status 200"


def _frontend(service: Service, own: str, cluster: Cluster) -> Iterator[str]:
    is_http = service.protocol is Protocol.HTTP
    yield f"frontend {service.name}"
    yield f"    mode {service.protocol}"
    yield f"    bind {_at(own, service.listen)}"
    for vip in (cluster.vips[name].address for name in service.vips):
        # Listened at on every node, so that a takeover needs no reload: `transparent` lets a
        # socket have an address that is not there, without any setting of the machine's.
        yield f"    bind {_at(vip, service.listen)} transparent"
    yield f"    timeout client {_time(ANSWER_TIMEOUT_US if is_http else IDLE_TIMEOUT_US)}"
    if is_http:
        yield "    timeout http-request 10s"
        yield f"    timeout http-keep-alive {_time(keep_alive_us(cluster, service))}"
        yield "    option forwardfor"
        if number := farewells(cluster).get(service.name):
            # A client that is told so leaves with a whole answer; one that rests is ended by the
            # time above. What is cut off at the drain's end could be a request on its way.
            leaving = f"{{ dst -u {number} {NO_ADDRESS} }}"
            yield f"    http-after-response set-header connection close if {leaving}"
    yield f"    default_backend {service.name}"


def _backend(service: Service, place: Place) -> Iterator[str]:
    is_http, is_mirror = service.protocol is Protocol.HTTP, service.mode is Mode.MIRROR
    yield f"backend {service.name}"
    yield f"    mode {service.protocol}"
    yield f"    retries {retries_of(service)}"
    yield f"    timeout connect {_time(connect_timeout_us(service))}"
    yield f"    timeout server {_time(ANSWER_TIMEOUT_US if is_http else IDLE_TIMEOUT_US)}"
    if is_http:
        yield f"    timeout tunnel {_time(IDLE_TIMEOUT_US)}"
        yield from _http(service, place, is_mirror=is_mirror)
    if not is_mirror:
        # A lone instance marked down would turn waiting into failing; among several, HAProxy may
        # do without one. `on-error mark-down` would end the very request that saw the error.
        yield (
            "    default-server observe layer4 error-limit 3 on-error fastinter"
            " on-marked-down shutdown-sessions"
        )


def _http(service: Service, place: Place, *, is_mirror: bool) -> Iterator[str]:
    retry = "conn-failure empty-response response-timeout"
    # Another instance may do better than an error; a mirror has no other.
    yield f"    retry-on {retry}" if is_mirror else f"    retry-on {retry} 500 502 503 504"
    # Whatever may change something is never sent twice: only what was not sent at all is retried.
    yield f"    http-request disable-l7-retry unless {SAFE}"
    if is_mirror:
        # Retries go over idle connections first; those of a killed instance use them all up.
        yield "    http-reuse never"
    yield (
        "    http-request set-var(txn.equipoise_verify) bool(true)"
        f" if {{ req.hdr({VERIFY_HEADER}) -m str {place.token} }}"
    )
    yield f"    http-request del-header {VERIFY_HEADER}"
    yield (
        f"    http-after-response set-header {INSTANCE_HEADER} %[srv_name]"
        " if { var(txn.equipoise_verify) -m bool }"
    )
    if service.probe.path is not None:
        # Any answer will do: an error is for our probes, which know whether another is better.
        yield "    option httpchk"
        yield (
            f"    http-check send meth GET uri {_word(service.probe.path)} ver HTTP/1.1"
            f" hdr Host {service.name}"
        )
        yield "    http-check expect rstatus ."


def _state(rule: Rule) -> str:
    if rule.admission is Admission.SERVING:
        return f" weight {rule.weight}"
    # A draining instance has nothing left to drain after a restart.
    return " disabled"


def _at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _time(duration_us: Duration) -> str:
    return f"{max(duration_us // MILLISECOND, 1)}ms"


def _word(text: str) -> str:
    """Return a text as one word of HAProxy's configuration, whatever is in it."""
    if not text.isprintable():
        raise ConfigError(f"{text!r} cannot be written to haproxy.cfg: it has control characters")
    quoted = text.replace("'", "'\\''")
    return f"'{quoted}'"
