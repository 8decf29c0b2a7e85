"""What the arbiter knows and wants, what it is told, and what it has done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from services.arbiter.core.leases import Ledger
from shared.cluster import Cluster
from shared.instant import MILLISECOND, MINUTE, SECOND, Duration, Instant
from shared.messages.facts import Incident, InstanceState, NodeState
from shared.messages.health import Evidence, Heartbeat, Picture
from shared.messages.leases import NO_TERM, ClaimSeen, Held, LeaseBeat, Term
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest
from shared.messages.table import Message
from shared.messages.traffic import (
    Applied,
    Command,
    Drift,
    Measured,
    Override,
    OverrideKind,
    Plan,
    Refused,
)
from shared.rules import Rule

TICK_US: Duration = 20 * MILLISECOND  # what suspicion waits for a judgement, at the most
RESEND_US: Duration = 50 * MILLISECOND  # between two sendings of a command nobody acknowledged
# Or longer, for every rule in it and every node that it goes to: 50 octets on the wire each time,
# so that repetitions take no more than a tenth of a gigabit's link.
RESEND_RULE_US: Duration = 4
RESEND_MAX_US: Duration = SECOND
EVIDENCE_AGE_MAX_US: Duration = 3 * SECOND  # three pictures missed: the observer is gone
PRESENCE_US: Duration = 3 * SECOND  # a switcher or heartbeat unheard for longer is not waited for
UNKNOWN_AFTER_US: Duration = 2 * SECOND  # silence that nobody can vouch for
STALLED_US: Duration = 100 * MILLISECOND  # five ticks missed: we may have been deaf as long
SLEPT_US: Duration = 500 * MILLISECOND  # a gap between two events that no busy loop explains
BOOTS_MAX = 4  # of a member, remembered: no message is as old as so many restarts
SITUATION_EVERY_US: Duration = SECOND
# Changes are told at once, but for so long an instance: a situation is about all of them (some 10
# us each, here and on its way), and must not take the time that the next decision needs.
SITUATION_PAUSE_US: Duration = 100
SAMPLES_MAX = 4  # of a switcher's counters: enough to find one from before an incident began
RAMP_STEPS = 10
HOLD_MAX_US: Duration = 10 * MINUTE  # where the doubling for relapses ends
ALARMS_MAX = 20  # sentences shown at once; the stream has them all

# Tuples, not sets: an enum's hash costs ten times a comparison.
SERVING_STATES = (InstanceState.HOME, InstanceState.SUSPECT, InstanceState.HELD)
LOST_STATES = (NodeState.SUSPECT, NodeState.DEAD)
RETURNING_STATES = (InstanceState.OUT, InstanceState.OBSERVED, InstanceState.MATCHED)

Target: TypeAlias = tuple[str, str]  # service, node


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed; `wall_us` is the time of day, for people."""

    wall_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A command has gone out."""

    number: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """All that had queued up while this process slept has been heard."""

    sleep: int  # which one: after another one it says nothing any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A person asks; `ticket` finds the one who waits for the answer."""

    ticket: int
    request: OperatorRequest


