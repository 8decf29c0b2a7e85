"""Whether what this console shows may be believed."""

from services.console.core.state import State
from services.console.core.status import knowledge
from shared.health import Check
from shared.instant import Instant


def readiness(state: State, now: Instant) -> tuple[Check, ...]:
    """Return what must be so for answers to be about the present, and the past."""
    known = knowledge(state, now)
    return (
        Check(name="arbiter", failure="" if known["fresh"] else known["text"]),
        Check(
            name="history",
            failure="" if known["history"] else "the past has not been read yet",
        ),
    )
