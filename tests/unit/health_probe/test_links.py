"""Connections kept open to local instances."""

from services.health_probe.core.answers import ANSWERS_MIN, TIMEOUT_MIN
from services.health_probe.core.events import Ask, LinkLost, LinkOpened
from services.health_probe.core.link import (
    LIFE_MIN,
    RETRY_MAX,
    RETRY_MIN,
    Link,
    Phase,
    answered,
    lost,
    opened,
    opening,
)
from shared.instant import MILLISECOND, SECOND
from shared.messages.health import Sign, Verdict
from tests.unit.health_probe.observed import EVERY, HANGS, HERE, THERE, World, bad, first, ok


def linked_world() -> World:
    world = World(links=True)
    world.run_until_healthy()
    assert world.instance().link.phase is Phase.OPEN
    return world


def test_only_local_instances_get_a_link_and_only_one() -> None:
    world = linked_world()
    world.run(10 * SECOND)
    assert world.linked == [HERE]


def test_a_link_waits_until_the_instance_is_known() -> None:
    world = World(links=True)
    world.run((ANSWERS_MIN - 1) * EVERY)
    assert world.linked == []
    world.run(2 * EVERY)
    assert world.linked == [HERE]


def test_a_lost_link_is_followed_by_a_probe_at_once_and_accuses_nobody() -> None:
    world = linked_world()
    before = len(world.said)
    actions = world.on(LinkLost(HERE, own=False))
    assert [action for action in actions if isinstance(action, Ask)] != []
    world.run(SECOND)
    assert world.since(before) == []
    assert world.linked == [HERE, HERE]


def test_a_link_that_is_closed_after_a_while_is_opened_again_at_once() -> None:
    world = linked_world()
    for number in range(2, 6):
        world.run(2 * LIFE_MIN)
        world.on(LinkLost(HERE, own=False))
        world.run(2 * MILLISECOND)
        assert len(world.linked) == number


def test_a_server_that_wants_no_links_is_asked_ever_less_often() -> None:
    world = linked_world()
    world.on(LinkLost(HERE, own=False))
    world.run(2 * MILLISECOND)
    pause_us = 0
    for _ in range(12):
        world.on(LinkLost(HERE, own=False))
        pause_us = min(max(2 * pause_us, RETRY_MIN), RETRY_MAX)
        tries = len(world.linked)
        world.run(pause_us - 2 * MILLISECOND)
        assert len(world.linked) == tries
        world.run(2 * EVERY)
        assert len(world.linked) == tries + 1
    assert world.instance().judgement.verdict is Verdict.HEALTHY


def test_a_link_lost_by_trouble_of_our_own_raises_no_alarm() -> None:
    world = linked_world()
    asks = len(world.asks)
    world.on(LinkLost(HERE, own=True))
    assert len(world.asks) == asks
    assert world.instance().judgement.alarmed_at is None


def test_an_alarm_is_lifted_by_the_probe_after_it_only() -> None:
    world = linked_world()
    world.instances[HERE] = first(ok(5 * MILLISECOND), ok(20 * MILLISECOND))
    asks = len(world.asks)
    while not [ask for _, ask in world.asks[asks:] if ask.target == HERE]:
        world.run(MILLISECOND)
    world.on(LinkLost(HERE, own=False))
    lost_at = world.now
    world.run(10 * MILLISECOND)
    assert world.instance().judgement.alarmed_at == lost_at
    world.run(20 * MILLISECOND)
    assert world.instance().judgement.alarmed_at is None


def test_a_probe_from_before_a_link_says_nothing_about_it() -> None:
    trial = opened(opening(Link()), 1_000)
    assert answered(trial, 999).phase is Phase.TRIAL
    assert answered(trial, 1_000).phase is Phase.OPEN


def test_a_server_of_one_connection_is_freed_before_it_is_accused() -> None:
    world = World(links=True)
    # It answers nobody as long as our link is open, and at once when that is closed.
    world.instances[HERE] = lambda _: (
        ok(TIMEOUT_MIN // 2 + MILLISECOND) if world.instance().link.phase is Phase.TRIAL else ok()
    )
    world.run(60 * SECOND)
    assert Sign.TIMEOUT not in [said.sign for said in world.said]
    assert world.instance().judgement.verdict is Verdict.HEALTHY
    assert len(world.closed) == len(world.linked) == 6  # after 1, 2, 4, 8, 16, 32 s


def test_a_proven_link_stays_when_an_answer_is_slow() -> None:
    world = linked_world()
    world.instances[HERE] = first(HANGS, ok())
    world.run(SECOND)
    assert world.closed == []


def test_the_death_of_a_hung_process_is_still_known_at_once() -> None:
    world = linked_world()
    world.behave(HERE, HANGS)
    world.run(5 * SECOND)
    before = len(world.said)
    assert world.instance().judgement.sign is Sign.TIMEOUT
    world.behave(HERE, bad(Sign.REFUSED, took_us=200))
    world.on(LinkLost(HERE, own=False))
    world.run(MILLISECOND)
    assert [said.sign for said in world.since(before)] == [Sign.REFUSED]


def test_events_of_a_link_that_we_closed_are_ignored() -> None:
    world = World()
    world.run_until_healthy()
    state = world.state
    world.on(LinkLost(THERE, own=False))
    world.on(LinkOpened(THERE))
    assert world.state.instances == state.instances


def test_the_short_life_of_a_link_to_a_dying_instance_is_excused() -> None:
    world = linked_world()
    for _ in range(4):
        world.behave(HERE, bad(Sign.REFUSED))
        world.on(LinkLost(HERE, own=False))
        world.run(EVERY)
        world.behave(HERE, ok())
        world.run((ANSWERS_MIN + 3) * EVERY)
        assert world.instance().link.phase is Phase.OPEN


def test_pauses_are_bounded() -> None:
    link = Link()
    for now in range(100):
        link = lost(link, now)
    assert link.pause_us == RETRY_MAX
