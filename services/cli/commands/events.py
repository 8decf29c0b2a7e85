"""`equipoise events`."""

import json

import click

from services.cli.exits import Ended
from services.cli.look import cleaned
from services.cli.program import Command, Context, write
from services.cli.views.events import event_lines
from shared.api import Event, Events

RETRIES = 30  # of a follower whose console went away: half a minute of a restart
RETRY_US = 1_000_000


@click.command(cls=Command)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--since", metavar="WHEN", help="From when on: 90s, 10m, 1h, 2d, or a time.")
@click.option("--incident", metavar="ID", help="Only what belongs to an incident.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True)
@click.pass_obj
def events(
    context: Context, *, follow: bool, since: str | None, incident: str | None, limit: int
) -> None:
    """Tell what has happened, a line for each change.

    `-o jsonl` prints a JSON object a line: with --follow, for machines.
    """
    query = {"since": since, "incident": incident, "limit": str(limit)}
    answer = context.client.get("/api/v1/events", Events, query)
    if context.output == "json" and not follow:
        context.show(answer, lambda _answer, _look: [])
        return
    printer = _Printer(context)
    printer.print(answer["events"])
    if not answer["complete"]:
        context.tell("the past has not been read yet: there may be more")
    context.mention_silence()
    if follow:
        _follow(context, printer, incident)


class _Printer:
    """Prints events, each day under its date."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._day = ""
        self.last: str | None = None

    def print(self, events: list[Event]) -> None:
        """Print some more."""
        if events:
            self.last = events[-1]["id"]
        if self._context.as_json:
            for event in events:
                write(json.dumps(event, ensure_ascii=False))
            return
        look = self._context.look()
        for line in event_lines(cleaned(events), look, last_day=self._day):
            write(look.finish(line))
        if events:
            self._day = events[-1]["time"][:10]


def _follow(context: Context, printer: _Printer, incident: str | None) -> None:
    """Go on from the last event; a console that restarts, or another one, takes over."""
    from services.cli.pace import Pace  # noqa: PLC0415 - only who waits pays for it

    pace, tries = Pace(), 0
    while True:
        try:
            query = {"incident": incident}
            for line in context.client.lines("/api/v1/events/stream", query, printer.last):
                tries = 0
                if line.strip():
                    printer.print([json.loads(line)])
        except Ended:
            if tries >= RETRIES:
                raise
        tries += 1
        if tries == 1:
            context.tell("the console went away; waiting for it")
        context.client.forget()
        pace.rest(RETRY_US)
