"""`equipoise status`."""

import click

from services.cli.exits import Ended, Exit
from services.cli.look import cleaned
from services.cli.program import Command, Context, write
from services.cli.views.status import status_lines
from shared.api import Status, Verdict

CODES: dict[Verdict, Exit] = {
    "serving": Exit.DONE,
    "degraded": Exit.DEGRADED,
    "not-serving": Exit.NOT_SERVING,
    "unknown": Exit.UNREACHABLE,
}
CLEAR = "\x1b[H\x1b[2J"


@click.command(cls=Command)
@click.option("-w", "--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--exit-code", is_flag=True, help="Exit with 4 if degraded, 8 if not serving.")
@click.pass_obj
def status(context: Context, *, watch: bool, exit_code: bool) -> None:
    """Say what is going on: the verdict, the nodes, the services, what to do next."""
    if watch:
        _watch(context)
        return
    answer = context.client.get("/api/v1/status", Status)
    context.show(answer, status_lines)
    if exit_code:
        raise Ended(CODES.get(answer["verdict"], Exit.UNREACHABLE))


def _watch(context: Context) -> None:
    """Draw again and again; a console that falls silent is said, and never hidden."""
    from services.cli.pace import Pace  # noqa: PLC0415 - only who waits pays for it

    pace, seen_at = Pace(), None
    while True:
        try:
            answer = context.client.get("/api/v1/status", Status)
            seen_at = pace.now()
            _draw(context, answer)
        except Ended as ended:
            if seen_at is None:
                raise
            ago = (pace.now() - seen_at) // 1_000_000
            context.tell(f"? stale: the console was last heard {ago} s ago: {ended.text}")
        pace.rest(1_000_000)


def _draw(context: Context, answer: Status) -> None:
    if context.as_json:
        context.output = "jsonl"
        context.show(answer, status_lines)
        return
    look = context.look()
    text = look.finish("\n".join(status_lines(cleaned(answer), look)))
    write(f"{CLEAR}{text}" if look.colour else f"{text}\n")