Event: TypeAlias = (
    Heartbeat
    | LeaseBeat
    | Held
    | ClaimSeen
    | Evidence
    | Picture
    | Applied
    | Measured
    | Refused
    | Drift
    | Tick
    | Sent
    | CaughtUp
    | Asked
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Send a command to these nodes."""

    command: Command
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Say:
    """Publish a fact."""

    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Answer a person."""

    ticket: int
    answer: OperatorAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """Hear everything that is already on its way, then say `CaughtUp`."""

    sleep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Begin again from the newest plan: a switcher has persisted a newer one than ours."""

    epoch_min: int


Action: TypeAlias = Order | Say | Reply | CatchUp | Adopt
Actions: TypeAlias = tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One observer's newest word on an instance, in our own time."""

    evidence: Evidence
    received_at: Instant
    first_at: Instant  # of the first bad sign

    @classmethod
    def of(cls, evidence: Evidence, now: Instant) -> "View":
        """Date evidence back by the age it was sent with."""
        return cls(evidence, now, now - max(evidence.first_age_us, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance: what is believed of it and where it stands."""

    service: str
    node: str
    state: InstanceState
    since: Instant
    reason: str = ""
    views: Mapping[str, View] = field(default_factory=dict)
    healthy_since: Instant | None = None
    step: int = 0  # of the ramp
    step_at: Instant = 0
    # Errors and requests by each load balancer, as first seen in this ramp.
    ramp_base: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    then: InstanceState = InstanceState.OUT  # what follows draining
    drain_ends_at: Instant = 0
    incident: str | None = None
    relapses: int = 0
    failed_at: Instant | None = None  # the last failure: a quiet hour after it forgets relapses
    moves_at: tuple[Instant, ...] = ()  # automatic ones within the window
    asked: bool = False  # a person asked for its return: no hold-down
    forced: bool = False  # and insists, whatever its identity

    @property
    def target(self) -> Target:
        """What this is about."""
        return (self.service, self.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node or the witness: its beats, how far its switcher has come, and whether it is lost."""

    name: str
    state: NodeState = NodeState.UNKNOWN
    since: Instant = 0
    heard_at: Instant | None = None  # its last beat
    beat_at: Instant | None = None  # its switcher's last beat for leases
    boot_id: str = ""
    boot_at: Instant = 0  # first heard of that boot
    boots: tuple[str, ...] = ()  # boots before it: what still comes of them is old
    sequence: int = 0  # of its last beat
    hears_us: Mapping[str, Duration] = field(default_factory=dict)  # as its last beat said
    late_us: Duration = 0  # and how late its own loop was
    configuration: str = ""
    present_at: Instant | None = None  # its switcher's last word
    installed: tuple[int, int] = (0, 0)
    verified: tuple[int, int] = (0, 0)
    digest: str = ""
    failed: str = ""  # why its switcher could not apply the newest plan
    refused: str = ""
    samples: tuple[tuple[Instant, Measured], ...] = ()
    incident: str | None = None  # the open one of the node: its instances, its VIPs, its return
    lost_at: Instant | None = None  # the last time
    relapses: int = 0
    moves_at: tuple[Instant, ...] = ()  # automatic moves of VIPs to or from it, in the window

    @property
    def is_lost(self) -> bool:
        """Whether nothing may be expected of it: silent, or lost before this arbiter began."""
        unheard = self.state is NodeState.UNKNOWN and self.heard_at is None
        return self.state in LOST_STATES or (unheard and self.incident is not None)

    @property
    def bus_at(self) -> Instant | None:
        """When anything of it was last heard on the bus."""
        if self.heard_at is None or self.beat_at is None:
            return self.heard_at if self.beat_at is None else self.beat_at
        return max(self.heard_at, self.beat_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """A virtual IP: what is known of it beyond the plan, which places it, and the ledger."""

    name: str
    since: Instant  # at its present holder
    reason: str = ""  # why it is there
    answered: Term = NO_TERM  # the newest term in which a request through it was answered
    well_since: Instant | None = None  # away from home: since when its home could have it back
    asked: bool = False  # a person asked for its return: no hold-down
    stuck: str = ""  # why nobody can have it although its holder cannot hold it
    stuck_since: Instant = 0
    claimed_at: Instant | None = None  # the last time that a stranger announced it
    claim: str = ""  # in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An override and its end in our own time."""

    override: Override
    ends_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An open incident: the document that people see, and the instants that it is made of."""

    incident: Incident
    targets: tuple[Target, ...]
    number: tuple[int, int]  # the plan that handles it
    began_at: Instant
    evidence_at: Instant
    lease_at: Instant | None = None  # when the last lease that had to be awaited had ended
    sent_at: Instant | None = None
    installed_at: Instant | None = None
    verified_at: Instant | None = None
    marks: tuple[tuple[str, Instant], ...] = ()  # ends of the recovery's phases
    base: Mapping[str, tuple[int, int]] | None = None  # node -> requests, failed before it


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that decisions depend on."""

    cluster: Cluster
    arbiter: str
    original: Mapping[str, Mapping[str, Rule]]
    instances: Mapping[str, Mapping[str, Instance]]
    members: Mapping[str, Member]
    plan: Plan
    command: Command
    begun_at: Instant
    ledger: Ledger
    vips: Mapping[str, Vip] = field(default_factory=dict)
    sent_at: Instant | None = None
    standing: tuple[Standing, ...] = ()
    cases: Mapping[str, Case] = field(default_factory=dict)
    attention: frozenset[Target] = frozenset()  # instances that a tick must look at
    noted: frozenset[Target] = frozenset()  # instances that the next arbiter must hear of
    noted_nodes: frozenset[str] = frozenset()  # and nodes
    touched_at: Instant = 0  # the last event or tick
    trusted_since: Instant = 0  # evidence received earlier does not count
    hearing_since: Instant = 0  # silence from before it may have been our own deafness
    heard_at: Instant = 0  # the last beat of anybody
    awake: bool = True
    sleeps: int = 0  # so far
    wall_ahead_us: int = 0  # time of day minus our own time: for people
    said_at: Instant | None = None  # the last situation
    news: bool = True  # something worth a situation has changed
    drifts: Mapping[str, str] = field(default_factory=dict)  # target -> sentence
    ready: Mapping[tuple[str, str], bool] = field(default_factory=dict)  # readiness last said

    @property
    def paused(self) -> bool:
        """Whether a person told automation to keep its hands off."""
        return any(item.override.kind is OverrideKind.PAUSE for item in self.standing)

    @property
    def ears_since(self) -> Instant:
        """Since when silence has been the others' and not our own deafness."""
        return max(self.begun_at, self.trusted_since, self.hearing_since)

    def instance(self, target: Target) -> Instance:
        """Return the instance of a target."""
        return self.instances[target[0]][target[1]]

    def present(self, now: Instant) -> tuple[str, ...]:
        """Return the nodes whose switchers are heard, sorted; a lost one is not waited for."""
        return tuple(
            name
            for name in sorted(self.cluster.nodes)
            if (at := self.members[name].present_at) is not None
            and now - at <= PRESENCE_US
            and not self.members[name].is_lost
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a person's request is not carried out."""

    answer: Answer
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """What a person's request leads to."""

    state: State
    actions: Actions
    text: str
    incident: str | None = None
    undo: str = ""
