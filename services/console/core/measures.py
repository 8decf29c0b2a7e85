"""What a console measures: how old its knowledge is, and who follows."""

from collections.abc import Iterator

from services.console.core.state import State
from shared.instant import SECOND, Instant
from shared.measures import Measure, gauge

KNOWLEDGE_AGE = gauge(
    "knowledge_age_seconds", "Since the arbiter's last full picture was heard; missing until then."
)
FOLLOWERS = gauge("followers", "Who follows the stream of events.")
EVENTS = gauge("events_known", "Events that can be looked at.")
INCIDENTS = gauge("incidents_known", "Incidents that can be looked at.")
METRICS = (KNOWLEDGE_AGE, FOLLOWERS, EVENTS, INCIDENTS)


def measures(state: State, followers: int, now: Instant) -> Iterator[Measure]:
    """Return what it is now."""
    known = state.situation
    yield KNOWLEDGE_AGE.of({} if known is None else {(): (now - known.at) / SECOND})
    yield FOLLOWERS.at(followers)
    yield EVENTS.at(len(state.events))
    yield INCIDENTS.at(len(state.incidents))
