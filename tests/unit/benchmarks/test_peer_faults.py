"""A fault that was not there proves nothing: each kind's lack is seen."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from benchmarks.peers.faults import (
    INSTANCES,
    MOVING,
    Fault,
    deed,
    unless_cut,
    unless_dead,
    unless_frozen,
    unless_gone,
    unless_stopped,
)
from services.sandbox.cuts import Way
from services.sandbox.drills.console import Console
from services.sandbox.drills.scene import Clients, Observers, Scene
from services.sandbox.faults import Condition
from shared.clock import Clock
from shared.cluster import Cluster
from shared.instant import Duration, Instant
from tests.fakes.fake_control import FakeControl, snapshot

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


@dataclass
class Wire:
    """Who answers for the VIPs: a node without keepalived holds none."""

    control: FakeControl

    def answering(self) -> dict[str, str | None]:
        moved = "node-a/keepalived" not in self.control.nodes["node-a"].states
        return {"web": "node-b" if moved else "node-a", "api": "node-b"}


@dataclass
class Quick:
    """A clock that is always later."""

    at: Instant = field(default=0)

    def now(self) -> Instant:
        self.at += 1
        return self.at

    def wall(self) -> Instant:
        return self.at

    async def sleep(self, for_us: Duration) -> None:
        self.at += for_us


def scene(control: FakeControl) -> Scene:
    return Scene(
        folder=Path(),
        control=control,
        console=cast("Console", None),
        clients=cast("Clients", None),
        observers=cast("Observers", Wire(control)),
        cluster=cast("Cluster", None),
        clock=cast("Clock", Quick()),
        journals=dict,
    )


async def played(control: FakeControl, fault: Fault, *, made: bool) -> str | None:
    """Make a fault (or not), ask for its proof, and end it; return why it is not proved."""
    where = scene(control)
    before = snapshot(control)
    what = await deed(fault, where, "node-a", is_ours=False)
    if made:
        await what.make(where)
    why = await what.unproved(where)
    await what.end(where)
    assert snapshot(control) == before, "it did not end"
    assert control.held == set()
    return why


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_is_proved_when_it_is_there(fault: Fault) -> None:
    assert asyncio.run(played(FakeControl(), fault, made=True)) is None


@pytest.mark.parametrize("fault", Fault)
def test_no_fault_is_proved_when_it_was_never_made(fault: Fault) -> None:
    assert asyncio.run(played(FakeControl(), fault, made=False)) is not None


@pytest.mark.parametrize("fault", [*INSTANCES, *MOVING[:-1]])
def test_no_fault_is_proved_when_nobody_did_as_told(fault: Fault) -> None:
    assert asyncio.run(played(FakeControl(is_deaf=True), fault, made=True)) is not None


@pytest.mark.parametrize("fault", [Fault.CUT_NODE, Fault.CUT_NODE_IN])
def test_a_cut_through_which_nothing_would_have_gone_proves_nothing(fault: Fault) -> None:
    assert asyncio.run(played(FakeControl(is_idle=True), fault, made=True)) is not None
