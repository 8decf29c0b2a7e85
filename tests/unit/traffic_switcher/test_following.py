"""Rules 5 to 7: drift, what somebody else closed, never empty; and what is said every second."""

from dataclasses import replace

import pytest

from services.traffic_switcher.core.installed import Gate, Instance
from services.traffic_switcher.core.pace import DRAINED_AFTER_US
from services.traffic_switcher.core.state import Apply, Read, Verify
from services.traffic_switcher.core.steps import Change, Step
from shared.instant import MILLISECOND, MINUTE, SECOND
from shared.messages.traffic import Applied, Drift
from shared.rules import Admission, Rule, digest, original
from tests.unit.traffic_switcher.play import (
    DRAIN,
    OUT,
    SERVE,
    STANDBY,
    Play,
    changed,
    cluster,
)

CLUSTER = cluster()
HOME = original(CLUSTER)
WITHOUT_B = changed(CLUSTER, {"shop": {"node-b": OUT}})
WITHOUT_A = changed(CLUSTER, {"shop": {"node-a": OUT}})
HALF = Rule(Admission.SERVING, 50)
SHOP_A, SHOP_B = ("shop", "node-a"), ("shop", "node-b")


def settled(rules: object = HOME, number: tuple[int, int] = (1, 1)) -> Play:
    """Return a play in which a plan has been followed for a while."""
    play = Play()
    play.command(number, rules)  # type: ignore[arg-type]
    play.pass_time(2 * SECOND)
    play.said.clear()
    play.balancer.taken.clear()
    return play


def someone_sets(play: Play, target: tuple[str, str], instance: Instance) -> None:
    """Let somebody else change an instance, and the switcher see it."""
    play.balancer.instances[target] = instance
    play.pass_time(SECOND)


# -- draining and closing ----------------------------------------------------------------------


def test_what_is_out_drains_for_a_moment_before_it_is_closed() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    play.pass_time(DRAINED_AFTER_US - 1)
    assert play.gate("shop", "node-b") is Gate.DRAINING
    play.pass_time(1)
    assert play.gate("shop", "node-b") is Gate.CLOSED
    assert play.drifts == []


def test_a_plan_is_installed_when_nothing_new_goes_to_what_is_out() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    assert play.gate("shop", "node-b") is Gate.DRAINING
    assert play.applied[0] == ((1, 1), "installed")


def test_what_drains_by_plan_is_never_closed() -> None:
    play = settled(changed(CLUSTER, {"shop": {"node-b": DRAIN}}))
    assert play.gate("shop", "node-b") is Gate.DRAINING


