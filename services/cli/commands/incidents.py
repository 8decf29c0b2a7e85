"""`equipoise incidents` and `equipoise explain`."""

import click

from services.cli.client import segment
from services.cli.commands.names import incident_names
from services.cli.program import Command, Context
from services.cli.views.events import incident_lines
from services.cli.views.explain import explain_lines
from shared.api import Incidents, IncidentView


@click.command(cls=Command)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@click.pass_obj
def incidents(context: Context, *, limit: int) -> None:
    """List the incidents that are remembered, newest first."""
    answer = context.client.get("/api/v1/incidents", Incidents, {"limit": str(limit)})
    context.show(answer, incident_lines)
    if not answer["complete"]:
        context.tell("the past has not been read yet: there may be more")


@click.command(cls=Command)
@click.argument("incident", metavar="ID|last", default="last", shell_complete=incident_names)
@click.pass_obj
def explain(context: Context, *, incident: str) -> None:
    """Explain an incident: why, how long each step took, and what it cost."""
    answer = context.client.get(f"/api/v1/incidents/{segment(incident)}", IncidentView)
    context.show(answer, explain_lines)
