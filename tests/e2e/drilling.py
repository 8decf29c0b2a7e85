"""Plays drills on a sandbox that runs, from a test."""

import asyncio

from services.sandbox.audit import Summary
from services.sandbox.drills.catalogue.drill import Aim, Drill, Injected
from services.sandbox.drills.play import PATIENCE, Patience, Play, until_fit
from services.sandbox.drills.report import DrillResult
from services.sandbox.drills.scene import Scene
from shared.api import IncidentView
from shared.clock import SystemClock
from shared.instant import SECOND, Duration
from tests.e2e.running import RunningSandbox

FIT_WITHIN_US: Duration = 60 * SECOND


class Nobody:
    """An audience that is not there."""

    def injected(self, words: str, injected: Injected) -> None:
        pass

    def handled(self, incident: IncidentView, felt: Summary) -> None:
        pass

    def healed(self, words: str) -> None:
        pass

    def waits(self, text: str) -> None:
        pass


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
