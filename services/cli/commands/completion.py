"""`equipoise completion`."""

import click
from click.shell_completion import get_completion_class

from services.cli.program import Command, equipoise, write


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and names.

    bash: eval "$(equipoise completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None
    write(kind(equipoise, {}, "equipoise", "_EQUIPOISE_COMPLETE").source())
