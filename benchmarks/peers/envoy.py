"""Envoy in HAProxy's place: as documented, and as tight as it gets."""

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from benchmarks.peers.places import Places, envoy_program, instances
from services.sandbox.configuration import SERVICES, DemoService
from services.sandbox.drills.balancers import Weights
from services.sandbox.errors import DrillError

READY = "starting main dispatch loop"
ANSWER_WITHIN_S = 2.0
TYPES = "type.googleapis.com/envoy.extensions"
SAFE = "GET|HEAD|OPTIONS"
# Envoy has no default for these times, so they are those that HAProxy has by default. Before its
# first request it would check once a minute; here it has just been started.
DOCUMENTED_CHECK = {
    "timeout": "2s",
    "interval": "2s",
    "no_traffic_interval": "2s",
    "unhealthy_threshold": 3,
    "healthy_threshold": 2,
}
TIGHT_CHECK = {
    "timeout": "0.1s",
    "interval": "0.1s",
    "no_traffic_interval": "0.1s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 2,
}
OUTLIERS = {
    "consecutive_5xx": 1,
    "consecutive_gateway_failure": 1,
    "enforcing_consecutive_gateway_failure": 100,
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 1,
    "interval": "0.1s",
    "base_ejection_time": "0.5s",
    "max_ejection_time": "1s",
    "max_ejection_percent": 50,
    "always_eject_one_host": True,
}
RETRIES = {
    "num_retries": 3,
    "host_selection_retry_max_attempts": 5,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": f"{TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.01s"},
}
# What never left may be sent again, whatever it asks; what is safe may be repeated.
OF_ALL = {**RETRIES, "retry_on": "connect-failure,refused-stream,reset-before-request"}
OF_SAFE = {
    **RETRIES,
    "retry_on": "5xx,reset,connect-failure,refused-stream",
    "per_try_timeout": "0.5s",  # as `timeout server` of the tightest HAProxy
}
# Else three retries at a time are all that it makes.
UNBROKEN = {
    f"max_{what}": 10_000 for what in ("connections", "pending_requests", "requests", "retries")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envoy:
    """A configuration."""

    is_tight: bool = False

    def programs(self, places: Places) -> list[dict[str, object]]:
        """Write the file of a node; return what is to be started there."""
        configured = places.file("envoy.json")
        configured.write_text(json.dumps(self.file(places), indent=1))
        command = [envoy_program(), "--config-path", str(configured)]
        command += ["--disable-hot-restart", "--log-level", "info"]
        return [{"member": places.node, "name": "envoy", "command": command, "ready": READY}]

    def file(self, places: Places) -> Mapping[str, object]:
        """Return the configuration of a node."""
        return {
            "admin": {"address": {"pipe": {"path": str(places.file("envoy.sock"))}}},
            "static_resources": {
                "listeners": [self._listener(service) for service in SERVICES],
                "clusters": [self._cluster(service) for service in SERVICES],
            },
        }

    def _listener(self, service: DemoService) -> Mapping[str, object]:
        connections = {
            "@type": (f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": service.name,
            "route_config": {
                "virtual_hosts": [
                    {"name": service.name, "domains": ["*"], "routes": self._routes(service)}
                ]
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
                }
            ],
        }
        manager = "envoy.filters.network.http_connection_manager"
        return {
            "name": service.name,
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": service.listen}},
            "filter_chains": [{"filters": [{"name": manager, "typed_config": connections}]}],
        }

    def _routes(self, service: DemoService) -> Sequence[Mapping[str, object]]:
        plain = {"match": {"prefix": "/"}, "route": {"cluster": service.name}}
        if not self.is_tight:
            return [plain]
        method = {"name": ":method", "string_match": {"safe_regex": {"regex": SAFE}}}
        return [
            {
                "match": {"prefix": "/", "headers": [method]},
                "route": {"cluster": service.name, "retry_policy": OF_SAFE},
            },
            {**plain, "route": {"cluster": service.name, "retry_policy": OF_ALL}},
        ]

    def _cluster(self, service: DemoService) -> Mapping[str, object]:
        check = TIGHT_CHECK if self.is_tight else DOCUMENTED_CHECK
        tightened: dict[str, object] = {
            "connect_timeout": "0.1s",
            "circuit_breakers": {"thresholds": [UNBROKEN]},
            "outlier_detection": OUTLIERS,
            "close_connections_on_host_health_failure": True,
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        }
        return {
            "name": service.name,
            "type": "STATIC",
            "lb_policy": "ROUND_ROBIN",
            "health_checks": [{**check, "http_health_check": {"path": "/healthz"}}],
            "load_assignment": {"cluster_name": service.name, "endpoints": _endpoints(service)},
            **(tightened if self.is_tight else {}),
        }


def _endpoints(service: DemoService) -> list[Mapping[str, object]]:
    """Return the instances; of a mirror the spare is a step further away."""
    found: list[Mapping[str, object]] = []
    for number, (node, address) in enumerate(instances()):
        place = {"address": {"socket_address": {"address": address, "port_value": service.port}}}
        found.append(
            {
                "priority": number if service.mode == "mirror" else 0,
                "locality": {"zone": node},
                "lb_endpoints": [{"endpoint": {**place, "hostname": node}}],
            }
        )
    return found


DOCUMENTED, TIGHTEST = Envoy(), Envoy(is_tight=True)


async def read(path: Path) -> Weights:
    """Ask one Envoy what it gives each instance."""
    try:
        return parse(await asyncio.to_thread(_asked, path))
    except (OSError, HTTPException, ValueError, KeyError) as problem:
        raise DrillError(f"Envoy at {path} does not answer: {problem}") from problem


def _asked(path: Path) -> Mapping[str, Any]:
    connection = HTTPConnection("envoy")
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(ANSWER_WITHIN_S)
        connection.sock.connect(str(path))
        connection.request("GET", "/clusters?format=json")
        found: Mapping[str, Any] = json.load(connection.getresponse())
        return found
    finally:
        connection.close()


def parse(answer: Mapping[str, Any]) -> Weights:
    """Read what Envoy says of its clusters: None is an instance that it does not ask."""
    return {
        cluster["name"]: {
            host["hostname"]: None if _is_out(host["health_status"]) else int(host["weight"])
            for host in cluster.get("host_statuses", ())
        }
        for cluster in answer["cluster_statuses"]
    }


def _is_out(health: Mapping[str, object]) -> bool:
    return any(health.get(each) for each in ("failed_active_health_check", "failed_outlier_check"))
