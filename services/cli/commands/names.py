"""The names that a person can mean: for completion, and for finding out what was meant."""

from collections.abc import Callable

import click

from services.cli.exits import Ended, Exit
from services.cli.program import Context, nearest
from shared.api import Incidents, Status


def node_names(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete a node's name."""
    return _begin(begun, _asked(ctx, nodes_of))


def target_names(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete a node, a service or an instance."""
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


def targets_of(status: Status) -> list[str]:
    """Return everything that can be moved: nodes, services, instances."""
    nodes = nodes_of(status)
    services = [service["name"] for service in status["services"]]
    return [*nodes, *services, *(f"{service}/{node}" for service in services for node in nodes)]


def split(target: str, status: Status) -> tuple[str | None, str | None]:
    """Return the service and the node that a target names, or end saying what may be meant."""
    if target not in targets_of(status):
        mend = nearest(target, targets_of(status))
        known = f"known: {', '.join([*nodes_of(status), *(s['name'] for s in status['services'])])}"
        text = f"there is no node, service or service/node '{target}'"
        raise Ended(Exit.WRONG, text, mend=mend or known)
    service, _, node = target.rpartition("/")
    if service:
        return service, node
    return (None, node) if node in nodes_of(status) else (node, None)


def _asked(ctx: click.Context, names: Callable[[Status], list[str]]) -> list[str]:
    try:
        return names(_context(ctx).client.get("/api/v1/status", Status))
    except Ended:
        return []


def _context(ctx: click.Context) -> Context:
    return ctx.ensure_object(Context)


def _begin(begun: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(begun)]
