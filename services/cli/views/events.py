"""`equipoise events` and `equipoise incidents`: what has happened, a line each."""

from collections.abc import Iterable

from services.cli.lengths import clock_time, day, length
from services.cli.look import Look
from services.cli.tables import table
from services.cli.views.words import incident_state, level_of, level_symbol, target_text
from shared.api import Event, Incidents

MEMBER, PROGRAM = 8, 16  # columns; the longest program is traffic_switcher


def event_line(event: Event, look: Look) -> str:
    """Return one event in a line."""
    incident = f"  {look.dim(event['incident'])}" if event["incident"] else ""
    symbol = level_symbol(level_of(event["level"]), look)
    who = f"{event['member']:<{MEMBER}}  {event['program']:<{PROGRAM}}"
    return f"{clock_time(event['time'])}  {who}  {symbol} {event['text']}{incident}"


def event_lines(events: Iterable[Event], look: Look, *, last_day: str = "") -> list[str]:
    """Return events, each day under its date."""
    lines = []
    for event in events:
        if day(event["time"]) != last_day:
            last_day = day(event["time"])
            lines.append(look.dim(f"{last_day} (UTC)"))
        lines.append(event_line(event, look))
    return lines


def incident_lines(incidents: Incidents, look: Look) -> list[str]:
    """Return a table of incidents, newest first."""
    if not incidents["incidents"]:
        return ["no incident is remembered"]
    rows = [("INCIDENT", "BEGAN (UTC)", "STATE", "TARGET", "SWITCHED IN", "FAILED", "CAUSE")]
    rows += [
        (
            item["id"],
            f"{day(item['began'])} {clock_time(item['began'])[:8]}",
            incident_state(item, look) + (" (planned)" if item["planned"] else ""),
            target_text(item["service"], item["node"]),
            length(item["duration_us"]),
            f"{item['failed']} of {item['requests']}",
            item["cause"],
        )
        for item in incidents["incidents"]
    ]
    return table(rows, look, right=(4, 5))
