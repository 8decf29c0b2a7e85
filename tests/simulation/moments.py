"""The moments at which invariants look: what has just happened, or is about to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from services.arbiter.core.state import Actions, Event as ArbiterEvent, State as ArbiterState
from services.traffic_switcher.core.state import (
    Event as SwitcherEvent,
    Memory,
    Number,
    State as SwitcherState,
)
from services.traffic_switcher.core.steps import Step
from shared.instant import Instant
from shared.messages.table import Message
from shared.messages.traffic import Command, Plan
from shared.rules import Rules

if TYPE_CHECKING:
    from services.arbiter.core import Past
    from tests.simulation.arbiters import Arbiter
    from tests.simulation.processes import Process
    from tests.simulation.switchers import Switcher


Term: TypeAlias = tuple[int, Instant]  # an arbiter's process, and when it last began


@dataclass(frozen=True, slots=True)
class Began:
    """An arbiter begins with what it found."""

    arbiter: Arbiter
    past: Past
    state: ArbiterState


@dataclass(frozen=True, slots=True)
class Decided:
    """The arbiter's core has taken an event in."""

    arbiter: Arbiter
    before: ArbiterState
    event: ArbiterEvent
    after: ArbiterState
    actions: Actions
    now: Instant

    @property
    def is_planned(self) -> bool:
        """Whether it made a plan."""
        return self.after.plan is not self.before.plan


@dataclass(frozen=True, slots=True)
class Ordered:
    """A command is sent to a node."""

    arbiter: Arbiter
    command: Command
    node: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The stream has a command; by whom it was said."""

    plan: Plan
    term: Term


@dataclass(frozen=True, slots=True)
class Told:
    """A process says something."""

    process: Process
    message: Message


@dataclass(frozen=True, slots=True)
class Switched:
    """The switcher's core has taken an event in."""

    switcher: Switcher
    before: SwitcherState
    event: SwitcherEvent
    after: SwitcherState


@dataclass(frozen=True, slots=True)
class Persisted:
    """A switcher has written its plan."""

    switcher: Switcher
    memory: Memory


@dataclass(frozen=True, slots=True)
class Prepared:
    """A switcher has written the load balancer's file."""

    switcher: Switcher
    rules: Rules


@dataclass(frozen=True, slots=True)
class Sending:
    """A switcher sends the steps of a plan to its load balancer."""

    switcher: Switcher
    number: Number


@dataclass(frozen=True, slots=True)
class Stepping:
    """A load balancer is about to do one step of a plan; late is one that had hung."""

    switcher: Switcher
    step: Step
    number: Number
    is_late: bool


@dataclass(frozen=True, slots=True)
class Stepped:
    """It has done it; `before` is who served before the first step of these."""

    switcher: Switcher
    step: Step
    before: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Followed:
    """It has done all of them."""

    switcher: Switcher
    before: Mapping[str, list[str]]


Moment: TypeAlias = (
    Began
    | Decided
    | Ordered
    | Recorded
    | Told
    | Switched
    | Persisted
    | Prepared
    | Sending
    | Stepping
    | Stepped
    | Followed
)
