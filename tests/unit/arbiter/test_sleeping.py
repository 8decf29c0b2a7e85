"""An arbiter that was stopped for a while: it knows nothing of that time, and acts accordingly."""

from services.arbiter.core import decide
from services.arbiter.core.state import Asked, CatchUp, CaughtUp, Reply, State, Tick
from shared.instant import MILLISECOND, SECOND
from shared.messages.facts import InstanceState, NodeChanged, NodeState
from shared.messages.health import Grade, Sign, Verdict
from shared.messages.operator import Answer, OperatorRequest, Verb
from shared.rules import Admission
from tests.unit.arbiter.play import Play, evidence

OUT, SERVING = Admission.OUT, Admission.SERVING


def caught_up(state: State, sleep: int, now: int) -> State:
    return decide(state, CaughtUp(sleep=sleep), now)[0]


def test_nobody_is_called_dead_for_the_time_that_the_arbiter_slept() -> None:
    play = Play()
    play.said.clear()
    play.now += 10 * SECOND
    play.pass_by(SECOND, quiet=False)
    assert [each for each in play.said if isinstance(each, NodeChanged)] == []


def test_whoever_is_silent_after_the_waking_is_called_dead() -> None:
    play = Play()
    play.said.clear()
    play.lose("node-b")
    play.now += 10 * SECOND
    play.pass_by(3 * SECOND)
    called = [each.after for each in play.said if isinstance(each, NodeChanged)]
    assert called == [NodeState.SUSPECT, NodeState.DEAD]


def test_nobody_is_called_dead_when_nobody_at_all_is_heard() -> None:
    play = Play()
    play.said.clear()
    play.pass_by(10 * SECOND, quiet=True)
    called = {each.after for each in play.said if isinstance(each, NodeChanged)}
    assert called == {NodeState.UNKNOWN}
    assert set(play.admissions().values()) == {SERVING}


def test_the_time_that_the_arbiter_slept_is_no_time_of_observing() -> None:
    play = Play()
    play.refuse("node-b")
    play.heal("node-b")
    play.pass_by(5 * SECOND)
    assert play.state.instance(("shop", "node-b")).state is InstanceState.OBSERVED
    play.now += 60 * SECOND
    play.pass_by(5 * SECOND)
    assert play.state.instance(("shop", "node-b")).state is InstanceState.OBSERVED
    play.pass_by(10 * SECOND)
    assert play.state.instance(("shop", "node-b")).state is InstanceState.RAMPING


def test_a_person_is_not_obeyed_before_the_arbiter_has_caught_up() -> None:
    play = Play()
    request = OperatorRequest(
        verb=Verb.FAILOVER, node="node-b", service="shop", owner="ana", reason="long ago"
    )
    after, actions = decide(play.state, Asked(ticket=1, request=request), play.now + 10 * SECOND)
    replies = [each.answer for each in actions if isinstance(each, Reply)]
    assert [each.answer for each in replies] == [Answer.NOT_LEADING]
    assert "try again" in replies[0].text
    assert after.plan is play.plan


def test_having_caught_up_with_one_sleep_is_not_having_caught_up_with_the_next() -> None:
    play = Play()
    at = play.now + 10 * SECOND
    state, first = decide(play.state, Tick(wall_us=0), at)
    at += 10 * SECOND
    state, second = decide(state, Tick(wall_us=0), at)
    sleeps = [each.sleep for each in (*first, *second) if isinstance(each, CatchUp)]
    assert len(sleeps) == 2
    state = caught_up(state, sleeps[0], at + 1)
    assert not state.awake
    queued = evidence(
        "node-b",
        "shop",
        "node-b",
        verdict=Verdict.UNHEALTHY,
        grade=Grade.CONCLUSIVE,
        sign=Sign.REFUSED,
        sequence=play.sequence + 1,
    )
    state, _ = decide(state, queued, at + 2)
    assert state.plan is play.plan
    state = caught_up(state, sleeps[1], at + 3)
    assert state.awake
    state, _ = decide(state, Tick(wall_us=0), at + 20 * MILLISECOND)
    assert state.plan is play.plan
