"""What a console answers over HTTP, and what the command line prints with `-o json`.

Typed JSON: the console builds these, the command line reads them without building anything, and
`docs/schemas` is generated from them. Ages and lengths are whole microseconds (`_us`), so that
parts add up; points in time are RFC 3339 in UTC. Unknown is `null` or "unknown", never a guess.
A field may be added; none is renamed or dropped.
"""

from typing import Literal, NotRequired, TypedDict

Verdict = Literal["serving", "degraded", "not-serving", "unknown"]
Truth = Literal["yes", "no", "unknown", "none"]  # "none": the question has no meaning here
Level = Literal["good", "plain", "attention", "bad"]
NodeWord = Literal["up", "suspect", "dead", "maintenance", "unknown"]
InstanceWord = Literal[
    "home", "suspect", "held", "draining", "out", "observed", "matched", "ramping", "unknown"
]
VipWord = Literal["held", "taking", "waiting", "dark", "unknown"]
AnswerWord = Literal["accepted", "wrong", "changed", "unsafe", "not-leading"]


class Number(TypedDict):
    """A plan's number: the leading arbiter's term, and the plan within it."""

    epoch: int
    sequence: int


class Knowledge(TypedDict):
    """How much of an answer may be taken for the present."""

    fresh: bool
    age_us: int | None
    bus: bool
    history: bool
    text: str


class NodeView(TypedDict):
    """One member: what is believed of it, and what its load balancer shows.

    `was` is the last state known, when `state` had to become "unknown" for lack of news.
    """

    name: str
    role: Literal["node", "witness"]
    state: NodeWord
    was: str
    reason: str
    since_us: int | None
    silent_us: int | None
    heard_us: int | None
    wanted_percent: int | None
    share_percent: int | None
    balancer: Truth
    balancer_text: str
    installed: Truth
    installed_plan: Number | None
    verified: Truth
    verified_us: int | None
    measured_us: int | None
    configuration: str
    configuration_differs: bool
    vips: list[str]  # that it is to hold, and does as far as is known
    signals: list[str]  # what speaks for its death
    waiting_for: str  # what its return needs
    lease_us: int | None
    gap_us: int | None  # the longest lately between its beats, which `lease: auto` follows
    incident: str | None


class VipView(TypedDict):
    """One virtual IP: who is to hold it, whether it answers there, and why it is there."""

    name: str
    address: str
    home: str
    holder: str | None
    state: VipWord
    was: str
    away: bool
    answers: Truth
    answered_us: int | None
    reason: str
    waiting_for: str
    since_us: int | None
    term: Number | None
    lease_us: int | None
    incident: str | None
    sentence: str


class InstanceView(TypedDict):
    """One instance of a service: what is wanted of it, and what is believed of it."""

    node: str
    state: InstanceWord
    was: str
    admission: str | None
    weight: int | None
    percent: int | None
    answer_us: int | None
    reason: str
    waiting_for: str
    since_us: int | None
    incident: str | None


class ServiceView(TypedDict):
    """One service, and how its clients fare."""

    name: str
    mode: Literal["balance", "mirror"]
    listen: int
    serving: Verdict
    requests_per_s: float | None
    failed: int | None
    failed_within_us: int
    instances: list[InstanceView]
    vips: list[str]


class TakeoverView(TypedDict):
    """Whether the others could take one service over if one node failed now."""

    service: str
    node: str
    to: list[str]
    ready: bool
    reason: str
    load_percent: int | None
    sentence: str


class VipTakeoverView(TypedDict):
    """Whether another node could take one VIP over if its holder failed now."""

    vip: str
    holder: str
    to: list[str]
    ready: bool
    reason: str
    sentence: str


class OverrideView(TypedDict):
    """Something a person asked for: it has an owner, a reason and an end."""

    kind: Literal["maintenance", "failover", "pause"]
    node: str | None
    service: str | None
    owner: str
    reason: str
    since: str
    until: str
    left_us: int
    incident: str | None
    vip: str | None


class IncidentBrief(TypedDict):
    """One incident in a line."""

    id: str
    state: Literal["open", "handled", "returning", "closed"]
    planned: bool
    service: str
    node: str
    cause: str
    sentence: str
    began: str
    closed: str | None
    age_us: int
    duration_us: int
    requests: int
    failed: int


class EvidenceView(TypedDict):
    """One reason for a decision, with what was measured and what it was held against."""

    observer: str
    what: str
    value: str
    threshold: str
    grade: Literal["none", "suspicious", "conclusive"]
    sign: str
    age_us: int


class PhaseView(TypedDict):
    """A part of an incident's time; phases follow one another, so they add up."""

    name: str
    duration_us: int
    detail: str


class RuleView(TypedDict):
    """One instance's place in every load balancer."""

    admission: Literal["serving", "draining", "standby", "out"]
    weight: int


