"""What an arbiter counts and shows, and what makes it say that it is not ready."""

from dataclasses import replace
from functools import reduce

from services.arbiter.core.measures import CAUSES, OUTCOMES, Counts, counted, measures
from services.arbiter.core.own_readiness import STILL_US, own_readiness
from services.arbiter.core.state import Action, Say
from shared.health import is_well
from shared.instant import HOUR, SECOND
from shared.measures import Histogram, Labels, Value
from shared.messages.operator import Verb
from shared.messages.traffic import InstanceLoad
from tests.unit.arbiter.leasing import VipPlay
from tests.unit.arbiter.play import Play


def counts_of(play: Play) -> Counts:
    done: tuple[Action, ...] = (*play.orders, *map(Say, play.said))
    return reduce(counted, done, Counts())


def shown(play: Play, name: str) -> dict[Labels, Value]:
    """Return what a measure shows now."""
    found = {one.name: one for one in measures(play.state, counts_of(play), play.now)}
    return dict(found[name].samples)


def test_a_failover_is_counted_once_and_timed_phase_by_phase() -> None:
    play = Play(obedient=False)
    play.refuse("node-b")
    play.obedient = True
    play.pass_by(SECOND)
    assert shown(play, "decisions_total")["failover",] == 1
    assert shown(play, "incidents_total")["refused", "opened"] == 1
    assert shown(play, "incidents_open")[()] == 1
    timed = shown(play, "failover_duration_seconds")
    for phase in ("detect", "decide", "switch", "verify", "total"):
        length = timed[phase,]
        assert isinstance(length, Histogram)
        assert sum(length.counts) == 1, phase


def test_a_command_that_is_said_again_is_no_further_decision() -> None:
    play = Play()
    play.deaf.add("node-b")
    play.refuse("node-b")
    play.pass_by(SECOND)
    assert len([order for order in play.orders if "node-b" in order.to]) > 5
    assert shown(play, "decisions_total")["failover",] == 1


def test_a_return_closes_what_was_opened() -> None:
    play = Play()
    play.refuse("node-b")
    play.pass_by(SECOND)
    play.heal("node-b")
    play.pass_by(60 * SECOND)
    assert shown(play, "incidents_total")["refused", "closed"] == 1
    assert shown(play, "incidents_open")[()] == 0


def test_what_a_person_planned_is_no_failover_and_no_failure() -> None:
    play = Play()
    play.ask(Verb.FAILOVER, "node-b")
    play.pass_by(40 * SECOND)
    assert shown(play, "incidents_total")["planned", "opened"] == 1
    total = shown(play, "failover_duration_seconds")["total",]
    assert isinstance(total, Histogram)
    assert sum(total.counts) == 0


def test_the_last_instance_that_is_left_serving_is_held_back() -> None:
    play = Play()
    play.refuse("node-b")
    play.pass_by(SECOND)
    play.refuse("node-a")
    play.pass_by(SECOND)
    assert shown(play, "decisions_total")["held_back",] == 1
    assert shown(play, "service_instances")["shop", "held"] == 1
    assert shown(play, "service_instances")["shop", "home"] == 0


def test_labels_come_from_lists_whatever_happened() -> None:
    play = Play()
    play.hang("node-b")
    play.pass_by(5 * SECOND)
    play.lose("node-a")
    play.pass_by(5 * SECOND)
    known = {(cause, outcome) for cause in CAUSES for outcome in OUTCOMES}
    assert shown(play, "incidents_total").keys() == known


def test_shares_are_those_of_the_plan_and_of_the_counters() -> None:
    play = Play()
    play.pass_by(5 * SECOND)
    half = {("shop", "node-a"): 0.5, ("shop", "node-b"): 0.5}
    assert shown(play, "node_share_wanted_ratio") == half
    assert shown(play, "node_share_ratio") == half
    play.refuse("node-b")
    alone = {("shop", "node-a"): 1.0, ("shop", "node-b"): 0.0}
    assert shown(play, "node_share_wanted_ratio") == alone


def test_an_override_is_shown_until_its_end() -> None:
    play = Play()
    assert set(shown(play, "override_active").values()) == {0}
    play.ask(Verb.MAINTENANCE_START, "node-b", for_us=HOUR)
    assert shown(play, "override_active")["maintenance", "node-b"] == 1
    (ends,) = shown(play, "override_expires_timestamp_seconds").values()
    (standing,) = play.state.standing
    assert ends == standing.override.until_wall_us / SECOND


def test_a_vip_has_one_holder_and_none_once_its_lease_has_ended() -> None:
    play = VipPlay()
    play.pass_by(3 * SECOND)
    assert shown(play, "vip_holders") == {("api",): 1, ("web",): 1}
    assert sum(float(str(one)) for one in shown(play, "vip_granted").values()) == 2
    play.lose("node-a", "node-b")
    play.pass_by(3 * SECOND)
    assert shown(play, "vip_holders") == {("api",): 0, ("web",): 0}
    assert shown(play, "node_state")["node-a", "up"] == 0


def test_an_arbiter_that_looks_for_the_plan_is_not_ready_and_says_so() -> None:
    (check,) = own_readiness(None, 0)
    assert "plan in force" in check.failure


def test_an_arbiter_that_hears_its_nodes_is_ready() -> None:
    play = Play()
    assert is_well(own_readiness(play.state, play.now))


def test_an_arbiter_whose_time_stands_still_is_not_ready() -> None:
    play = Play()
    failed = {one.name: one.failure for one in own_readiness(play.state, play.now + 2 * STILL_US)}
    assert "starved" in failed["deciding"]


def test_an_arbiter_that_hears_no_switcher_is_not_ready() -> None:
    play = Play()
    play.lose("node-a", "node-b")
    play.pass_by(5 * SECOND)
    failed = {one.name: one.failure for one in own_readiness(play.state, play.now)}
    assert "node-a, node-b" in failed["switchers"]


def test_counters_that_are_not_told_every_time_are_no_requests() -> None:
    play = Play()
    play.loads["shop", "node-a"] = InstanceLoad(requests=10**9, errors=0, sessions=0, up=True)
    play.pass_by(5 * SECOND)
    shares = {("shop", "node-a"): 0.0, ("shop", "node-b"): 1.0}
    assert shown(play, "node_share_ratio") == shares
    whole = play.measured("node-a")
    without = {name: replace(load, instances={}) for name, load in whole.services.items()}
    for services in (without, without, without, whole.services):
        play.tell(replace(whole, services=services))
    assert shown(play, "node_share_ratio") == shares
