"""The simulation itself: it replays, it injects what it says, and calm weather is calm."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from shared.instant import SECOND
from tests.simulation.invariants import ALL, Violation
from tests.simulation.lost_nodes import OF_NODES
from tests.simulation.moments import Moment
from tests.simulation.run import simulated
from tests.simulation.weather import Fault
from tests.simulation.world import World

ROOT = Path(__file__).parents[2]
PROGRAM = "from tests.simulation.run import simulated; print(simulated(7).trace)"


def traced(hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_seed_replays_exactly() -> None:
    assert simulated(7).trace == simulated(7).trace
    assert simulated(7).trace != simulated(8).trace


def test_a_seed_replays_exactly_in_another_process_with_other_hashes() -> None:
    assert traced("1") == traced("2")


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_is_really_injected(fault: Fault) -> None:
    needed = {Fault.REPLAY: {Fault.INSTANCE_KILL}, Fault.CRASH_BETWEEN: {Fault.INSTANCE_KILL}}
    storm = frozenset({fault} | needed.get(fault, set()))
    for seed in range(5):
        outcome = simulated(seed, storm)
        assert not outcome.failure, outcome.told()
        if outcome.world.record.faults[fault]:
            return
    pytest.fail(f"{fault} was never injected")


def test_nothing_happens_in_calm_weather() -> None:
    for seed in range(5):
        outcome = simulated(seed, frozenset())
        counts = outcome.world.record.counts
        assert not outcome.failure, outcome.told()
        assert not outcome.world.record.faults
        assert counts["incidents"] == counts["steps"] == counts["plans"] == 0
        assert counts["beginnings"] == 1
        assert outcome.world.agenda.now > 10 * SECOND


SICK = frozenset(
    {
        Fault.PROBE_FREEZE,
        Fault.PROBE_CRASH,
        Fault.ARBITER_FREEZE,
        Fault.BUS_AWAY,
        Fault.DUPLICATION,
    }
)


# A node whose heartbeat stands *and* whose switcher's beats are cut off, late or stand as well is
# lost to everybody; one of the two alone is not.
@pytest.mark.parametrize(
    "faults",
    [
        {Fault.DELAY, Fault.CUT_ONE_WAY},
        {Fault.DELAY, Fault.STUTTER},
        {Fault.HEARTBEAT_FREEZE},
    ],
    ids=lambda faults: "-".join(sorted(faults)),
)
def test_sick_observers_and_a_sick_bus_move_nothing(faults: set[Fault]) -> None:
    for seed in range(10):
        outcome = simulated(seed, SICK | faults)
        assert not outcome.failure, outcome.told()
        assert outcome.world.record.counts["incidents"] == 0


def test_a_switcher_that_is_off_is_noticed() -> None:
    world = World(1, frozenset({Fault.INSTANCE_KILL}))
    for switcher in world.switchers.values():
        world.processes.remove(switcher)
    with pytest.raises(Violation, match="Convergence"):
        world.run()


def test_every_invariant_looks_at_some_moment() -> None:
    watch = World(0).watch
    looking = {
        type(getattr(look, "__self__", None))
        for kind in get_args(Moment)
        for look in watch.lookers(kind)
    }
    assert looking == {*ALL, *OF_NODES}