class InstallView(TypedDict):
    """How one node's switcher followed an incident's first plan."""

    node: str
    stage: Literal["installed", "verified", "failed"]
    persist_us: int
    install_us: int
    verify_us: int
    detail: str


class VipMoveView(TypedDict):
    """A VIP that an incident moved, and how long the old holder's lease was waited for."""

    vip: str
    address: str
    before: str
    after: str
    waited_us: int


class TakingView(TypedDict):
    """What it took a node to take a VIP: the guard, and the address with its announcement."""

    vip: str
    node: str
    guard_us: int
    address_us: int


class IncidentView(IncidentBrief):
    """One incident in full: why, how long, at what cost, and what was not done."""

    evidence: list[EvidenceView]
    phases: list[PhaseView]
    recovery: list[PhaseView]
    recovery_us: int
    installs: list[InstallView]
    before: dict[str, RuleView]
    after: dict[str, RuleView]
    not_done: str
    faster: str
    waiting_for: str
    owner: str
    relapses: int
    original_digest: str
    installed: dict[str, str]
    restored: Truth
    trace_id: str
    trace_url: str | None
    moves: list[VipMoveView]
    takings: list[TakingView]


class Status(TypedDict):
    """What is going on: `equipoise status`."""

    cluster: str
    seen_from: str
    version: str
    time: str
    verdict: Verdict
    headline: str
    knowledge: Knowledge
    arbiter: str | None
    plan: Number | None
    settled: Truth
    paused: bool
    nodes: list[NodeView]
    services: list[ServiceView]
    readiness: list[TakeoverView]
    overrides: list[OverrideView]
    incidents: list[IncidentBrief]
    last_incident: IncidentBrief | None
    alarms: list[str]
    next: list[str]
    vips: list[VipView]
    vip_readiness: list[VipTakeoverView]


class Event(TypedDict):
    """Something that happened, in a line; `id` is the same at every console."""

    id: str
    time: str
    type: str
    member: str
    program: str
    level: Level
    text: str
    incident: str | None


class Events(TypedDict):
    """What has happened, oldest first: `equipoise events`."""

    complete: bool
    events: list[Event]


class Incidents(TypedDict):
    """The incidents that are remembered, newest first: `equipoise incidents`."""

    complete: bool
    incidents: list[IncidentBrief]


class RuleRow(TypedDict):
    """One instance in one node's load balancer: wanted, installed and verified, never mixed."""

    node: str
    service: str
    target: str
    wanted: str | None
    installed: str | None
    verified: Truth
    verified_us: int | None
    measured_us: int | None
    original: str
    differs: bool
    by: str


class VipRow(TypedDict):
    """One VIP on one node that is to hold it, or that holds it otherwise."""

    node: str
    vip: str
    address: str
    wanted: Literal["here", "elsewhere"] | None
    installed: Literal["here", "not here"] | None
    verified: Truth
    verified_us: int | None
    term: Number | None
    home: str
    differs: bool
    by: str


class Rules(TypedDict):
    """What is installed where: `equipoise rules`."""

    knowledge: Knowledge
    plan: Number | None
    differs: bool
    away: int
    rules: list[RuleRow]
    vips: list[VipRow]


class Wish(TypedDict):
    """What a person asks for: the body of a POST to `/api/v1/operator/<verb>`."""

    node: str | None
    service: str | None
    owner: str
    reason: str
    for_us: int | None
    dry_run: bool
    force: bool
    expects: tuple[int, int] | None
    vip: NotRequired[str | None]
    to: NotRequired[str | None]


class WishAnswer(TypedDict):
    """What the leading arbiter made of a wish."""

    answer: AnswerWord
    text: str
    exit_code: int
    incident: str | None
    plan: Number
    before: dict[str, dict[str, RuleView]]
    after: dict[str, dict[str, RuleView]]
    warnings: list[str]
    undo: str
    vips_before: dict[str, str]
    vips_after: dict[str, str]


class Change(TypedDict):
    """How a change ended: `equipoise failover` and the other commands that change something."""

    verb: str
    node: str | None
    service: str | None
    dry_run: bool
    answer: AnswerWord
    text: str
    exit_code: int
    incident: str | None
    plan: Number
    before: dict[str, dict[str, RuleView]]
    after: dict[str, dict[str, RuleView]]
    warnings: list[str]
    verified: Truth
    waited_us: int
    undo: str
    vip: str | None
    to: str | None
    vips_before: dict[str, str]
    vips_after: dict[str, str]


class Overrides(TypedDict):
    """What people asked for and is in force: `equipoise maintenance list`."""

    knowledge: Knowledge
    overrides: list[OverrideView]


class Trouble(TypedDict):
    """What went wrong, the exit code that says so, and the mend."""

    text: str
    exit_code: int
    help: str


class Failure(TypedDict):
    """The answer in place of any other, when there is none."""

    error: Trouble


class Version(TypedDict):
    """Which version answers: `equipoise version`."""

    version: str
    python: str
    member: str | None
    member_version: str | None
