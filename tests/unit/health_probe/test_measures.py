"""What an observer counts, and what makes it say that it is not ready."""

from services.health_probe.core.events import Ended
from services.health_probe.core.measures import Tally, measures
from services.health_probe.core.readiness import SILENT_US, readiness
from shared.health import is_well
from shared.instant import MILLISECOND, SECOND
from shared.measures import Histogram
from shared.messages.health import Sign
from tests.unit.health_probe.observed import HERE, THERE, World, bad, ok


def test_probes_are_counted_by_what_they_met() -> None:
    tally = Tally()
    for outcome in (ok(3 * MILLISECOND), ok(4 * MILLISECOND), bad(Sign.REFUSED)):
        tally.add(Ended(target=HERE, number=1, outcome=outcome, late_us=0), SECOND)
    found = {one.name: one for one in measures(World().state.instances, tally)}
    assert found["probe_results_total"].samples["shop", "a", "ok"] == 2
    assert found["probe_results_total"].samples["shop", "a", "refused"] == 1
    assert found["probe_results_total"].samples["shop", "b", "ok"] == 0
    length = found["probe_duration_seconds"].samples["shop", "a"]
    assert isinstance(length, Histogram)
    assert length.total_us == 8 * MILLISECOND


def test_what_is_concluded_is_shown() -> None:
    world = World()
    world.behave(THERE, bad(Sign.REFUSED))
    world.run_until_healthy()
    found = {one.name: one.samples for one in measures(world.state.instances, Tally())}
    assert found["probe_healthy"] == {("shop", "a"): 1, ("shop", "b"): 0}
    assert found["probe_abstains"] == {("shop", "a"): 0, ("shop", "b"): 0}


def test_an_observer_is_ready_as_long_as_probes_end() -> None:
    world = World()
    world.run_until_healthy()
    instances = world.state.instances
    assert is_well(readiness(instances, world.now, world.now + SILENT_US))
    assert not is_well(readiness(instances, world.now, world.now + SILENT_US + 1))
    assert not is_well(readiness(instances, None, world.now))


def test_the_trouble_of_an_instance_is_not_the_observers() -> None:
    world = World()
    world.behave(HERE, bad(Sign.REFUSED))
    world.behave(THERE, bad(Sign.REFUSED))
    world.run(SECOND)
    assert is_well(readiness(world.state.instances, world.now, world.now))


def test_who_cannot_probe_anything_is_not_ready_and_says_why() -> None:
    world = World()
    world.behave(THERE, bad(Sign.NOTHING))
    world.run_until_healthy()
    some = {one.name: one for one in readiness(world.state.instances, world.now, world.now)}
    assert some["vouches"].failure == ""
    assert "shop on b" in some["vouches"].note
    world.behave(HERE, bad(Sign.NOTHING))
    world.run(SECOND)
    all_of_them = {one.name: one for one in readiness(world.state.instances, world.now, world.now)}
    assert "abstains from all" in all_of_them["vouches"].failure
