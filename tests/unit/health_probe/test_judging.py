"""What an observer says when an instance misbehaves."""

from itertools import pairwise

from services.health_probe.core.answers import TIMEOUT_MAX, TIMEOUT_MIN
from services.health_probe.core.asking import RESET_PAUSE_US, RESETS_MAX
from services.health_probe.core.events import Ended, LinkLost, Target
from services.health_probe.core.signs import Outcome
from shared.company import observers
from shared.instant import MILLISECOND, SECOND
from shared.messages.health import Grade, Sign, Verdict
from tests.unit.health_probe.observed import (
    EVERY,
    HANGS,
    HERE,
    THERE,
    World,
    bad,
    cluster,
    first,
    ok,
    service,
    with_probe,
)


def healthy_world(**settings: object) -> World:
    world = World(with_probe(**settings))
    world.run_until_healthy()
    world.run_until_healthy(THERE)
    return world


def test_health_needs_rise_answers_in_a_row_from_the_start() -> None:
    world = World(with_probe(rise=3))
    world.run(4 * EVERY)
    verdicts = [said.verdict for said in world.said if said.node == "a"]
    assert verdicts == [Verdict.UNKNOWN, Verdict.HEALTHY]
    assert len([ask for _, ask in world.asks if ask.target == HERE]) >= 3


def test_nothing_is_said_as_long_as_nothing_changes() -> None:
    world = healthy_world()
    before = len(world.said)
    world.run(10 * SECOND)
    assert world.since(before) == []
    assert len(world.pictures) >= 10


def test_one_refusal_is_conclusive_at_once() -> None:
    world = healthy_world()
    before = len(world.said)
    world.behave(HERE, bad(Sign.REFUSED))
    world.run(EVERY + MILLISECOND)
    (said,) = world.since(before)
    assert (said.verdict, said.grade, said.sign) == (
        Verdict.UNHEALTHY,
        Grade.CONCLUSIVE,
        Sign.REFUSED,
    )
    assert said.threshold == "one refusal is conclusive"


def test_a_refusal_seen_from_another_node_is_as_conclusive() -> None:
    world = healthy_world()
    world.behave(THERE, bad(Sign.REFUSED))
    world.run(2 * EVERY)
    assert world.said[-1].grade is Grade.CONCLUSIVE
    assert world.said[-1].node == "b"


def test_an_error_status_is_asked_about_again_at_once() -> None:
    world = healthy_world()
    before, asks = len(world.said), len(world.asks)
    world.behave(HERE, bad(Sign.STATUS))
    world.run(EVERY + 3 * MILLISECOND)
    one, two = [said for said in world.since(before) if said.node == "a"]
    assert (one.verdict, one.grade, one.threshold) == (
        Verdict.HEALTHY,
        Grade.SUSPICIOUS,
        "fall 1 of 2",
    )
    assert (two.verdict, two.grade, two.threshold) == (
        Verdict.UNHEALTHY,
        Grade.SUSPICIOUS,
        "fall 2 of 2",
    )
    asked_at = [at for at, ask in world.asks[asks:] if ask.target == HERE]
    assert asked_at[1] - asked_at[0] == MILLISECOND
    assert two.first_age_us == MILLISECOND


def test_a_hung_instance_is_given_up_after_one_and_a_half_timeouts() -> None:
    world = healthy_world()
    world.behave(HERE, HANGS)
    before, asks = len(world.said), len(world.asks)
    world.run(EVERY + 2 * TIMEOUT_MIN)
    began_at = next(at for at, ask in world.asks[asks:] if ask.target == HERE)
    said_at = world.said_at[before:]
    one, two = world.since(before)
    assert one.verdict is Verdict.HEALTHY
    assert said_at[0] - began_at == TIMEOUT_MIN
    assert two.verdict is Verdict.UNHEALTHY
    assert two.grade is Grade.SUSPICIOUS
    assert said_at[1] - began_at == two.first_age_us == TIMEOUT_MIN * 3 // 2
    assert two.timeout_us == TIMEOUT_MIN


def test_a_hang_with_a_longer_fall_takes_half_a_timeout_more_for_each() -> None:
    world = healthy_world(fall=5)
    world.behave(HERE, HANGS)
    before = len(world.said)
    world.run(EVERY + 4 * TIMEOUT_MIN)
    assert world.since(before)[-1].verdict is Verdict.UNHEALTHY
    assert world.since(before)[-1].first_age_us == TIMEOUT_MIN * 3


