"""`equipoise rules`."""

import click

from services.cli.exits import Ended, Exit
from services.cli.program import Command, Context
from services.cli.views.rules import rules_lines
from shared.api import Rules


@click.command(cls=Command)
@click.option("--diff", is_flag=True, help="Only differences, or what is not known; exit 1 if any.")
@click.pass_obj
def rules(context: Context, *, diff: bool) -> None:
    """Show what is wanted, installed and verified in every load balancer."""
    answer = context.client.get("/api/v1/rules", Rules)
    shown: Rules = answer
    if diff:
        shown = {**answer, "rules": [row for row in answer["rules"] if row["differs"]]}
    context.show(shown, lambda given, look: rules_lines(given, look, only_differences=diff))
    if diff and answer["differs"]:
        raise Ended(Exit.FAILED)
