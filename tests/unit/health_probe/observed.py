"""An observer's core in a world of its own: instances behave as told, time is a number."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from services.health_probe.core.events import (
    Action,
    Ask,
    CloseLink,
    Ended,
    Event,
    IdentityRead,
    LinkLost,
    LinkOpened,
    OpenLink,
    PictureDue,
    ReadIdentity,
    RecordSpan,
    Say,
    Target,
    Wake,
    WakeForPicture,
    Woke,
)
from services.health_probe.core.instance import Instance
from services.health_probe.core.probing import decide, start
from services.health_probe.core.signs import Outcome, connected, overdue
from shared.cluster import (
    Cluster,
    FailbackMode,
    HeartbeatSettings,
    Identity,
    Mode,
    Node,
    Policy,
    Probe,
    Protocol,
    Service,
)
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.health import Evidence, Picture, Sign

EVERY = 100 * MILLISECOND
PROBE = Probe(path="/health", expect=((200, 299),), every_us=EVERY, timeout_us=None, fall=2, rise=2)
IDENTITY = Identity(path="/version", header=None, every_us=30 * SECOND)
HERE, THERE = Target("shop", "a"), Target("shop", "b")


def service(
    name: str = "shop", probe: Probe = PROBE, *, identity: Identity | None = None, port: int = 8001
) -> Service:
    return Service(
        name=name,
        mode=Mode.BALANCE,
        protocol=Protocol.HTTP,
        listen=8000,
        port=port,
        home="a",
        limit_per_s=None,
        probe=probe,
        identity=identity,
    )


def cluster(*services: Service, nodes: tuple[str, ...] = ("a", "b")) -> Cluster:
    return Cluster(
        name="test",
        nodes={
            name: Node(name=name, address=f"127.0.0.{number}")
            for number, name in enumerate(nodes, 1)
        },
        witness=None,
        services={each.name: each for each in services or (service(),)},
        heartbeat=HeartbeatSettings(every_us=50 * MILLISECOND, port=7400),
        policy=Policy(
            failback=FailbackMode.AUTOMATIC,
            after_us=SECOND,
            forget_us=SECOND,
            ramp_us=SECOND,
            drain_us=SECOND,
            moves_max=3,
            moves_window_us=SECOND,
            override_max_us=SECOND,
        ),
        bus_servers=(),
        configuration="",
    )


def ok(took_us: Duration = MILLISECOND) -> Outcome:
    return connected(took_us)


def bad(sign: Sign, took_us: Duration = MILLISECOND) -> Outcome:
    return Outcome(sign, sign.value, "", took_us)


HANGS = None  # a behaviour: nothing comes until the time-out

Behaviour = Callable[[Instant], Outcome | None]


@dataclass
class World:
    """Plays the shell, the instances and the time."""

    cluster: Cluster = field(default_factory=cluster)
    observer: str = "a"
    now: Instant = 1_000 * SECOND
    late_us: Duration = 0  # of the observer's loop, while a probe is under way
    links: bool = False  # whether connections can be kept

    def __post_init__(self) -> None:
        self.instances: dict[Target, Behaviour] = {}
        self.said: list[Evidence] = []
        self.said_at: list[Instant] = []
        self.pictures: list[Picture] = []
        self.asks: list[tuple[Instant, Ask]] = []
        self.spans: list[RecordSpan] = []
        self.linked: list[Target] = []
        self.closed: list[Target] = []
        self.reading: list[Target] = []
        self._numbers = count()
        self._future: list[tuple[Instant, int, Event]] = []
        self._alarms: dict[Target, Instant] = {}
        self.state, actions = start(self.cluster, self.observer, "boot", self.now)
        self._perform(actions)

    def behave(self, target: Target, outcome: Outcome | None) -> None:
        """Make an instance answer all new probes alike."""
        self.instances[target] = lambda _: outcome

    def instance(self, target: Target = HERE) -> Instance:
        return self.state.instances[target]

    def on(self, event: Event, after_us: Duration = 0) -> tuple[Action, ...]:
        """Let something happen now."""
        self.now += after_us
        self.state, actions = decide(self.state, event, self.now)
        self._perform(actions)
        return actions

    def run(self, duration_us: Duration) -> None:
        """Let time pass."""
        until = self.now + duration_us
        while self._future and self._future[0][0] <= until:
            at, _, event = heapq.heappop(self._future)
            if isinstance(event, Woke) and self._alarms.get(event.target) != at:
                continue  # replaced by a newer alarm
            self.now = max(self.now, at)
            self.on(event)
        self.now = until

    def run_until_healthy(self, target: Target = HERE) -> None:
        """Let time pass until everything is as on a good day."""
        self.run(2 * SECOND)
        assert self.instance(target).judgement.verdict.value == "healthy"

    def since(self, index: int) -> list[Evidence]:
        return self.said[index:]

    def _say(self, message: Evidence | Picture) -> None:
        if isinstance(message, Picture):
            self.pictures.append(message)
            return
        self.said.append(message)
        self.said_at.append(self.now)

    def _perform(self, actions: tuple[Action, ...]) -> None:  # noqa: C901, PLR0912 - all actions
        for action in actions:
            match action:
                case Say(message):
                    self._say(message)
                case Ask():
                    self._ask(action)
                case Wake(target, at):
                    self._alarms[target] = at
                    self._push(at, Woke(target))
                case WakeForPicture(at):
                    self._push(at, PictureDue())
                case OpenLink(target):
                    self.linked.append(target)
                    if self.links:
                        self._push(self.now, LinkOpened(target))
                    else:
                        self._push(self.now, LinkLost(target, own=True))
                case CloseLink(target):
                    self.closed.append(target)
                case ReadIdentity(target):
                    self.reading.append(target)
                case RecordSpan():
                    self.spans.append(action)

    def _ask(self, ask: Ask) -> None:
        self.asks.append((self.now, ask))
        behaviour = self.instances.get(ask.target)
        outcome = ok() if behaviour is None else behaviour(self.now)
        if outcome is None or outcome.took_us > ask.timeout_us:
            outcome = overdue("answer", ask.timeout_us, ask.timeout_us)
        ended = Ended(target=ask.target, number=ask.number, outcome=outcome, late_us=self.late_us)
        self._push(self.now + outcome.took_us, ended)

    def _push(self, at: Instant, event: Event) -> None:
        heapq.heappush(self._future, (at, next(self._numbers), event))


def with_probe(**changes: object) -> Cluster:
    """Return a cluster of one service with another probe."""
    return cluster(service(probe=replace(PROBE, **changes)))  # type: ignore[arg-type]


def identity_read(value: str | None, target: Target = HERE) -> IdentityRead:
    return IdentityRead(target, value)


def first(*outcomes: Outcome | None) -> Behaviour:
    """Return a behaviour that goes through outcomes and stays with the last."""
    left = list(outcomes)

    def behave(_: Instant) -> Outcome | None:
        return left.pop(0) if len(left) > 1 else left[0]

    return behave
