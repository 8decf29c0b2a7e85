"""The observers are proved: where a safety is taken out they see two holders, and else none."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.sandbox.control import ControlClient
from services.sandbox.cuts import Way
from services.sandbox.drills.scene import Scene
from services.sandbox.faults import Span
from services.sandbox.observers.judging import Watched
from shared.clock import SystemClock
from shared.instant import MILLISECOND, SECOND, Duration
from tests.e2e.running import RunningSandbox, running_sandbox

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

MOVED_WITHIN_US: Duration = 15 * SECOND
HELD_US: Duration = 1 * SECOND  # the fault goes on for so long after the VIP has moved
HOME_WITHIN_US: Duration = 60 * SECOND


async def freeze(control: ControlClient) -> Span:
    return await control.do("freeze", "node-a")


async def thaw(control: ControlClient) -> Span:
    return await control.do("thaw", "node-a")


async def cut(control: ControlClient) -> Span:
    return await control.cut("node-a", Way.BOTH)


async def heal(control: ControlClient) -> Span:
    return await control.do("heal", "node-a")


Act = Callable[[ControlClient], Awaitable[Span]]


def watched(running: RunningSandbox, inject: Act, undo: Act) -> Watched:
    """Lose node-a until its VIP has moved, and return what observers saw until it came home."""
    return asyncio.run(_watch(running, inject, undo))


async def _watch(running: RunningSandbox, inject: Act, undo: Act) -> Watched:
    scene = await Scene.open(running.folder, SystemClock())

    async def holder() -> str | None:
        vips = (await scene.console.status())["vips"]
        return next((vip["holder"] for vip in vips if vip["name"] == "web"), None)

    async def at_home() -> bool:
        return await holder() == "node-a"

    async def moved() -> bool:
        return await holder() == "node-b"

    try:
        assert await scene.until(at_home, HOME_WITHIN_US, 100 * MILLISECOND)
        scene.drop()
        await scene.clock.sleep(SECOND)
        span = await inject(scene.control)
        try:
            assert await scene.until(moved, MOVED_WITHIN_US, 20 * MILLISECOND)
            await scene.clock.sleep(HELD_US)
        finally:
            await undo(scene.control)
        await scene.until(at_home, HOME_WITHIN_US, 100 * MILLISECOND)
        found = await scene.observers.take(scene.clock.now(), span.begin_at)
        assert found is not None
        return found
    finally:
        scene.close()


@pytest.mark.parametrize(("inject", "undo"), [(freeze, thaw), (cut, heal)])
def test_with_everything_in_place_nobody_ever_holds_what_another_holds(
    inject: Act, undo: Act
) -> None:
    with running_sandbox("--rate", "100") as running:
        found = watched(running, inject, undo)
    assert found.unobserved == ()
    assert [overlap.text for overlap in found.overlaps] == []
    assert found.overlap_us == 0
    assert found.elsewhere_us["web"] is not None
    assert found.dark_us["web"] > 0


def test_without_the_guard_a_frozen_node_goes_on_answering_and_is_seen() -> None:
    with running_sandbox("--rate", "100", "--weak", "no-guard") as running:
        found = watched(running, freeze, thaw)
    assert found.overlap_us is not None
    assert found.overlap_us > 100 * MILLISECOND
    assert {overlap.seen_by for overlap in found.overlaps} == {"guards", "wire"}
    assert {overlap.holders for overlap in found.overlaps} == {("node-a", "node-b")}


def test_without_waiting_for_leases_a_node_that_is_cut_off_still_holds_and_is_seen() -> None:
    with running_sandbox("--rate", "100", "--weak", "no-lease-wait") as running:
        found = watched(running, cut, heal)
    assert found.overlap_us is not None
    assert found.overlap_us > 100 * MILLISECOND
    assert "guards" in {overlap.seen_by for overlap in found.overlaps}
