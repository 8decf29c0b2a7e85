"""A fault that was not there proves nothing: each kind's lack is seen."""

import pytest

from benchmarks.peers.faults import (
    unless_cut,
    unless_dead,
    unless_frozen,
    unless_gone,
    unless_stopped,
)
from services.sandbox.cuts import Way
from services.sandbox.faults import Condition

WIRES = ("cluster", "clients")
VICTIMS = frozenset({"7", "8"})


def condition(
    *,
    processes: dict[str, str] | None = None,
    dropped: dict[str, dict[str, int]] | None = None,
    carrier: bool = True,
) -> Condition:
    return Condition(
        carrier=dict.fromkeys(WIRES, carrier),
        dropped=dropped or {},
        processes={"9": "S"} if processes is None else processes,
    )


def test_a_killed_program_is_gone() -> None:
    assert unless_gone(condition(), VICTIMS) is None
    assert unless_gone(condition(processes={"8": "S"}), VICTIMS) is not None
    # Who had no process cannot have been killed.
    assert unless_gone(condition(), frozenset()) is not None


def test_a_hung_program_is_stopped_with_all_its_processes() -> None:
    assert unless_stopped(condition(processes={"7": "T", "8": "T", "9": "S"}), VICTIMS) is None
    assert unless_stopped(condition(processes={"7": "T", "8": "S"}), VICTIMS) is not None
    assert unless_stopped(condition(processes={"7": "T"}), VICTIMS) is not None
    assert unless_stopped(condition(), frozenset()) is not None


@pytest.mark.parametrize("way", Way)
def test_a_cut_has_dropped_frames_on_every_network_and_carrier_stayed(way: Way) -> None:
    wanted = {"in": 3, "out": 4} if way is Way.BOTH else {way.value: 3}
    dropped = {wire: dict(wanted) for wire in WIRES}
    assert unless_cut(condition(dropped=dropped), way) is None
    assert unless_cut(condition(dropped=dropped, carrier=False), way) is not None
    assert unless_cut(condition(), way) is not None
    for wire in WIRES:
        for one in wanted:
            lacking = {each: dict(counted) for each, counted in dropped.items()}
            lacking[wire][one] = 0
            assert unless_cut(condition(dropped=lacking), way) is not None


def test_a_node_without_power_has_no_process_and_no_carrier() -> None:
    assert unless_dead(condition(processes={}, carrier=False)) is None
    assert unless_dead(condition(processes={})) is not None
    assert unless_dead(condition(carrier=False)) is not None


def test_a_frozen_node_has_processes_and_all_are_stopped() -> None:
    assert unless_frozen(condition(processes={"7": "T", "8": "T"})) is None
    assert unless_frozen(condition(processes={"7": "T", "8": "S"})) is not None
    assert unless_frozen(condition(processes={})) is not None
