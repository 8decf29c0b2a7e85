"""The values that the switcher's decisions are made of: state, events, actions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from services.traffic_switcher.core.installed import Installation, Target
from services.traffic_switcher.core.steps import Step
from shared.cluster import Cluster
from shared.instant import Duration, Instant
from shared.messages.table import Message
from shared.messages.traffic import Applied, Command, Drift, Plan
from shared.rules import Rules
from shared.trace import SpanKind

Number: TypeAlias = tuple[int, int]  # epoch, sequence
FIRST: Number = (0, 0)  # below every plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a restarted switcher must know; persisted as one file."""

    plan: Plan | None = None
    ours: frozenset[Target] = frozenset()  # not open, and it was us
    theirs: frozenset[Target] = frozenset()  # not open, and it was somebody else
    process: str = ""  # the load balancer that showed them so

    @property
    def fence(self) -> Number:
        """The newest persisted plan: nothing older has any effect."""
        return FIRST if self.plan is None else self.plan.number


class Doing(StrEnum):
    """What the driver is doing; one exchange at a time."""

    NOTHING = "nothing"
    READING = "reading"
    APPLYING = "applying"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the plan in force has come here."""

    received_at: Instant
    persisted_at: Instant | None = None
    installed_at: Instant | None = None
    verified_at: Instant | None = None  # the first time
    stepped_at: Instant | None = None  # the first step
    steps: tuple[Step, ...] = ()  # that were taken for it
    is_failover: bool = True  # moves load away; else it brings load back
    is_new: bool = True  # heard as a command, not found in the file

    @property
    def touched(self) -> frozenset[str]:
        """The services that had to be changed."""
        return frozenset(service for service, _ in (step.target for step in self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that the switcher knows."""

    cluster: Cluster
    node: str
    boot_id: str
    memory: Memory
    progress: Progress
    persisting: Memory | None = None  # being written; nothing else is decided meanwhile
    received: Progress | None = None  # of the plan that is being written; None: no new plan
    persist_again_at: Instant = 0
    remembered: Memory = field(default_factory=Memory)  # as last written
    remember_at: Instant = 0
    shown: Installation | None = None  # as last read back; None not known
    doing: Doing = Doing.NOTHING
    applying: Number | None = None  # whose steps are being taken
    look_at: Instant = 0
    measure_at: Instant = 0
    closing: Mapping[Target, Instant] = field(default_factory=lambda: MappingProxyType({}))
    repairs: Mapping[Target, tuple[Instant, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    repairing: tuple[Drift, ...] = ()  # said when it is done
    alarmed: frozenset[Target] = frozenset()  # it keeps coming back: said, and left for a while
    prepared: bool = False  # the file says what is in force
    preparing: bool = False
    prepare_at: Instant = 0
    prepare_failures: int = 0
    unprepared: str = ""  # why the file could not be written or loaded
    verifying: Number | None = None
    verify_at: Instant | None = None
    verify_failures: int = 0
    confirmed_at: Instant | None = None  # when a request last went as the plan in force says
    said: Applied | None = None  # of the plan in force
    refused: Number | None = None
    refuse_again_at: Instant = 0
    failures: int = 0  # of the driver, in a row
    detail: str = "not read yet"  # why the load balancer is not as it should be ("" it is)


# -- events ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Commanded:
    """A command was heard, or read from the stream."""

    command: Command


@dataclass(frozen=True, slots=True)
class Persisted:
    """What `Persist` wanted is on the disk."""

    number: Number


@dataclass(frozen=True, slots=True)
class NotPersisted:
    """It is not: disk full, read-only, gone."""

    number: Number
    detail: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The load balancer was read, after a change or without one."""

    installation: Installation


@dataclass(frozen=True, slots=True)
class NotShown:
    """The load balancer refused, answered nonsense or did not answer."""

    detail: str


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A newer plan was persisted before the steps were sent: none was."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The load balancer's configuration was written, and loaded if it had to be."""

    detail: str  # "" or why it was not


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one service's request through the load balancer showed."""

    service: str
    confirmed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The requests of one verification are answered, or given up."""

    number: Number
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event: TypeAlias = (
    Commanded | Persisted | NotPersisted | Shown | NotShown | Overtaken | Prepared | Verified | Tick
)


# -- actions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist:
    """Write this durably, then say `Persisted` or `NotPersisted` before anything else."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class Read:
    """Read the load balancer; with counters where they are asked for."""

    counters: bool


@dataclass(frozen=True, slots=True)
class Apply:
    """Take these steps and read back, unless `is_current` denies the number at that moment."""

    number: Number
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Prepare:
    """Write the load balancer's configuration so that a restart begins with these rules."""

    rules: Rules
    closed: frozenset[Target]  # by somebody else: they stay so over a restart
    keep: bool  # a file of the right structure stays as it is


@dataclass(frozen=True, slots=True)
class Verify:
    """Send a real request through each service; ends the verification before it."""

    number: Number
    rules: Rules  # of the services to ask for


@dataclass(frozen=True, slots=True)
class Say:
    """Publish a message."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Record a span of an incident's trace."""

    incident: str
    name: str
    key: str
    parent: str
    begin_at: Instant
    end_at: Instant
    attributes: Mapping[str, str | int]
    kind: SpanKind = SpanKind.INTERNAL
    link: str = ""  # the key of the span whose message led to this


Action: TypeAlias = Persist | Read | Apply | Prepare | Verify | Say | Trace


def elapsed(since: Instant | None, until: Instant | None) -> Duration:
    """Return the time between two instants as far as both are known."""
    return 0 if since is None or until is None else until - since
