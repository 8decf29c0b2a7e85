"""Whatever is said to the arbiter, in whatever order, its promises hold after every step.

What is said here need not make sense: observers contradict themselves, numbers come out of order,
switchers acknowledge what nobody ordered. The invariants are those of the simulation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings, strategies as st

from services.arbiter.core.state import Event
from services.traffic_switcher.core.state import Memory
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.facts import InstanceState
from shared.messages.health import Evidence, Grade, Heartbeat, Picture, Sign, Verdict
from shared.messages.operator import OperatorRequest, Verb
from shared.messages.traffic import (
    Applied,
    Drift,
    InstanceLoad,
    Measured,
    Refused,
    ServiceLoad,
    Stage,
)
from shared.rules import digest, original
from tests.simulation.arbiters import Search, recorded
from tests.simulation.broker import DELAY_MAX_US
from tests.simulation.moments import Persisted, Told
from tests.simulation.weather import Fault
from tests.simulation.world import World

SEEDS = 50  # of the worlds whose clusters are used
WEATHER = frozenset({Fault.INSTANCE_KILL})  # instances may be to blame; none of it blows here
NAMES = ("node-a", "node-b", "node-c", "stranger")
SERVICES = ("orders", "shop", "stranger")

names = st.sampled_from(NAMES)
services = st.sampled_from(SERVICES)
small = st.integers(min_value=0, max_value=30)

evidence = st.builds(
    Evidence,
    observer=names,
    boot_id=st.sampled_from(("one", "two")),
    sequence=small,
    node=names,
    service=services,
    verdict=st.sampled_from(Verdict),
    grade=st.sampled_from(Grade),
    sign=st.sampled_from(Sign),
    detail=st.just("no answer"),
    value=st.just("0.3 ms"),
    threshold=st.just("fall 2 of 2"),
    streak=small,
    first_age_us=st.sampled_from((0, 2 * MILLISECOND, 10 * SECOND)),
    age_us=st.sampled_from((0, 100)),
    answer_us=st.just(500),
    timeout_us=st.just(50 * MILLISECOND),
    late_us=st.just(0),
    abstains=st.booleans(),
    identity=st.sampled_from((None, "1.0", "1.1")),
)


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    observer = draw(names)
    said = draw(st.lists(evidence, max_size=4))
    return Picture(observer=observer, boot_id="one", sequence=draw(small), evidence=tuple(said))


@st.composite
def measurements(draw: st.DrawFn) -> Measured:
    count = draw(small)
    load = InstanceLoad(
        requests=count * 10, errors=draw(small), sessions=draw(st.integers(0, 1)), up=True
    )
    of_service = ServiceLoad(
        requests=count * 10, failed=0, instances=dict.fromkeys(NAMES[:3], load)
    )
    return Measured(
        node=draw(names),
        boot_id="one",
        epoch=draw(st.integers(0, 2)),
        sequence=draw(small),
        digest=draw(st.sampled_from(("", "beef"))),
        balancer_ok=draw(st.booleans()),
        balancer_detail="",
        services=dict.fromkeys(SERVICES[:2], of_service),
        verified_age_us=draw(st.sampled_from((None, 100))),
    )


requests = st.builds(
    OperatorRequest,
    verb=st.sampled_from(Verb),
    node=st.one_of(st.none(), names),
    service=st.one_of(st.none(), services),
    owner=st.sampled_from(("ana", "")),
    reason=st.just("because"),
    for_us=st.sampled_from((None, SECOND, 20 * SECOND)),
    dry_run=st.booleans(),
    force=st.booleans(),
)

nonsense: st.SearchStrategy[Event] = st.one_of(
    evidence,
    pictures(),
    measurements(),
    st.builds(
        Heartbeat,
        node=names,
        boot_id=st.just("one"),
        sequence=small,
        configuration=st.sampled_from(("c0ffee", "beef")),
    ),
    st.builds(
        Applied,
        node=names,
        boot_id=st.just("one"),
        epoch=st.integers(0, 2),
        sequence=small,
        stage=st.sampled_from(Stage),
        digest=st.just("beef"),
        incident=st.none(),
        detail=st.just("something"),
    ),
    st.builds(
        Refused,
        node=names,
        epoch=st.integers(0, 2),
        sequence=small,
        fence_epoch=st.just(0),
        fence_sequence=small,
        reason=st.just("older"),
    ),
    st.builds(
        Drift,
        node=names,
        service=services,
        target=names,
        wanted=st.just("serving"),
        installed=st.just("closed"),
        repaired=st.booleans(),
        by=st.just("someone else"),
    ),
)


@dataclass
class Stage_:  # noqa: N801 - `Stage` is a switcher's
    """An arbiter alone in a world where nobody else is started."""

    world: World
    said: set[tuple[str, str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin, or begin again, with what the switchers and the stream have."""
        arbiter = self.world.arbiter
        arbiter.crash()
        self.pass_by(DELAY_MAX_US)  # a restart takes longer than what was sent is on its way
        arbiter.alive = True
        durable = {node: each.disk.durable for node, each in self.world.switchers.items()}
        plans = {node: memory.plan for node, memory in durable.items() if memory is not None}
        arbiter.take(
            arbiter.begin_from, Search(0, answers=dict(plans)), recorded(self.world.broker)
        )

    def hear(self, event: Event) -> None:
        """Let the arbiter hear something; an observer gives a number to one word only."""
        every = event.evidence if isinstance(event, Picture) else (event,)
        for each in every:
            if isinstance(each, Evidence):
                key = (each.observer, each.boot_id, each.sequence)
                if key in self.said:
                    return
                self.said.add(key)
                self.world.watch.see(Told(self.world.arbiter, each))
        self.world.arbiter.take(self.world.arbiter.hear, event)

    def obey(self, node: str) -> None:
        """Let a switcher do what the newest plan says."""
        state = self.world.arbiter.state
        switcher = self.world.switchers.get(node)
        if state is None or switcher is None:
            return
        known = switcher.disk.durable
        if known is None or known.fence < state.plan.number:
            self.world.watch.see(Persisted(switcher, Memory(plan=state.command.plan)))
            switcher.disk.durable = Memory(plan=state.command.plan)
        for stage in (Stage.INSTALLED, Stage.VERIFIED):
            applied = Applied(
                node=node,
                boot_id="one",
                epoch=state.plan.epoch,
                sequence=state.plan.sequence,
                stage=stage,
                digest=digest(state.plan.services),
                incident=None,
                detail="",
            )
            self.world.watch.see(Told(switcher, applied))
            self.world.arbiter.take(self.world.arbiter.hear, applied)

    def sleep(self, duration_us: Duration) -> None:
        """Let the arbiter be stopped for a while."""
        self.world.arbiter.freeze()
        self.pass_by(duration_us)
        self.world.arbiter.wake(self.world.arbiter.generation)

    def pass_by(self, duration_us: Duration) -> None:
        """Let time pass, in which the arbiter ticks."""
        self.world.agenda.run(self.world.agenda.now + duration_us)


