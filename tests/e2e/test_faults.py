"""Faults of whole members: each is really there, is seen in the kernel, and ends."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from services.sandbox.control import SOCKET, ControlClient
from services.sandbox.cuts import Way
from services.sandbox.faults import Condition, Reach
from services.sandbox.network import Wire
from services.sandbox.supervisor import Stage
from shared.errors import MachineError
from tests.e2e.running import RunningSandbox, running_sandbox, wait_until
from tests.eventually import PATIENCE_US

pytestmark = pytest.mark.sandbox

Found = TypeVar("Found")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox("--only", "infrastructure", "--rate", "100") as running:
        yield running


def asked(running: RunningSandbox, question: Callable[[ControlClient], Awaitable[Found]]) -> Found:
    async def ask() -> Found:
        control = await ControlClient.connect(running.folder / SOCKET)
        try:
            return await question(control)
        finally:
            control.close()

    return asyncio.run(ask())


def condition(running: RunningSandbox, member: str) -> Condition:
    return asked(running, lambda control: control.condition(member))


def reach(running: RunningSandbox, wire: Wire) -> Reach:
    other = "witness" if wire is Wire.CLUSTER else "client"
    return asked(running, lambda control: control.reach("node-b", other, wire))


BOTH = Reach(there=True, back=True)


def test_a_node_without_faults_has_carrier_and_is_reached(sandbox: RunningSandbox) -> None:
    found = condition(sandbox, "node-b")
    assert found.carrier == {"cluster": True, "clients": True}
    assert found.dropped == {}
    assert not found.frozen
    assert not found.dead
    assert [reach(sandbox, wire) for wire in Wire] == [BOTH, BOTH]


@pytest.mark.parametrize("wire", Wire)
def test_a_cable_that_is_taken_away_takes_carrier_with_it(
    sandbox: RunningSandbox, wire: Wire
) -> None:
    asked(sandbox, lambda control: control.link("node-b", up=False, wires=[wire]))
    try:
        found = condition(sandbox, "node-b")
        assert found.carrier == {each.value: each is not wire for each in Wire}
        assert reach(sandbox, wire) == Reach(there=False, back=False)
        assert all(reach(sandbox, each) == BOTH for each in Wire if each is not wire)
    finally:
        asked(sandbox, lambda control: control.link("node-b", up=True, wires=[wire]))
    wait_until(
        lambda: condition(sandbox, "node-b").carrier == {"cluster": True, "clients": True},
        "carrier is back",
    )
    wait_until(lambda: reach(sandbox, wire) == BOTH, "frames come through again")


@pytest.mark.parametrize(
    ("way", "left"),
    [
        (Way.BOTH, Reach(there=False, back=False)),
        (Way.IN, Reach(there=True, back=False)),
        (Way.OUT, Reach(there=False, back=True)),
    ],
)
def test_a_cut_drops_what_it_says_and_nothing_else(
    sandbox: RunningSandbox, way: Way, left: Reach
) -> None:
    span = asked(sandbox, lambda control: control.cut("node-b", way))
    try:
        assert span.begin_at <= span.end_at
        assert [reach(sandbox, wire) for wire in Wire] == [left, left]
        found = condition(sandbox, "node-b")
        assert found.carrier == {"cluster": True, "clients": True}  # nobody is told
        for wire in Wire:
            dropped = found.dropped[wire.value]
            assert set(dropped) == ({"in", "out"} if way is Way.BOTH else {way.value})
            assert min(dropped.values()) > 0
    finally:
        asked(sandbox, lambda control: control.do("heal", "node-b"))
    assert condition(sandbox, "node-b").dropped == {}
    for wire in Wire:
        wait_until(lambda wire=wire: reach(sandbox, wire) == BOTH, "frames come through again")  # type: ignore[misc]


def test_a_cable_that_loses_every_other_frame_lets_the_others_through(
    sandbox: RunningSandbox,
) -> None:
    asked(sandbox, lambda control: control.cut("node-b", Way.OUT, [Wire.CLUSTER], one_in=2))
    try:
        # That all fare alike has a probability of two in 2**32.
        found = [reach(sandbox, Wire.CLUSTER) for _ in range(32)]
        assert all(each.back for each in found)
        assert {each.there for each in found} == {True, False}
        lost = sum(not each.there for each in found)
        assert condition(sandbox, "node-b").dropped["cluster"]["out"] >= lost
        assert reach(sandbox, Wire.CLIENTS) == BOTH
    finally:
        asked(sandbox, lambda control: control.do("heal", "node-b"))


def test_a_frozen_node_has_no_process_that_runs_until_it_is_thawed(
    sandbox: RunningSandbox,
) -> None:
    before = condition(sandbox, "node-b").processes
    asked(sandbox, lambda control: control.do("freeze", "node-b"))
    try:
        wait_until(lambda: condition(sandbox, "node-b").frozen, "every process is stopped")
        # Two processes of HAProxy, and two instances.
        assert condition(sandbox, "node-b").processes.keys() == before.keys()
        assert len(before) >= 4
        assert not condition(sandbox, "node-a").frozen
    finally:
        asked(sandbox, lambda control: control.do("thaw", "node-b"))
    wait_until(lambda: "T" not in condition(sandbox, "node-b").processes.values(), "all run")
    assert condition(sandbox, "node-b").processes.keys() == before.keys()


def test_a_killed_node_stays_dead_until_it_is_revived(sandbox: RunningSandbox) -> None:
    names = [name for name in sandbox.control.programs() if name.startswith("node-b/")]
    asked(sandbox, lambda control: control.do("kill", "node-b"))
    try:
        wait_until(lambda: condition(sandbox, "node-b").dead, "no process is left")
        for name in names:
            sandbox.control.until_stage(name, Stage.HELD, PATIENCE_US)
        assert not condition(sandbox, "node-a").dead
    finally:
        asked(sandbox, lambda control: control.do("revive", "node-b"))
    sandbox.control.until_ready(PATIENCE_US, names)


@pytest.mark.parametrize(
    ("verb", "wish", "said"),
    [
        ("freeze", {"member": "node-z"}, "no member 'node-z'"),
        ("cut", {"member": "node-a", "way": "sideways"}, "sideways"),
        ("cut", {"member": "node-a", "way": "in", "one_in": 0}, "one frame in 0"),
        ("link", {"member": "node-a", "up": False, "wires": ["moon"]}, "moon"),
        ("reach", {"member": "node-a", "other": "client", "wire": "cluster"}, "not on the network"),
    ],
)
def test_a_senseless_fault_is_refused(
    sandbox: RunningSandbox, verb: str, wish: dict[str, object], said: str
) -> None:
    with pytest.raises(MachineError, match=said):
        sandbox.control.ask(verb, **wish)
