"""What a process says of itself: whether it lives, whether it is ready, and what it measured.

    GET /livez                     it answers, so its loop turns; depends on nobody else
    GET /readyz?verbose&exclude=   200 when every check is passed, else 503; a line a check
    GET /metrics                   for Prometheus, in its text format

Always on a socket in the run directory (`<program>.health.sock`), which `equipoise-alive` asks;
on TCP as well where `EQUIPOISE_HEALTH` names an address and port.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from shared.measures import Measure

STARTED = "started"  # the check that every process has


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a process needs to do its work, as it is now."""

    name: str
    failure: str = ""  # what is wrong, and how to mend it; "" it is well
    note: str = ""  # what is worth knowing where it is well


Look: TypeAlias = Callable[[], Iterable[Check]]
Measuring: TypeAlias = Callable[[], Iterable[Measure]]


class Health:
    """What one process is asked for; each service adds what it knows."""

    def __init__(self) -> None:
        self._waits_for = "it is starting"
        self._looks: list[Look] = [self._ready]
        self._measurings: list[Measuring] = []

    def check(self, look: Look) -> None:
        """Let checks be looked at whenever somebody asks; looking must not block."""
        self._looks.append(look)

    def measure(self, measuring: Measuring) -> None:
        """Let something be measured whenever somebody asks; measuring must not block."""
        self._measurings.append(measuring)

    def waits(self, for_what: str) -> None:
        """Say what the start waits for."""
        self._waits_for = for_what

    def is_ready(self) -> None:
        """Say that the start is over."""
        self._waits_for = ""

    def checks(self, exclude: Iterable[str] = ()) -> tuple[Check, ...]:
        """Look at everything that is not excluded."""
        excluded = frozenset(exclude)
        found = (check for look in self._looks for check in look())
        return tuple(check for check in found if check.name not in excluded)

    def measures(self) -> Iterator[Measure]:
        """Measure everything."""
        for measuring in self._measurings:
            yield from measuring()

    def _ready(self) -> tuple[Check, ...]:
        return (Check(name=STARTED, failure=self._waits_for),)


def is_well(checks: Iterable[Check]) -> bool:
    """Whether every check is passed."""
    return not any(check.failure for check in checks)


def as_text(checks: Iterable[Check], *, verbose: bool) -> str:
    """Return a line for each check that failed, or for each, and the verdict below them."""
    checks = tuple(checks)
    lines = [_line(check) for check in checks if verbose or check.failure]
    return "\n".join([*lines, "ok" if is_well(checks) else "not ok"]) + "\n"


def _line(check: Check) -> str:
    if check.failure:
        return f"[-]{check.name} failed: {check.failure}"
    return f"[+]{check.name} ok" + (f" ({check.note})" if check.note else "")