def test_errors_with_a_longer_fall_are_spread_over_time() -> None:
    world = healthy_world(fall=4)
    world.behave(HERE, bad(Sign.STATUS))
    before = len(world.said)
    world.run(EVERY + 2 * TIMEOUT_MIN)
    said = world.since(before)[-1]
    assert said.verdict is Verdict.UNHEALTHY
    assert said.first_age_us == 2 * (TIMEOUT_MIN // 2) + MILLISECOND


def test_a_fall_of_one_needs_no_second_probe() -> None:
    world = healthy_world(fall=1)
    world.behave(HERE, HANGS)
    before, asks = len(world.said), len(world.asks)
    world.run(EVERY + TIMEOUT_MIN)
    assert world.since(before)[-1].verdict is Verdict.UNHEALTHY
    assert len([ask for _, ask in world.asks[asks:] if ask.target == HERE]) <= 2


def test_one_slow_answer_beside_a_good_one_is_no_sign() -> None:
    world = healthy_world()
    before = len(world.said)
    world.instances[HERE] = first(HANGS, ok())
    world.run(3 * EVERY)
    assert world.since(before) == []


def test_one_bad_answer_is_forgotten_by_the_next_good_one() -> None:
    world = healthy_world()
    before = len(world.said)
    world.instances[HERE] = first(bad(Sign.STATUS), ok())
    world.run(3 * EVERY)
    suspected, cleared = world.since(before)
    assert suspected.verdict is cleared.verdict is Verdict.HEALTHY
    assert (suspected.grade, cleared.grade) == (Grade.SUSPICIOUS, Grade.NONE)


def test_recovery_needs_rise_in_a_row() -> None:
    world = healthy_world(rise=3)
    world.behave(HERE, bad(Sign.REFUSED))
    world.run(2 * EVERY)
    before = len(world.said)
    world.instances[HERE] = first(ok(), ok(), bad(Sign.REFUSED), ok())
    world.run(10 * EVERY)
    assert [said.verdict for said in world.since(before)] == [
        Verdict.UNHEALTHY,
        Verdict.UNHEALTHY,
        Verdict.UNHEALTHY,
        Verdict.HEALTHY,
    ]
    assert world.said[-1].streak == 3


def test_a_reset_alone_is_not_conclusive() -> None:
    world = healthy_world()
    before = len(world.said)
    world.behave(HERE, bad(Sign.RESET))
    world.run(2 * EVERY)
    assert {said.grade for said in world.since(before)} == {Grade.SUSPICIOUS}


def test_a_reset_and_then_a_refusal_is_conclusive_within_the_time_of_two_probes() -> None:
    world = healthy_world()
    before = len(world.said)
    world.instances[HERE] = first(bad(Sign.RESET), bad(Sign.REFUSED))
    world.run(2 * EVERY)
    assert [said.grade for said in world.since(before)][:2] == [Grade.SUSPICIOUS, Grade.CONCLUSIVE]
    assert world.said_at[before + 1] - world.said_at[before] == RESET_PAUSE_US + MILLISECOND


def test_resets_are_followed_up_after_the_verdict_but_not_for_ever() -> None:
    world = healthy_world()
    world.behave(HERE, bad(Sign.RESET))
    asks = len(world.asks)
    world.run(EVERY)
    asked_at = [at for at, ask in world.asks[asks:] if ask.target == HERE]
    follow_ups = [after - before - MILLISECOND for before, after in pairwise(asked_at)]
    doubling = [RESET_PAUSE_US << count for count in range(RESETS_MAX)]
    assert follow_ups == doubling[: len(follow_ups)]
    assert len(follow_ups) >= 4
    world.run(SECOND)
    asks = len(world.asks)
    world.run(SECOND)
    assert len([ask for _, ask in world.asks[asks:] if ask.target == HERE]) == 10


def test_trouble_of_our_own_accuses_nobody() -> None:
    world = healthy_world()
    before, asks = len(world.said), len(world.asks)
    world.behave(HERE, Outcome(Sign.NOTHING, "could not probe from here: no ports", "", 0))
    world.run(SECOND)
    (said,) = world.since(before)
    assert (said.verdict, said.grade, said.abstains) == (Verdict.HEALTHY, Grade.NONE, True)
    assert "no ports" in said.detail
    assert len([ask for _, ask in world.asks[asks:] if ask.target == HERE]) <= 11
    world.behave(HERE, ok())
    world.run(EVERY)
    assert not world.said[-1].abstains


def test_trouble_of_our_own_during_a_run_of_bad_signs_makes_no_storm() -> None:
    world = healthy_world()
    asks = len(world.asks)
    world.instances[HERE] = first(bad(Sign.STATUS), Outcome(Sign.NOTHING, "x", "", 0))
    world.run(SECOND)
    assert len(world.asks) - asks <= 2 * SECOND // TIMEOUT_MIN + 25


def test_a_failure_while_we_were_late_is_repeated_at_once_and_we_abstain() -> None:
    world = healthy_world()
    world.behave(HERE, HANGS)
    world.late_us = TIMEOUT_MIN // 2 + 1
    before = len(world.said)
    world.run(SECOND)
    (said,) = [each for each in world.since(before) if each.node == "a"]
    assert (said.verdict, said.abstains, said.late_us) == (Verdict.HEALTHY, True, world.late_us)
    world.late_us = 0
    world.run(3 * TIMEOUT_MIN)
    assert (world.said[-1].verdict, world.said[-1].abstains) == (Verdict.UNHEALTHY, False)


def test_a_refusal_cannot_be_our_lateness() -> None:
    world = healthy_world()
    world.behave(HERE, bad(Sign.REFUSED))
    world.late_us = 10 * TIMEOUT_MIN
    world.run(2 * EVERY)
    assert world.said[-1].grade is Grade.CONCLUSIVE


def test_a_good_answer_is_good_however_late_we_read_it() -> None:
    world = healthy_world()
    before = len(world.said)
    world.late_us = 10 * TIMEOUT_MIN
    world.run(SECOND)
    assert world.since(before) == []


def test_samples_from_before_a_pause_are_thrown_away() -> None:
    world = healthy_world()
    world.behave(HERE, bad(Sign.REFUSED, took_us=40 * MILLISECOND))
    world.late_us = 60 * SECOND
    before = len(world.said)
    world.run(EVERY)
    assert world.since(before) == []
    world.late_us = 0
    world.behave(HERE, ok())
    world.run(EVERY)
    assert all(said.grade is not Grade.CONCLUSIVE for said in world.since(before))


def test_after_a_pause_probes_do_not_come_in_a_burst() -> None:
    world = healthy_world()
    world.now += 60 * SECOND
    asks = len(world.asks)
    world.run(0)
    assert world.asks[asks:] == []
    world.run(EVERY)
    assert len(world.asks) - asks == 2


def test_an_answer_to_a_probe_that_no_longer_counts_is_ignored() -> None:
    world = healthy_world()
    before, state = len(world.said), world.state
    world.on(Ended(target=HERE, number=1, outcome=bad(Sign.REFUSED), late_us=0))
    assert world.since(before) == []
    assert world.state == state


def test_an_unhealthy_instance_is_asked_with_patience_and_comes_back_slow() -> None:
    world = healthy_world()
    world.behave(HERE, ok(took_us=200 * MILLISECOND))
    world.run(SECOND)
    assert Verdict.UNHEALTHY in [said.verdict for said in world.said]
    assert world.said[-1].verdict is Verdict.HEALTHY
    before = len(world.said)
    world.run(10 * SECOND)
    assert world.since(before) == []
    assert world.instance().judgement.timeout_us == 800 * MILLISECOND


def test_a_fixed_timeout_is_fixed() -> None:
    world = healthy_world(timeout_us=300 * MILLISECOND)
    world.behave(HERE, HANGS)
    world.run(2 * SECOND)
    assert {ask.timeout_us for _, ask in world.asks} == {300 * MILLISECOND}


def test_until_answers_are_known_there_is_patience() -> None:
    world = World()
    world.run(3 * EVERY)
    assert {ask.timeout_us for _, ask in world.asks} == {TIMEOUT_MAX}


def test_a_hung_instance_is_not_asked_ever_more() -> None:
    world = healthy_world()
    world.behave(HERE, HANGS)
    world.run(SECOND)
    asks = len(world.asks)
    world.run(10 * SECOND)
    assert len([ask for _, ask in world.asks[asks:] if ask.target == HERE]) <= 11


def test_the_sequence_rises_with_every_change_over_all_instances() -> None:
    world = healthy_world()
    world.behave(HERE, bad(Sign.REFUSED))
    world.behave(THERE, HANGS)
    world.run(SECOND)
    assert [said.sequence for said in world.said] == list(range(1, len(world.said) + 1))
    assert world.pictures[-1].sequence == world.state.sequence
    named = {each.node: each.sequence for each in world.pictures[-1].evidence}
    assert named["a"] < named["b"] == world.state.sequence


def test_ages_are_counted_at_the_sending() -> None:
    world = healthy_world()
    world.behave(HERE, bad(Sign.REFUSED))
    world.run(EVERY)
    failed_at = world.now - world.said[-1].first_age_us
    world.run(3 * SECOND)
    picture = world.pictures[-1]
    here = next(each for each in picture.evidence if each.node == "a")
    assert here.first_age_us > 2 * SECOND
    assert here.age_us <= EVERY
    assert failed_at > 0


def test_a_lost_connection_dates_the_death_that_the_probe_confirms() -> None:
    world = World(links=True)
    world.run_until_healthy()
    world.behave(HERE, bad(Sign.REFUSED, took_us=300))
    world.on(LinkLost(HERE, own=False), after_us=7 * MILLISECOND)
    world.run(400)
    assert world.said[-1].grade is Grade.CONCLUSIVE
    assert world.said[-1].first_age_us == 300


def test_of_a_large_cluster_an_observer_asks_its_own_instances_and_its_share_of_the_others() -> (
    None
):
    nodes = tuple(f"n{number}" for number in range(10))
    watched = cluster(*(service(f"s{number}") for number in range(20)), nodes=nodes)
    world = World(watched, observer="n3")
    own = {target for target in world.state.instances if target.node == "n3"}
    assert len(own) == 20
    assert set(world.state.instances) == {
        Target(name, node)
        for name in watched.services
        for node in nodes
        if "n3" in observers(watched, name, node)
    }
    world.run(2 * SECOND)
    assert {(each.service, each.node) for each in world.pictures[-1].evidence} == set(
        world.state.instances
    )