Step = Callable[[Stage_], None]


def hear(event: Event) -> Step:
    return lambda stage: stage.hear(event)


def ask(request: OperatorRequest) -> Step:
    def step(stage: Stage_) -> None:
        stage.world.arbiter.take(stage.world.arbiter.asked, request, lambda _: None)

    return step


def obey(node: str) -> Step:
    return lambda stage: stage.obey(node)


def sleep(duration_us: Duration) -> Step:
    return lambda stage: stage.sleep(duration_us)


def begin(_: None) -> Step:
    return lambda stage: stage.begin()


steps: st.SearchStrategy[Step] = st.one_of(
    nonsense.map(hear),
    nonsense.map(hear),
    requests.map(ask),
    names.map(obey),
    st.sampled_from((100 * MILLISECOND, 600 * MILLISECOND, 5 * SECOND)).map(sleep),
    st.none().map(begin),
)
waits = st.sampled_from((0, 20 * MILLISECOND, 300 * MILLISECOND, 3 * SECOND))


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(seed=st.integers(0, SEEDS), played=st.lists(st.tuples(waits, steps), max_size=25))
def test_the_promises_hold_whatever_is_said(seed: int, played: list[tuple[int, Step]]) -> None:
    stage = Stage_(World(seed, WEATHER))
    for wait_us, step in played:
        stage.pass_by(wait_us)
        step(stage)
    # What was said in the end is heard, and judged by a tick.
    stage.pass_by(100 * MILLISECOND)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, SEEDS), noise=st.lists(st.tuples(waits, nonsense), max_size=20))
def test_a_beginning_moves_nothing_whatever_was_said_before(
    seed: int, noise: list[tuple[int, Event]]
) -> None:
    stage = Stage_(World(seed, WEATHER))
    for wait_us, event in noise:
        stage.pass_by(wait_us)
        stage.hear(event)
    stage.pass_by(100 * MILLISECOND)
    before = stage.world.arbiter.state
    assert before is not None
    for node in stage.world.weather.cluster.nodes:
        stage.obey(node)
    stage.begin()
    after = stage.world.arbiter.state
    assert after is not None
    assert after.plan.number > before.plan.number
    assert after.plan.services == before.plan.services


@given(seed=st.integers(0, SEEDS), silent_us=st.integers(0, 20 * SECOND))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_silence_is_no_evidence(seed: int, silent_us: Duration) -> None:
    stage = Stage_(World(seed, WEATHER))
    stage.pass_by(silent_us)
    state = stage.world.arbiter.state
    assert state is not None
    assert state.plan.services == original(stage.world.weather.cluster)
    assert all(
        instance.state is InstanceState.HOME
        for of_service in state.instances.values()
        for instance in of_service.values()
    )
