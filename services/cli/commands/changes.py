"""`equipoise failover`, `failback`, `pause` and `resume`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from services.cli.commands.names import node_names, target_names
from services.cli.exits import Ended, Exit
from services.cli.lengths import length_of
from services.cli.operation import Flags, Operation
from services.cli.program import Command, Context, timeout_option

F = TypeVar("F", bound=Callable[..., Any])


def change_options(function: F) -> F:
    """Add what every change can be told."""
    for option in reversed(
        (
            click.option("--reason", required=True, metavar="TEXT", help="Why; others read it."),
            click.option("--dry-run", is_flag=True, help="Show the plan and do nothing."),
            click.option("--wait/--no-wait", default=True, help="Wait until it is verified."),
            click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
            click.option("--force-unsafe", is_flag=True, help="Insist where it is refused."),
        )
    ):
        function = option(function)
    return function


class Change(Command):
    """A command that changes something, and can wait for it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*arguments, **named)
        self.params = [*self.params, timeout_option()]


def duration_option(text: str) -> Callable[[F], F]:
    """Return the option for how long an override holds."""
    return click.option("--for", "lasting", metavar="LENGTH", help=text)


def lasting_us(lasting: str | None) -> int | None:
    """Return microseconds of a `--for`, or end saying how to write it."""
    if lasting is None:
        return None
    duration_us = length_of(lasting)
    if duration_us is None:
        raise Ended(Exit.WRONG, f"--for is '{lasting}'", mend="write it as 45m, 2h or 90s")
    return duration_us


@click.command(cls=Change)
@click.argument("target", metavar="VIP|NODE|SERVICE|SERVICE/NODE", shell_complete=target_names)
@click.option(
    "--to",
    metavar="NODE",
    shell_complete=node_names,
    help="Who takes a VIP; without it, the arbiter chooses.",
)
@duration_option("How long at most; then it ends by itself.")
@change_options
@click.pass_obj
def failover(context: Context, /, target: str, lasting: str | None, **flags: Any) -> None:  # noqa: ANN401
    """Move a VIP, or the load of a node, a service's home, or one instance, away, now.

    A node loses its VIPs too, one after the other; open connections finish where they are.
    """
    chosen = Flags(**flags, for_us=lasting_us(lasting))
    Operation(context, "failover", chosen).run(target)


@click.command(cls=Change)
@click.argument(
    "target",
    metavar="[VIP|NODE|SERVICE|SERVICE/NODE]",
    required=False,
    shell_complete=target_names,
)
@change_options
@click.pass_obj
def failback(context: Context, /, target: str | None, **flags: Any) -> None:  # noqa: ANN401
    """Bring VIPs and load home: those of a target, or everything that was moved."""
    Operation(context, "failback", Flags(**flags), until_home=True).run(target)


@click.command(cls=Change)
@duration_option("How long at most; then automation works again by itself.")
@change_options
@click.pass_obj
def pause(context: Context, /, lasting: str | None, **flags: Any) -> None:  # noqa: ANN401
    """Keep automation's hands off; traffic stays as it is."""
    Operation(context, "pause", Flags(**flags, for_us=lasting_us(lasting))).run(None)


@click.command(cls=Change)
@change_options
@click.pass_obj
def resume(context: Context, /, **flags: Any) -> None:  # noqa: ANN401
    """Let automation work again."""
    Operation(context, "resume", Flags(**flags)).run(None)
