"""`equipoise why`."""

import click

from services.cli.client import segment
from services.cli.commands.names import target_names
from services.cli.program import Command, Context
from services.cli.views.why import why_lines
from shared.api_why import Why


@click.command(cls=Command)
@click.argument("target", metavar="VIP|NODE|SERVICE|SERVICE/NODE", shell_complete=target_names)
@click.pass_obj
def why(context: Context, *, target: str) -> None:
    """Say why something is in its state, and what speaks for and against it."""
    path = "/".join(segment(part) for part in target.split("/"))
    context.show(context.client.get(f"/api/v1/why/{path}", Why), why_lines)