def test_what_comes_back_before_it_was_closed_is_not_closed() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    play.pass_time(DRAINED_AFTER_US // 2)
    play.command((1, 2), HOME)
    play.pass_time(SECOND)
    assert play.gate("shop", "node-b") is Gate.OPEN
    assert Step(SHOP_B, Change.CLOSE) not in play.balancer.taken


# -- drift ------------------------------------------------------------------------------------


def test_a_weight_that_somebody_changed_is_said_and_repaired() -> None:
    play = settled()
    someone_sets(play, SHOP_B, Instance(Gate.OPEN, 7))
    (drift,) = play.drifts
    assert (drift.target, drift.wanted, drift.installed) == (
        "node-b",
        "serving, weight 100",
        "open, weight 7",
    )
    assert drift.repaired
    assert drift.by == "someone else"
    assert play.balancer.instances[SHOP_B].weight == 100


def test_an_instance_that_somebody_put_in_is_taken_out_again() -> None:
    play = settled(WITHOUT_B)
    someone_sets(play, SHOP_B, Instance(Gate.OPEN, 100))
    play.pass_time(SECOND)
    assert play.gate("shop", "node-b") is Gate.CLOSED
    assert [drift.repaired for drift in play.drifts] == [True]


def test_a_repair_is_said_only_when_it_was_read_back() -> None:
    play = settled()
    play.hold = (Apply,)
    someone_sets(play, SHOP_B, Instance(Gate.OPEN, 7))
    assert play.drifts == []
    play.release()
    assert len(play.drifts) == 1


def test_a_drift_that_keeps_coming_back_is_left_alone_for_a_while() -> None:
    play = settled()
    for _ in range(10):
        someone_sets(play, SHOP_B, Instance(Gate.OPEN, 7))
    assert [drift.repaired for drift in play.drifts] == [True, True, True, False]
    assert play.drifts[-1].by == "someone else: it keeps coming back"
    assert play.balancer.instances[SHOP_B].weight == 7
    play.pass_time(MINUTE)
    assert play.balancer.instances[SHOP_B].weight == 100


def test_one_war_does_not_keep_from_repairing_elsewhere() -> None:
    play = settled()
    for _ in range(10):
        someone_sets(play, SHOP_B, Instance(Gate.OPEN, 7))
    someone_sets(play, SHOP_A, Instance(Gate.OPEN, 7))
    assert play.balancer.instances[SHOP_A].weight == 100


def test_a_plan_is_installed_even_where_there_is_a_war() -> None:
    play = settled()
    for _ in range(10):
        someone_sets(play, SHOP_B, Instance(Gate.OPEN, 7))
    play.command((1, 2), WITHOUT_B)
    assert play.gate("shop", "node-b") is Gate.DRAINING


# -- restarts of the load balancer -------------------------------------------------------------


def test_a_restarted_load_balancer_gets_everything_again() -> None:
    play = settled(WITHOUT_B)
    play.balancer.restart(HOME)
    play.pass_time(2 * SECOND)
    assert play.gate("shop", "node-b") is Gate.CLOSED
    assert [(d.by, d.repaired) for d in play.drifts] == [("restart of the load balancer", True)]


def test_a_load_balancer_that_restarts_with_the_rules_in_force_is_no_drift() -> None:
    play = settled(WITHOUT_B)
    play.balancer.restart(*play.file)
    play.pass_time(2 * SECOND)
    assert play.drifts == []


def test_gates_that_a_restart_closed_are_ours_to_open() -> None:
    play = settled(HOME)
    play.balancer.restart(WITHOUT_B)
    play.pass_time(2 * SECOND)
    assert play.gate("shop", "node-b") is Gate.OPEN


def test_another_configuration_than_ours_is_replaced_and_the_plan_follows() -> None:
    play = Play()
    play.balancer.outdated = True
    play.hold = (Apply,)
    play.command((1, 1), WITHOUT_B)
    play.release()
    assert play.applied[-1] == ((1, 1), "verified")


def test_a_load_balancer_that_lacks_an_instance_is_told_its_configuration_again() -> None:
    play = Play()
    missing = play.balancer.instances.pop(SHOP_B)
    play.command((1, 1), WITHOUT_B)
    assert play.applied[-1] == ((1, 1), "failed")
    count = len(play.prepared)
    play.balancer.instances[SHOP_B] = missing
    play.pass_time(SECOND)
    assert len(play.prepared) >= count
    assert play.applied[-1] == ((1, 1), "verified")


# -- what somebody else closed -----------------------------------------------------------------


@pytest.mark.parametrize("gate", [Gate.CLOSED, Gate.DRAINING])
def test_a_gate_that_somebody_closed_is_left_alone_and_said_once(gate: Gate) -> None:
    play = settled()
    someone_sets(play, SHOP_B, Instance(gate, 100))
    play.pass_time(5 * SECOND)
    assert play.gate("shop", "node-b") is gate
    (drift,) = play.drifts
    assert (drift.repaired, drift.by) == (False, "someone else")


def test_a_gate_that_somebody_closed_stays_closed_over_plans_and_restarts_of_everybody() -> None:
    play = settled()
    someone_sets(play, SHOP_B, Instance(Gate.CLOSED, 100))
    play.command((1, 2), WITHOUT_B)
    play.command((1, 3), HOME)
    play.start()
    play.pass_time(2 * SECOND)
    assert play.gate("shop", "node-b") is Gate.CLOSED
    play.balancer.restart(*play.file)
    play.start()
    play.pass_time(2 * SECOND)
    play.command((1, 4), HOME)
    assert play.gate("shop", "node-b") is Gate.CLOSED
    assert play.applied[-1] == ((1, 4), "verified")


def test_a_gate_that_somebody_closed_and_opened_is_said_to_be_as_wanted_again() -> None:
    play = settled()
    someone_sets(play, SHOP_B, Instance(Gate.CLOSED, 100))
    someone_sets(play, SHOP_B, Instance(Gate.OPEN, 100))
    assert [drift.repaired for drift in play.drifts] == [False, True]


def test_an_installed_plan_names_what_it_left_alone_and_its_digest_differs() -> None:
    play = settled()
    someone_sets(play, SHOP_B, Instance(Gate.CLOSED, 100))
    play.command((1, 2), HOME)
    installed = next(m for m in play.said if isinstance(m, Applied))
    assert installed.detail == "left alone, because someone else closed it: shop/node-b"
    assert installed.digest != digest(HOME)


def test_what_we_closed_ourselves_is_opened_again_after_a_restart_in_between() -> None:
    play = settled(WITHOUT_B)
    play.hold = (Apply,)
    play.command((1, 2), HOME)
    play.hold = ()
    play.start()
    play.pass_time(SECOND)
    assert play.gate("shop", "node-b") is Gate.OPEN
    assert not any(isinstance(m, Drift) for m in play.said)


def test_a_restarted_switcher_does_not_take_somebodys_gate_for_its_own_old_one() -> None:
    play = settled(WITHOUT_B)
    play.command((1, 2), HOME)
    play.pass_time(2 * SECOND)
    play.balancer.instances[SHOP_B] = Instance(Gate.CLOSED, 100)
    play.start()
    play.pass_time(2 * SECOND)
    assert play.gate("shop", "node-b") is Gate.CLOSED


def test_a_service_is_not_left_empty_when_somebody_closed_what_a_plan_would_leave() -> None:
    play = settled()
    someone_sets(play, SHOP_B, Instance(Gate.CLOSED, 100))
    play.command((1, 2), WITHOUT_A)
    play.pass_time(SECOND)
    assert play.gate("shop", "node-a") is Gate.OPEN
    assert play.applied[-1] == ((1, 2), "failed")
    someone_sets(play, SHOP_B, Instance(Gate.OPEN, 100))
    play.pass_time(2 * SECOND)
    assert play.gate("shop", "node-a") is Gate.CLOSED
    assert play.applied[-1] == ((1, 2), "verified")


def test_what_somebody_closed_outlives_everybody_although_the_plan_cannot_arrive() -> None:
    play = settled(HOME)
    play.balancer.instances[SHOP_A] = Instance(Gate.CLOSED, 100)
    play.command((1, 2), WITHOUT_B)
    assert play.applied[-1] == ((1, 2), "failed")
    play.pass_time(2 * SECOND)
    play.balancer.restart(*play.file)
    play.state = play.start()
    play.pass_time(5 * SECOND)
    assert play.gate("shop", "node-a") is Gate.CLOSED


def test_the_file_keeps_closed_what_somebody_closed() -> None:
    play = settled()
    someone_sets(play, SHOP_B, Instance(Gate.CLOSED, 100))
    assert play.file == (HOME, frozenset({SHOP_B}))


# -- failures ---------------------------------------------------------------------------------


def test_a_load_balancer_that_does_not_answer_is_said_once_and_tried_again() -> None:
    play = Play()
    play.balancer.answers = False
    play.command((1, 1), WITHOUT_B)
    play.pass_time(5 * SECOND)
    assert play.applied == [((1, 1), "failed")]
    play.balancer.answers = True
    play.pass_time(2 * SECOND)
    assert play.applied[1:] == [((1, 1), "installed"), ((1, 1), "verified")]


def test_a_load_balancer_that_is_away_is_not_asked_all_the_time() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    play.balancer.answers = False
    play.hold = (Read,)
    reads = 0
    for _ in range(100):
        play.pass_time(100 * MILLISECOND)
        reads += len(play.held)
        held, play.held = play.held, []
        for action in held:
            play.perform(action)
    assert reads < 25


def test_a_change_that_does_not_show_is_a_failure() -> None:
    play = Play()
    play.hold = (Apply,)
    play.command((1, 1), WITHOUT_B)
    (apply,) = play.held
    play.hold, play.held = (), []
    assert isinstance(apply, Apply)
    play.perform(replace(apply, steps=()))
    said = [m for m in play.said if isinstance(m, Applied)]
    assert said[0].stage == "failed"
    assert "shop/node-b drain" in said[0].detail
    play.pass_time(SECOND)
    assert play.applied[-1] == ((1, 1), "verified")


def test_a_failed_verification_is_said_and_repeated_until_it_succeeds() -> None:
    play = Play()
    play.confirms = False
    play.command((1, 1), WITHOUT_B)
    assert play.applied == [((1, 1), "installed"), ((1, 1), "failed")]
    play.pass_time(SECOND)
    play.confirms = True
    play.pass_time(3 * SECOND)
    assert play.applied[-1] == ((1, 1), "verified")


def test_only_touched_services_are_asked_first_and_all_of_them_later() -> None:
    play = Play()
    play.hold = (Verify,)
    play.command((1, 1), WITHOUT_B)
    (first,) = (action for action in play.held if isinstance(action, Verify))
    assert set(first.rules) == {"shop"}
    play.release()
    play.hold = (Verify,)
    play.pass_time(6 * SECOND)
    (later,) = (action for action in play.held if isinstance(action, Verify))
    assert set(later.rules) == {"shop", "books"}


def test_a_later_failure_to_confirm_is_seen_by_its_age_only() -> None:
    play = settled()
    play.confirms = False
    play.pass_time(10 * SECOND)
    assert play.applied == []
    assert (play.measured.verified_age_us or 0) > 5 * SECOND


# -- what is said every second -----------------------------------------------------------------


def test_the_picture_is_said_every_second() -> None:
    play = settled(WITHOUT_B)
    play.said.clear()
    play.pass_time(10 * SECOND)
    assert len(play.said) == 10
    picture = play.measured
    assert (picture.epoch, picture.sequence) == (1, 1)
    assert picture.balancer_ok
    assert picture.digest == digest(WITHOUT_B)
    assert picture.installed == WITHOUT_B
    assert set(picture.services) == {"shop", "books"}


def test_the_picture_says_when_there_is_none() -> None:
    play = settled()
    play.balancer.answers = False
    play.pass_time(3 * SECOND)
    picture = play.measured
    assert (picture.balancer_ok, picture.balancer_detail, picture.digest) == (False, "frozen", "")


def test_a_mirrors_closed_second_is_standby_and_its_digest_is_the_original() -> None:
    play = settled()
    play.pass_time(SECOND)
    assert play.measured.installed["books"]["node-b"] == STANDBY
    assert play.measured.digest == digest(HOME)


def taken(play: Play) -> list[tuple[str, Change]]:
    """Return which steps were taken at which nodes, in their order."""
    return [(step.target[1], step.change) for step in play.balancer.taken]


def test_a_mirror_closes_before_it_opens_there_and_back() -> None:
    play = settled()
    play.command((1, 2), changed(CLUSTER, {"books": {"node-a": OUT, "node-b": SERVE}}))
    there = [("node-a", Change.DRAIN), ("node-b", Change.WEIGH), ("node-b", Change.OPEN)]
    assert taken(play) == there
    play.pass_time(SECOND)
    play.balancer.taken.clear()
    play.command((1, 3), HOME)
    assert taken(play) == [("node-b", Change.DRAIN), ("node-a", Change.OPEN)]


def test_takers_open_at_their_weight_before_leavers_drain_there_and_back() -> None:
    play = settled(WITHOUT_A)
    play.command((1, 2), changed(CLUSTER, {"shop": {"node-a": HALF, "node-b": OUT}}))
    there = [("node-a", Change.WEIGH), ("node-a", Change.OPEN), ("node-b", Change.DRAIN)]
    assert taken(play) == there
    play.pass_time(SECOND)
    play.balancer.taken.clear()
    play.command((1, 3), WITHOUT_A)
    assert taken(play) == [("node-b", Change.OPEN), ("node-a", Change.DRAIN)]
