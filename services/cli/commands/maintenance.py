"""`equipoise maintenance`."""

from typing import Any

import click

from services.cli.commands.changes import Change, change_options, duration_option, lasting_us
from services.cli.commands.names import node_names, nodes_of
from services.cli.exits import Ended, Exit
from services.cli.look import Look, wrapped
from services.cli.operation import Flags, Operation
from services.cli.program import Context, Group, nearest
from services.cli.views.status import override_text
from shared.api import Overrides, Status


@click.group(cls=Group)
def maintenance() -> None:
    """Take a node out of rotation for a while, and bring it back."""


@maintenance.command(cls=Change)
@click.argument("node", shell_complete=node_names)
@duration_option("How long at most; then it ends by itself.")
@change_options
@click.pass_obj
def start(context: Context, /, node: str, lasting: str | None, **flags: Any) -> None:  # noqa: ANN401
    """Drain a node and keep it out until the end."""
    chosen = Flags(**flags, for_us=lasting_us(lasting))
    Operation(context, "maintenance-start", chosen).run(node, nodes_only=True)


@maintenance.command(cls=Change)
@click.argument("node", shell_complete=node_names)
@change_options
@click.pass_obj
def end(context: Context, /, node: str, **flags: Any) -> None:  # noqa: ANN401
    """End a node's maintenance: it comes back by itself."""
    Operation(context, "maintenance-end", Flags(**flags), until_home=True).run(
        node, nodes_only=True
    )


@maintenance.command(name="list")
@click.argument("node", required=False, shell_complete=node_names)
@click.pass_obj
def listed(context: Context, /, *, node: str | None) -> None:
    """List what people asked for and is in force, with owner, reason and end."""
    if node is not None:
        _known(node, context.client.get("/api/v1/status", Status))
    answer = context.client.get("/api/v1/overrides", Overrides)
    chosen = [item for item in answer["overrides"] if node in (None, item["node"])]
    context.show({**answer, "overrides": chosen}, _lines)


def _known(node: str, status: Status) -> None:
    if node not in nodes_of(status):
        mend = nearest(node, nodes_of(status)) or f"known: {', '.join(nodes_of(status))}"
        raise Ended(Exit.WRONG, f"there is no node '{node}'", mend=mend)


def _lines(overrides: Overrides, look: Look) -> list[str]:
    lines = []
    for item in overrides["overrides"]:
        lines += wrapped(override_text(item), look.width, indent="  ")
    if overrides["knowledge"]["text"]:
        lines.append(look.amber(f"? {overrides['knowledge']['text']}"))
    return lines or ["none"]
