"""Plays drills on a sandbox that runs, from a test."""

import asyncio
import json
from collections.abc import Mapping
from math import sqrt
from typing import Any

from services.sandbox.audit import distribution
from services.sandbox.drills.catalogue.drill import Aim, Drill
from services.sandbox.drills.play import PATIENCE, Patience, Play, until_fit
from services.sandbox.drills.report import DrillResult
from services.sandbox.drills.scene import Scene
from services.sandbox.records import Record
from shared.clock import SystemClock
from shared.instant import SECOND, Duration
from tests.e2e.running import RunningSandbox
from tests.fakes.nobody import Nobody

FIT_WITHIN_US: Duration = 60 * SECOND
# How far a count may lie from what is expected, in standard deviations of fair chance. HAProxy
# takes turns and is far more even; at 5, chance alone fails once in 1.7 million.
DEVIATIONS_MAX = 5


def played(
    running: RunningSandbox,
    drill: Drill,
    aim: Aim,
    patience: Patience = PATIENCE,
    *,
    fit: bool = True,
) -> DrillResult:
    """Play one drill, once the cluster is fit for it, or as it is."""
    return asyncio.run(_play(running, drill, aim, patience, fit=fit))


async def _play(
    running: RunningSandbox, drill: Drill, aim: Aim, patience: Patience, *, fit: bool
) -> DrillResult:
    scene = await Scene.open(running.folder, SystemClock())
    try:
        if fit:
            await until_fit(scene, Nobody(), FIT_WITHIN_US)
        scene.drop()
        play = Play(
            scene=scene,
            drill=drill,
            aim=aim,
            audience=Nobody(),
            patience=patience,
            findings=[],
        )
        return await play.run()
    finally:
        scene.close()


def until_ready_for_drills(running: RunningSandbox) -> None:
    """Wait until everything serves, matches, and is as originally set."""

    async def wait() -> None:
        scene = await Scene.open(running.folder, SystemClock())
        try:
            await until_fit(scene, Nobody(), FIT_WITHIN_US)
        finally:
            scene.close()

    asyncio.run(wait())


def said(running: RunningSandbox, *words: str) -> Mapping[str, Any]:
    """Return what the command line answers, as JSON."""
    code, out, talk = running.equipoise(*words, "-o", "json")
    assert code == 0, talk
    answer: dict[str, Any] = json.loads(out)
    return answer


def assert_share(records: list[Record], service: str, shares: Mapping[str, float]) -> None:
    """Hold the requests for a service against the shares, as closely as chance would lie."""
    counts = distribution(records, service)
    total = sum(counts.values())
    assert total > 100, counts
    for node, share in shares.items():
        deviation = sqrt(total * share * (1 - share))
        assert abs(counts.get(node, 0) - total * share) <= DEVIATIONS_MAX * deviation, counts


def records_of(running: RunningSandbox, length_us: int) -> list[Record]:
    """Return the requests of the next stretch of time."""
    begin_at = SystemClock().now()
    records = running.recorded_until(begin_at + length_us)
    return [record for record in records if begin_at <= record.scheduled_at < begin_at + length_us]
