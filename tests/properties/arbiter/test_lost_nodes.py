"""Whoever falls silent, in any order and for any time: no service is emptied, and all return."""

from hypothesis import HealthCheck, given, settings, strategies as st

from services.arbiter.core.detection import patience_us, weigh
from shared.cluster import Mode
from shared.frozen import replace
from shared.instant import MILLISECOND, SECOND
from shared.messages.facts import IncidentClosed, IncidentOpened, NodeState
from shared.rules import original, serving
from tests.unit.arbiter.play import POLICY, Play, cluster_of, service

POLICY_OF_SECONDS = replace(
    POLICY, after_us=SECOND, node_after_us=2 * SECOND, ramp_us=SECOND, drain_us=SECOND, moves_max=60
)
NODES = ("node-a", "node-b", "node-c")
CLUSTER = cluster_of(
    service("db", Mode.MIRROR, home="node-b"), service("shop"), nodes=3, policy=POLICY_OF_SECONDS
)

steps = st.lists(
    st.tuples(
        st.sampled_from(("lose", "find", "mute", "unheard", "late", "refuse", "heal")),
        st.sampled_from((*NODES, "witness")),
        st.integers(min_value=1, max_value=40).map(lambda k: k * 20 * MILLISECOND),
    ),
    max_size=12,
)
few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def done(play: Play, what: str, name: str) -> None:
    """Let something happen to a member."""
    match what:
        case "lose":
            play.lose(name)
        case "find":
            play.find(name)
        case "mute":
            play.mute.add(name)
        case "unheard":
            play.unheard.add(name)
        case "late":
            play.late[name] = 100 * MILLISECOND
        case "refuse" if name in NODES:
            play.refuse(name)
        case "heal" if name in NODES:
            play.heal(name)
        case _:
            pass


def held(play: Play) -> None:
    """Check what always holds."""
    for rules in play.plan.services.values():
        assert serving(rules)
    for member in play.state.members.values():
        heard = member.bus_at is not None
        if heard and play.now - (member.bus_at or 0) < patience_us(play.state, member):
            assert member.state is NodeState.UP
        if member.incident is not None:
            assert play.state.cases[member.incident].incident.node == member.name
    for some in play.state.instances.values():
        for instance in some.values():
            assert instance.incident is None or instance.incident in play.state.cases


@few
@given(steps)
def test_no_service_is_emptied_and_everything_comes_back(story: list[tuple[str, str, int]]) -> None:
    play = Play(cluster=CLUSTER)
    for what, name, duration in story:
        done(play, what, name)
        end = play.now + duration
        while play.now < end:
            play.pass_by(20 * MILLISECOND)
            held(play)
    play.find(*NODES, "witness")
    play.late.clear()
    for name in NODES:
        play.heal(name)
    relapses = max(member.relapses for member in play.state.members.values())
    flaws = max(i.relapses for some in play.state.instances.values() for i in some.values())
    play.pass_by((2 << max(relapses, flaws)) * SECOND + 15 * SECOND)
    held(play)
    assert play.plan.services == original(play.cluster)
    assert not play.state.cases
    opened = {each.id for each in play.incidents(IncidentOpened)}
    closed = [each.id for each in play.incidents(IncidentClosed)]
    assert sorted(opened) == sorted(closed)


@few
@given(
    st.dictionaries(st.sampled_from(("node-a", "node-c", "witness")), st.integers(0, 400)),
    st.integers(0, 400),
)
def test_nobody_is_silent_by_udp_whom_somebody_heard_within_its_patience(
    ages_ms: dict[str, int], silent_ms: int
) -> None:
    play = Play(cluster=CLUSTER)
    play.lose("node-b")
    play.now += silent_ms * MILLISECOND
    for name, age_ms in ages_ms.items():
        beat = play.heartbeat(name)
        hears_us = {**beat.hears_us, "node-b": age_ms * MILLISECOND}
        play.tell(replace(beat, hears_us=hears_us))
    member = play.state.members["node-b"]
    weighing = weigh(play.state, member, play.now)
    over_us = patience_us(play.state, member)
    if any(age_ms * MILLISECOND < over_us for age_ms in ages_ms.values()):
        assert weighing.hearing
        assert not weighing.is_silent_by_udp
    assert not (weighing.is_silent_by_udp and not weighing.missing)
