"""What holds of every engine: the real one, the fake one, and both of them behind the gate."""

import asyncio
from pathlib import Path

from services.health_probe.core.container import Phase
from tests.integration.docker.grounds import NAME, OTHER, Containers, listening


class EngineBehaviour:
    """Tests that each kind of engine runs."""

    def test_a_container_that_runs_is_seen_with_its_image(
        self, containers: Containers, socket: Path
    ) -> None:
        async def play() -> None:
            with listening(socket) as ear:
                await ear.until_phase(Phase.RUNNING)
                assert ear.newest.image is not None
                assert ear.newest.image.startswith("image sha256:")
                assert ear.newest.restarts == 0
                await ear.until(lambda: ear.troubles == [""])

        containers.run(NAME)
        asyncio.run(play())

    def test_a_kill_is_told_at_once_and_in_words(
        self, containers: Containers, socket: Path
    ) -> None:
        async def play() -> None:
            with listening(socket) as ear:
                await ear.until_phase(Phase.RUNNING)
                await ear.until(lambda: ear.troubles == [""])
                await asyncio.to_thread(containers.kill, NAME)
                await ear.until(lambda: any("died" in each.detail for each in ear.containers))
                died = next(each for each in ear.containers if "died" in each.detail)
                assert died.detail == f"container {NAME} died, exit code 137 (SIGKILL)"
                assert (died.phase, died.value) == (Phase.STOPPED, "exit code 137")
                await ear.until(lambda: "exited" in ear.newest.detail)

        containers.run(NAME)
        asyncio.run(play())

    def test_a_pause_is_told_and_its_end_too(self, containers: Containers, socket: Path) -> None:
        async def play() -> None:
            with listening(socket) as ear:
                await ear.until_phase(Phase.RUNNING)
                await ear.until(lambda: ear.troubles == [""])
                await asyncio.to_thread(containers.pause, NAME)
                await ear.until_phase(Phase.PAUSED)
                await asyncio.to_thread(containers.unpause, NAME)
                await ear.until_phase(Phase.RUNNING)

        containers.run(NAME)
        asyncio.run(play())

    def test_what_was_dead_before_we_came_is_seen(
        self, containers: Containers, socket: Path
    ) -> None:
        async def play() -> None:
            with listening(socket) as ear:
                await ear.until_phase(Phase.STOPPED)
                await asyncio.to_thread(containers.start, NAME)
                await ear.until_phase(Phase.RUNNING)

        containers.run(NAME)
        containers.kill(NAME)
        asyncio.run(play())

    def test_a_container_whose_name_begins_alike_is_another(
        self, containers: Containers, socket: Path
    ) -> None:
        async def play() -> None:
            with listening(socket) as ear:
                await ear.until_phase(Phase.RUNNING)
                await ear.until(lambda: ear.troubles == [""])
                await asyncio.to_thread(containers.kill, OTHER)
                await asyncio.to_thread(containers.pause, NAME)
                await ear.until_phase(Phase.PAUSED)
                assert all(each.phase is not Phase.STOPPED for each in ear.containers)

        containers.run(NAME)
        containers.run(OTHER)
        asyncio.run(play())

    def test_a_container_that_is_not_there_is_no_evidence_and_is_named(self, socket: Path) -> None:
        async def play() -> None:
            with listening(socket, "no-such-container") as ear:
                await ear.until(lambda: bool(ear.newest.trouble))
                assert "there is no container named no-such-container" in ear.newest.trouble
                assert ear.newest.phase is Phase.UNKNOWN

        asyncio.run(play())
