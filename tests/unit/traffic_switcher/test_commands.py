"""Rules 1 to 4: the fence, what no switcher follows, and the order of things."""

from typing import Any

import pytest

from services.traffic_switcher.core import coalesced, decide, is_current, start
from services.traffic_switcher.core.installed import Gate
from services.traffic_switcher.core.state import (
    Apply,
    Commanded,
    Memory,
    Persist,
    Prepare,
    Read,
    Tick,
    Verify,
)
from shared.instant import MILLISECOND, SECOND
from shared.messages.traffic import Applied, Failback, Failover
from shared.rules import digest, original
from tests.unit.traffic_switcher.play import (
    DRAIN,
    OUT,
    SERVE,
    Balancer,
    Play,
    begun_with,
    changed,
    cluster,
    plan,
    service,
)

CLUSTER = cluster()
WITHOUT_B = changed(CLUSTER, {"shop": {"node-b": OUT}})
FAILED_OVER = changed(CLUSTER, {"books": {"node-a": OUT, "node-b": SERVE}})


def test_a_plan_is_persisted_then_installed_then_verified() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    assert play.applied == [((1, 1), "installed"), ((1, 1), "verified")]
    assert play.disk is not None
    assert play.disk.fence == (1, 1)
    assert play.gate("shop", "node-b") is Gate.DRAINING
    assert play.gate("shop", "node-a") is Gate.OPEN


def test_nothing_is_touched_before_the_plan_is_on_the_disk() -> None:
    play = Play()
    play.hold = (Persist,)
    play.command((1, 1), WITHOUT_B)
    play.pass_time(5 * SECOND)
    assert play.balancer.taken == []
    assert play.state.memory.fence == (0, 0)
    play.release()
    assert play.applied[0] == ((1, 1), "installed")


def test_the_load_balancer_is_asked_before_the_disk_is_waited_for_and_not_again_after_it() -> None:
    play = Play()
    play.hold = (Read,)
    play.command((1, 1), WITHOUT_B)
    assert [type(action) for action in play.held] == [Read]
    assert play.state.memory.fence == (1, 1)
    assert play.balancer.taken == []
    play.release()
    assert play.applied[0] == ((1, 1), "installed")
    _, actions = decide(Play().state, Commanded(Failover(plan=plan((1, 1), WITHOUT_B))), play.now)
    assert [type(action) for action in actions] == [Read, Persist]


def test_installed_is_said_with_the_digest_that_was_read_back() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    (first, *_) = (m for m in play.said if isinstance(m, Applied))
    assert first.digest == digest(WITHOUT_B)


def test_a_plan_of_a_lower_number_is_refused_and_told_the_fence() -> None:
    play = Play()
    play.command((2, 1), WITHOUT_B)
    taken = list(play.balancer.taken)
    play.command((1, 9), original(CLUSTER))
    (refused,) = play.refusals
    assert (refused.fence_epoch, refused.fence_sequence) == (2, 1)
    assert refused.reason == "older than the plan in force here"
    assert play.balancer.taken == taken


def test_a_refusal_is_not_repeated_for_every_repetition() -> None:
    play = Play()
    play.command((2, 1), WITHOUT_B)
    for _ in range(10):
        play.command((1, 9), original(CLUSTER))
    assert len(play.refusals) == 1
    play.pass_time(SECOND)
    play.command((1, 9), original(CLUSTER))
    assert len(play.refusals) == 2


def test_a_repeated_command_is_acknowledged_again_and_changes_nothing() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    taken, disk = list(play.balancer.taken), play.disk
    play.command((1, 1), WITHOUT_B)
    assert play.applied[-1] == ((1, 1), "verified")
    assert (play.balancer.taken, play.disk) == (taken, disk)


def test_a_command_repeated_while_it_is_carried_out_is_not_carried_out_twice() -> None:
    play = Play()
    play.hold = (Apply,)
    play.command((1, 1), WITHOUT_B)
    play.command((1, 1), WITHOUT_B)
    assert len(play.held) == 1
    play.release()
    assert play.applied == [((1, 1), "installed"), ((1, 1), "verified")]


def test_another_plan_of_the_same_number_is_refused() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    play.command((1, 1), original(CLUSTER))
    assert play.refusals[0].reason == "another plan of the same number is in force here"
    assert play.gate("shop", "node-b") is Gate.DRAINING


def test_a_plan_that_leaves_a_service_with_nothing_is_refused() -> None:
    play = Play()
    play.command((1, 1), changed(CLUSTER, {"shop": {"node-a": OUT, "node-b": DRAIN}}))
    assert play.refusals[0].reason == "shop would be left with no serving instance"
    assert play.disk is None or play.disk.plan is None


@pytest.mark.parametrize(
    ("rules", "what", "difference"),
    [
        (
            {"shop": original(CLUSTER)["shop"]},
            "services differ",
            "without books",
        ),
        (
            {**original(CLUSTER), "pub": {"node-a": SERVE}},
            "services differ",
            "with unknown pub",
        ),
        (
            {**original(CLUSTER), "shop": {"node-a": SERVE, "node-c": SERVE}},
            "nodes of shop differ",
            "without node-b and with unknown node-c",
        ),
    ],
)
def test_a_plan_for_another_configuration_is_refused(
    rules: Any,
    what: str,
    difference: str,
) -> None:
    play = Play()
    play.command((1, 1), rules)
    assert play.refusals[0].reason == f"{what} from the configuration here: {difference}"
    assert play.balancer.taken == []


