"""What has happened: the events that are remembered, by time, by incident, or since one of them."""

from services.console.core.state import Filling, State
from services.console.core.story import Entry
from shared.api import Events
from shared.instant import SECOND, Duration

BEFORE_US: Duration = 2 * SECOND  # evidence of an incident may be said before its first sign counts
PAGE_MAX = 1_000  # events in one answer; 300 KB


def history(state: State, *, since_wall_us: int | None, incident: str | None, limit: int) -> Events:
    """Return the newest events that are asked for, oldest first by their own time."""
    entries = sorted(state.events.values(), key=lambda entry: (entry.wall_us, entry.number))
    chosen = [
        entry.event
        for entry in entries
        if (since_wall_us is None or entry.wall_us >= since_wall_us)
        and (incident is None or belongs(state, entry, incident))
    ]
    return Events(complete=state.filling is Filling.FILLED, events=chosen[-limit:])


def after_number(state: State, number: int) -> tuple[Entry, ...]:
    """Return what was learnt after an event, in the order learnt."""
    newer = []
    for entry in reversed(list(state.events.values())):
        if entry.number <= number:
            break
        newer.append(entry)
    return tuple(reversed(newer))


def number_of(state: State, event_id: str) -> int | None:
    """Return the number of an event by its id, None if it is not remembered."""
    entry = state.events.get(event_id)
    return None if entry is None else entry.number


def belongs(state: State, entry: Entry, incident: str) -> bool:
    """Return whether an event is of an incident: by name, or evidence on its target meanwhile."""
    if entry.event["incident"] is not None:
        return entry.event["incident"].lower() == incident.lower()
    remembered = next(
        (known for name, known in state.incidents.items() if name.lower() == incident.lower()), None
    )
    if remembered is None or entry.about is None:
        return False
    known = remembered.incident
    if entry.about != (known.service, known.node):
        return False
    ended = known.closed_wall_us
    began = known.began_wall_us - BEFORE_US
    return began <= entry.wall_us and (ended is None or entry.wall_us <= ended)
