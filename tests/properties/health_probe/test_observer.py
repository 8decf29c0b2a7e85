"""Whatever instances do, and however late we are: what an observer never does."""

from hypothesis import given, settings, strategies as st

from services.health_probe.core.answers import TIMEOUT_MAX, TIMEOUT_MIN
from services.health_probe.core.asking import IN_FLIGHT_MAX
from services.health_probe.core.events import Action, Ask, Ended, Event, LinkLost, Target, Wake
from services.health_probe.core.probing import TRACED_MAX, State
from services.health_probe.core.signs import Outcome
from shared.instant import MILLISECOND, SECOND
from shared.messages.health import Evidence, Grade, Sign, Verdict
from tests.unit.health_probe.observed import HERE, THERE, World, with_probe

SIGNS = st.sampled_from(list(Sign))
TOOK = st.integers(min_value=0, max_value=2 * SECOND)
LATE = st.one_of(st.just(0), st.integers(min_value=0, max_value=3 * SECOND))
WAIT = st.one_of(st.just(0), st.integers(min_value=0, max_value=3 * SECOND))
OUTCOMES = st.one_of(st.none(), st.builds(Outcome, SIGNS, st.just("x"), st.just(""), TOOK))
Step = tuple[int, Target, Outcome | None, int, bool]
STEPS = st.lists(
    st.tuples(WAIT, st.sampled_from([HERE, THERE]), OUTCOMES, LATE, st.booleans()), max_size=40
)
COUNTS = st.integers(min_value=1, max_value=6)


class Checked(World):
    """A world that checks everything that is done in it."""

    def __post_init__(self) -> None:
        self.refused: dict[str, bool] = {}
        self.good_in_a_row: dict[str, int] = {}
        self.last: dict[str, Evidence] = {}
        super().__post_init__()

    def on(self, event: Event, after_us: int = 0) -> tuple[Action, ...]:
        before = self.state
        said = len(self.said)
        actions = super().on(event, after_us)
        if isinstance(event, Ended):
            self._count(event, before)
        for evidence in self.said[said:]:
            self._check(evidence)
        for action in actions:
            if isinstance(action, Ask):
                assert TIMEOUT_MIN <= action.timeout_us <= TIMEOUT_MAX
            if isinstance(action, Wake):
                assert self.state.instances[action.target].asking.wake_at == action.at
        for instance in self.state.instances.values():
            assert len(instance.asking.asked) <= IN_FLIGHT_MAX
            assert instance.asking.wake_at is not None
        assert len(self.state.trails) <= TRACED_MAX
        return actions

    def _count(self, event: Ended, before: State) -> None:
        node, sign = event.target.node, event.outcome.sign
        asked = before.instances[event.target].asking.asked
        if not any(each.number == event.number for each in asked):
            return
        self.refused[node] = sign is Sign.REFUSED
        if sign is Sign.OK and event.late_us < SECOND:
            self.good_in_a_row[node] = self.good_in_a_row.get(node, 0) + 1

    def _check(self, said: Evidence) -> None:
        before = self.last.get(said.node)
        known = Verdict.UNKNOWN if before is None else before.verdict
        if said.grade is Grade.CONCLUSIVE and (before is None or before.grade is not said.grade):
            assert self.refused[said.node]
        if said.verdict is Verdict.HEALTHY and known is not Verdict.HEALTHY:
            assert said.streak >= self.cluster.services["shop"].probe.rise
            assert self.good_in_a_row[said.node] >= said.streak
            assert said.grade is Grade.NONE
        if said.abstains:
            assert said.verdict is known
        if said.verdict is Verdict.UNHEALTHY and known is not Verdict.UNHEALTHY:
            assert not said.abstains
            fall = self.cluster.services["shop"].probe.fall
            assert said.grade is Grade.CONCLUSIVE or said.streak >= fall
        if said.grade is not Grade.NONE:
            assert said.first_age_us >= 0
        assert before is None or said.sequence > before.sequence
        self.last[said.node] = said


@settings(max_examples=150, deadline=None)
@given(STEPS, COUNTS, COUNTS)
def test_an_observer_keeps_its_word(steps: list[Step], fall: int, rise: int) -> None:
    world = Checked(with_probe(fall=fall, rise=rise), links=True)
    for wait_us, target, outcome, late_us, lost in steps:
        world.run(wait_us)
        world.late_us = late_us
        world.behave(target, outcome)
        if lost:
            world.on(LinkLost(HERE, own=False))
    world.late_us = 0
    for target in (HERE, THERE):
        world.behave(target, Outcome(Sign.OK, "", "", MILLISECOND))
    world.run(5 * SECOND)
    for target in (HERE, THERE):
        judged = world.instance(target).judgement
        assert (judged.verdict, judged.abstains) == (Verdict.HEALTHY, False)


@settings(max_examples=50, deadline=None)
@given(st.lists(TOOK, max_size=60), COUNTS)
def test_a_hang_is_found_in_time_whatever_was_normal(answers: list[int], fall: int) -> None:
    world = World(with_probe(fall=fall))
    for took_us in answers:
        world.behave(HERE, Outcome(Sign.OK, "", "", took_us))
        world.run(100 * MILLISECOND)
    world.behave(HERE, None)
    world.run((fall + 3) * TIMEOUT_MAX)
    assert world.instance().judgement.verdict is Verdict.UNHEALTHY


@settings(max_examples=50, deadline=None)
@given(st.lists(OUTCOMES, max_size=60))
def test_failures_teach_no_timeout(outcomes: list[Outcome | None]) -> None:
    world = World()
    world.run_until_healthy()
    learnt = set()
    for outcome in outcomes:
        if outcome is not None and outcome.sign is Sign.OK:
            learnt.add(outcome.took_us)
        world.behave(HERE, outcome)
        world.run(100 * MILLISECOND)
    assert set(world.instance().judgement.answers) <= {MILLISECOND, *learnt}
