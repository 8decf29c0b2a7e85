"""`equipoise sandbox`."""

import os
import sys

import click

from services.cli.program import Command


@click.command(
    cls=Command,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run a whole cluster on this machine from real parts: `equipoise sandbox --help`."""
    program = [sys.executable, "-m", "services.sandbox", *arguments]
    os.execv(sys.executable, program)  # noqa: S606 - our own program, in this process's place