def test_steps_of_an_overtaken_plan_are_not_sent() -> None:
    play = Play()
    play.hold = (Apply,)
    play.command((1, 1), WITHOUT_B)
    (begun,) = play.held
    play.hold = ()
    play.held = []
    play.command((1, 2), original(CLUSTER))
    assert isinstance(begun, Apply)
    assert not is_current(play.state, begun.number)
    play.perform(begun)
    assert play.gate("shop", "node-b") is Gate.OPEN
    assert play.applied == [((1, 2), "installed"), ((1, 2), "verified")]


def test_what_becomes_of_an_overtaken_plan_is_not_said() -> None:
    play = Play()
    play.hold = (Verify,)
    play.command((1, 1), WITHOUT_B)
    old = list(play.held)
    play.hold = (Read,)
    play.command((1, 2), original(CLUSTER))
    for action in old:
        play.perform(action)
    assert play.applied == [((1, 1), "installed")]


def test_a_newer_plan_is_applied_while_an_older_is_being_verified() -> None:
    play = Play()
    play.hold = (Verify,)
    play.command((1, 1), WITHOUT_B)
    play.command((1, 2), original(CLUSTER))
    assert play.gate("shop", "node-b") is Gate.OPEN
    assert [a for a in play.held if isinstance(a, Verify)][-1].number == (1, 2)


def test_a_full_disk_keeps_what_is_in_force_and_is_said() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    taken = list(play.balancer.taken)
    play.disk_full = True
    play.command((1, 2), original(CLUSTER))
    assert play.applied[-1] == ((1, 2), "failed")
    said = play.said[-1]
    assert isinstance(said, Applied)
    assert said.detail == "not persisted: disk full"
    assert play.balancer.taken == taken
    assert play.state.memory.fence == (1, 1)


def test_a_full_disk_is_not_tried_for_every_repetition_but_later_again() -> None:
    play = Play()
    play.disk_full = True
    play.command((1, 2), WITHOUT_B)
    play.disk_full = False
    play.command((1, 2), WITHOUT_B)
    assert play.applied == [((1, 2), "failed")]
    play.pass_time(SECOND)
    play.command((1, 2), WITHOUT_B)
    assert play.applied[-1] == ((1, 2), "verified")


def test_a_burst_of_commands_is_reduced_to_the_newest() -> None:
    events = [Commanded(Failover(plan=plan((1, n), WITHOUT_B))) for n in (1, 3, 2)]
    burst = coalesced((events[0], Tick(), events[1], events[2]))
    assert burst == (Tick(), events[1])


def test_a_burst_without_commands_stays_as_it_is() -> None:
    assert coalesced((Tick(), Tick())) == (Tick(), Tick())


def test_a_restarted_switcher_applies_its_plan_again() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    play.pass_time(SECOND)
    play.balancer = Balancer(begun_with(original(CLUSTER)), process="2@1")
    play.start()
    assert play.applied[-1] == ((1, 1), "verified")
    play.pass_time(SECOND)
    assert play.gate("shop", "node-b") is Gate.CLOSED


def test_a_restarted_switcher_refuses_what_it_refused_before() -> None:
    play = Play()
    play.command((3, 3), WITHOUT_B)
    play.start()
    play.command((3, 2), original(CLUSTER))
    assert len(play.refusals) == 1


def test_a_new_member_touches_nothing_until_it_is_told() -> None:
    play = Play()
    play.balancer = Balancer(begun_with(FAILED_OVER))
    play.start()
    play.pass_time(5 * SECOND)
    assert play.balancer.taken == []
    assert play.applied == []
    assert play.prepared[-1].keep


def test_a_plan_of_an_older_configuration_holds_where_it_fits_and_stays_the_fence() -> None:
    before = cluster(service("shop"))
    old = plan((4, 2), changed(before, {"shop": {"node-b": OUT}}))
    state = start(CLUSTER, "node-a", "boot", Memory(plan=old), 0)
    assert state.memory.fence == (4, 2)
    play = Play(remembered=Memory(plan=old, process="1@1", ours=frozenset({("shop", "node-b")})))
    play.pass_time(SECOND)
    assert play.gate("shop", "node-b") is Gate.CLOSED
    assert play.gate("books", "node-a") is Gate.OPEN
    assert play.gate("books", "node-b") is Gate.CLOSED


def test_durations_of_the_phases_are_said() -> None:
    play = Play()
    play.hold = (Read,)
    play.command((1, 1), WITHOUT_B)
    play.now += 3 * MILLISECOND
    play.release()
    said = [m for m in play.said if isinstance(m, Applied)]
    assert (said[0].persist_us, said[0].install_us) == (0, 3 * MILLISECOND)


def test_a_failover_for_an_incident_is_traced_with_a_child_for_each_step() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B, incident="7K2F")
    whole, *parts, verify = play.traced
    assert (whole.name, whole.parent, whole.key) == ("switch node-a", "switch", "switch/node-a/1.1")
    assert [part.name for part in parts] == ["shop/node-b drain"]
    assert all(part.parent == whole.key for part in parts)
    assert (verify.name, verify.parent) == ("verify node-a", "verify")


def test_a_step_of_a_failback_is_traced_under_the_failback() -> None:
    play = Play()
    back = plan((1, 1), original(CLUSTER), incident="7K2F")
    play.feed(Commanded(Failback(plan=back)))
    assert {trace.parent for trace in play.traced} == {"failback"}


def test_a_plan_without_an_incident_is_not_traced() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    assert play.traced == []


def test_the_file_is_written_with_the_rules_in_force() -> None:
    play = Play()
    play.command((1, 1), WITHOUT_B)
    play.pass_time(SECOND)
    assert play.prepared[-1] == Prepare(WITHOUT_B, frozenset(), keep=False)
