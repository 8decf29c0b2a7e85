"""What a switcher counts and shows, and what makes it say that it is not ready."""

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from services.traffic_switcher.core.installed import Gate
from services.traffic_switcher.core.leases.state import BalancerChanged, GuardBroken, Memory
from services.traffic_switcher.core.measures import (
    Counts,
    LeaseCounts,
    counted,
    lease_counted,
    lease_measures,
    measures,
)
from services.traffic_switcher.core.readiness import lease_readiness, readiness
from shared.health import Check
from shared.instant import SECOND
from shared.measures import Histogram, Labels, Measure, Value
from shared.messages.leases import NO_TERM
from tests.unit.traffic_switcher.lease_play import LEASE_US, LeasePlay, here, there
from tests.unit.traffic_switcher.play import OUT, Play, changed

TERM = (1, 7)


def named(found: Iterable[Measure], name: str) -> dict[Labels, Value]:
    return next(dict(one.samples) for one in found if one.name == name)


def shown(play: Play, name: str) -> dict[Labels, Value]:
    return named(measures(play.state, reduce(counted, play.said, Counts())), name)


def shown_of_leases(play: LeasePlay, name: str) -> dict[Labels, Value]:
    counts = reduce(lease_counted, play.said, LeaseCounts())
    return named(lease_measures(play.state, counts, play.now), name)


def failures(checks: Iterable[Check]) -> dict[str, str]:
    return {check.name: check.failure for check in checks if check.failure}


def holding() -> LeasePlay:
    """Return a node that holds `web`."""
    play = LeasePlay(Memory(epoch=1))
    play.follow(TERM, {"web": here(TERM), "api": there(TERM)})
    play.pass_time(SECOND // 10)
    play.hear({"web": TERM})
    assert play.is_open("web")
    return play


def test_a_plan_is_counted_once_however_often_its_command_is_repeated() -> None:
    play = Play()
    rules = changed(play.cluster, {"shop": {"node-b": OUT}})
    for _ in range(3):
        play.command((1, 2), rules)
        play.pass_time(SECOND // 10)
    assert len(play.applied) > 2
    assert shown(play, "applied_total") == {("installed",): 1, ("verified",): 1, ("failed",): 0}
    length = shown(play, "plan_step_seconds")["install",]
    assert isinstance(length, Histogram)
    assert sum(length.counts) == 1
    assert shown(play, "plan_epoch")[()] == 1
    assert shown(play, "plan_installed")[()] == 1


def test_an_older_plan_is_counted_as_refused() -> None:
    play = Play()
    rules = changed(play.cluster, {})
    play.command((2, 1), rules)
    play.command((1, 9), rules)
    assert shown(play, "refused_total")[()] == 1


def test_what_somebody_closed_by_hand_is_drift_until_it_is_undone() -> None:
    play = Play()
    play.command((1, 1), changed(play.cluster, {}))
    play.pass_time(SECOND)
    before = play.balancer.instances["shop", "node-b"]
    assert set(shown(play, "rule_drift").values()) == {0}
    play.balancer.instances["shop", "node-b"] = replace(before, gate=Gate.CLOSED)
    play.pass_time(3 * SECOND)
    assert shown(play, "rule_drift")["shop", "node-b"] == 1
    play.balancer.instances["shop", "node-b"] = before
    play.pass_time(3 * SECOND)
    assert set(shown(play, "rule_drift").values()) == {0}


def test_a_switcher_is_ready_when_its_load_balancer_shows_its_rules() -> None:
    play = Play()
    play.pass_time(SECOND)
    assert failures(readiness(play.state, play.now)) == {}


def test_a_load_balancer_that_does_not_answer_is_a_failure() -> None:
    play = Play()
    play.pass_time(SECOND)
    play.balancer.answers = False
    play.pass_time(3 * SECOND)
    assert "haproxy" in failures(readiness(play.state, play.now))
    assert shown(play, "plan_installed")[()] == 0


def test_a_full_disk_is_a_failure() -> None:
    play = Play()
    play.pass_time(SECOND)
    play.disk_full = True
    play.command((1, 1), changed(play.cluster, {}))
    assert "state directory" in failures(readiness(play.state, play.now))["plan"]


def test_a_vip_is_held_as_long_as_the_kernel_was_told() -> None:
    play = holding()
    assert shown_of_leases(play, "vip_held") == {("web", "node-a"): 1, ("api", "node-a"): 0}
    rest_s = shown_of_leases(play, "lease_rest_seconds")["web",]
    assert isinstance(rest_s, float)
    assert 0 < rest_s <= LEASE_US / SECOND
    assert shown_of_leases(play, "vip_changes_total")["web", "taken"] == 1
    play.now += LEASE_US  # and nobody renewed it
    assert shown_of_leases(play, "vip_held")["web", "node-a"] == 0
    play.pass_time(SECOND)
    assert shown_of_leases(play, "vip_changes_total")["web", "lapsed"] == 1


def test_a_node_that_can_hold_vips_is_ready() -> None:
    assert failures(lease_readiness(holding().state)) == {}


def test_a_dead_load_balancer_and_a_broken_guard_are_failures() -> None:
    play = holding()
    play.feed(BalancerChanged("dead: haproxy is not running"))
    play.kernel.refuses = "no capability"
    play.feed(GuardBroken("somebody flushed the ruleset"))
    found = failures(lease_readiness(play.state))
    assert found["balancer"] == "dead: haproxy is not running"
    assert found["guard"]
    assert play.state.vips["web"].floor > NO_TERM
    assert shown_of_leases(play, "vip_held")["web", "node-a"] == 0
