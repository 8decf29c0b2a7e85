"""Shows every invariant the moments that it looks at, and counts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.arbiter.core.state import (
    EVIDENCE_AGE_MAX_US,
    CaughtUp,
    Event as ArbiterEvent,
    Order,
    Say,
    Tick,
)
from services.traffic_switcher.core.installed import Target
from shared.instant import Instant
from shared.messages.facts import IncidentOpened
from shared.messages.health import Evidence, Picture, Verdict
from tests.simulation.invariants import ALL, Invariant
from tests.simulation.lost_nodes import OF_NODES
from tests.simulation.moments import Began, Decided, Moment, Stepping

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Heard:
    """What one observer last said of one instance, as it reached the arbiter."""

    evidence: Evidence
    arrived_at: Instant
    heard_at: Instant


class Ears:
    """What the arbiter has heard, kept beside its core and not by it."""

    def __init__(self) -> None:
        self.heard: dict[Target, dict[str, Heard]] = {}
        self.bad: dict[tuple[Target, str], Heard] = {}  # bad words that stand
        self.bad_at: dict[Target, Instant] = {}  # the last tick that found one

    def forget(self) -> None:
        """Begin as a new arbiter does."""
        self.heard, self.bad, self.bad_at = {}, {}, {}

    def hear(self, event: ArbiterEvent, arrived_at: Instant, now: Instant) -> None:
        """Take evidence in; what an observer said earlier than what is known changes nothing."""
        match event:
            case Evidence():
                self._hear(Heard(event, arrived_at, now))
            case Picture():
                for evidence in event.evidence:
                    self._hear(Heard(evidence, arrived_at, now))
            case CaughtUp():
                self.bad = {}  # said before it slept, and no longer believed
            case Tick():
                for (target, _), heard in self.bad.items():
                    if now - heard.heard_at <= EVIDENCE_AGE_MAX_US:
                        self.bad_at[target] = now
            case _:
                pass

    def _hear(self, heard: Heard) -> None:
        said = heard.evidence
        target = (said.service, said.node)
        known = self.heard.setdefault(target, {}).get(said.observer)
        if known is not None:
            old = known.evidence
            if old.boot_id == said.boot_id and old.sequence > said.sequence:
                return
        self.heard[target][said.observer] = heard
        if said.verdict is Verdict.UNHEALTHY and not said.abstains:
            self.bad[target, said.observer] = heard
        else:
            self.bad.pop((target, said.observer), None)


class Watch:
    """Knows who looks at what."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ears = Ears()
        self.every: tuple[Invariant, ...] = tuple(kind(world) for kind in (*ALL, *OF_NODES))
        self._lookers: dict[type[Moment], list[Callable[[Moment], None]]] = {}

    def see(self, moment: Moment) -> None:
        """Show a moment to all who look at such."""
        match moment:
            case Began():
                self.ears.forget()
                self._world.record.counts["beginnings"] += 1
            case Decided():
                self.ears.hear(moment.event, moment.arbiter.arrived_at, moment.now)
                self._count(moment)
            case Stepping():
                self._world.record.counts["steps"] += 1
            case _:
                pass
        for look in self.lookers(type(moment)):
            look(moment)

    def lookers(self, kind: type[Moment]) -> list[Callable[[Moment], None]]:
        """Return who looks at a kind of moment."""
        if kind not in self._lookers:
            name = kind.__name__.lower()
            self._lookers[kind] = [getattr(i, name) for i in self.every if hasattr(i, name)]
        return self._lookers[kind]

    def _count(self, moment: Decided) -> None:
        counts = self._world.record.counts
        counts["plans"] += moment.is_planned
        for action in moment.actions:
            if isinstance(action, Order):
                counts["orders"] += 1
            elif isinstance(action, Say) and isinstance(action.message, IncidentOpened):
                counts["incidents"] += 1
