"""The names that a person can mean: for completion, and for finding out what was meant."""

from collections.abc import Callable
from typing import NamedTuple

import click

from services.cli.exits import Ended, Exit
from services.cli.program import Context, nearest
from shared.api import Incidents, Status


def node_names(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete a node's name."""
    return _begin(begun, _asked(ctx, nodes_of))


def target_names(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete a VIP, a node, a service or an instance."""
    return _begin(begun, _asked(ctx, targets_of))


def incident_names(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete an incident."""
    try:
        answer = _context(ctx).client.get("/api/v1/incidents", Incidents)
    except Ended:
        return []
    return _begin(begun, ["last", *(item["id"] for item in answer["incidents"])])


def nodes_of(status: Status) -> list[str]:
    """Return the nodes that serve."""
    return [node["name"] for node in status["nodes"] if node["role"] == "node"]


def vips_of(status: Status) -> list[str]:
    """Return the virtual IPs."""
    return [vip["name"] for vip in status["vips"]]


def targets_of(status: Status) -> list[str]:
    """Return everything that can be moved: VIPs, nodes, services, instances."""
    nodes = nodes_of(status)
    services = [service["name"] for service in status["services"]]
    instances = [f"{service}/{node}" for service in services for node in nodes]
    return [*vips_of(status), *nodes, *services, *instances]


class Target(NamedTuple):
    """What a person means: a VIP, a node, a service, or an instance; or everything."""

    vip: str | None = None
    service: str | None = None
    node: str | None = None

    @property
    def name(self) -> str | None:
        """The name of it, to be typed when the last spare would be lost."""
        return self.vip or self.node or self.service


def split(target: str, status: Status) -> Target:
    """Return what a target names, or end saying what may be meant."""
    addresses = {vip["address"].partition("/")[0]: vip["name"] for vip in status["vips"]}
    target = addresses.get(target, target)
    if target not in targets_of(status):
        mend = nearest(target, targets_of(status))
        services = [service["name"] for service in status["services"]]
        known = f"known: {', '.join([*vips_of(status), *nodes_of(status), *services])}"
        text = f"there is no VIP, node, service or service/node '{target}'"
        raise Ended(Exit.WRONG, text, mend=mend or known)
    if target in vips_of(status):
        return Target(vip=target)
    service, _, node = target.rpartition("/")
    if service:
        return Target(service=service, node=node)
    return Target(node=node) if node in nodes_of(status) else Target(service=node)


def _asked(ctx: click.Context, names: Callable[[Status], list[str]]) -> list[str]:
    try:
        return names(_context(ctx).client.get("/api/v1/status", Status))
    except Ended:
        return []


def _context(ctx: click.Context) -> Context:
    return ctx.ensure_object(Context)


def _begin(begun: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(begun)]
