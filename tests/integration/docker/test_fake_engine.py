"""The fake engine behaves as every engine, before the gate and behind it; and what it alone can."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.health_probe.adapters import engine as adapter
from services.health_probe.core.container import Phase
from tests.fakes.fake_engine import FakeEngine, fake_engine
from tests.integration.docker.behaviour import EngineBehaviour
from tests.integration.docker.gates import gate
from tests.integration.docker.grounds import NAME, listening


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path / "engine.sock") as engine:
        yield engine


@pytest.fixture
def socket(containers: FakeEngine) -> Path:
    return containers.path


class TestTheFakeEngine(EngineBehaviour):
    """As every engine."""


class TestTheFakeEngineBehindTheGate(EngineBehaviour):
    """As every engine: the gate takes nothing away that evidence needs."""

    @pytest.fixture
    def socket(self, containers: FakeEngine, tmp_path: Path) -> Iterator[Path]:
        with gate(containers.path, tmp_path / "gate.sock", NAME, "no-such-container") as place:
            yield place


def test_a_stream_that_ends_is_trouble_and_what_happened_meanwhile_is_seen(
    containers: FakeEngine, socket: Path
) -> None:
    async def play() -> None:
        with listening(socket) as ear:
            await ear.until_phase(Phase.RUNNING)
            await ear.until(lambda: ear.troubles == [""])
            containers.containers[NAME].status = "exited"  # and no event tells of it
            containers.end_streams()
            await ear.until(lambda: len(ear.troubles) == 3)
            assert "ended its stream of events" in ear.troubles[1]
            assert ear.troubles[2] == ""
            await ear.until_phase(Phase.STOPPED)

    containers.run(NAME)
    asyncio.run(play())


def test_without_a_socket_the_trouble_says_how_to_mend_it_and_is_over_when_it_comes(
    tmp_path: Path,
) -> None:
    place = tmp_path / "late.sock"

    async def play() -> None:
        with listening(place) as ear:
            await ear.until(lambda: bool(ear.troubles))
            assert f"there is no socket {place}" in ear.troubles[0]
            assert "start services.docker_gate" in ear.troubles[0]
            with fake_engine(place) as engine:
                engine.run(NAME)
                await ear.until_phase(Phase.RUNNING)
                await ear.until(lambda: ear.troubles[-1] == "")

    asyncio.run(play())


def test_an_engine_that_does_not_answer_leaves_nothing_known(
    containers: FakeEngine, socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "ANSWER_WITHIN_S", 0.3)

    async def play() -> None:
        with listening(socket) as ear:
            await ear.until_phase(Phase.RUNNING)
            await ear.until(lambda: ear.troubles == [""])
            containers.hangs.set()
            containers.tell(NAME, "start")
            await ear.until(lambda: len(ear.troubles) == 2)
            assert "cannot be asked" in ear.troubles[1]
            await ear.until_phase(Phase.UNKNOWN)
            containers.hangs.clear()
            await ear.until_phase(Phase.RUNNING)

    containers.run(NAME)
    asyncio.run(play())


def test_a_death_for_want_of_memory_is_told_as_such(containers: FakeEngine, socket: Path) -> None:
    async def play() -> None:
        with listening(socket) as ear:
            await ear.until(lambda: ear.troubles == [""])
            containers.die(NAME, 137, out_of_memory=True)
            await ear.until(lambda: any("memory" in each.detail for each in ear.containers))

    containers.run(NAME)
    asyncio.run(play())


def test_a_failing_health_check_is_seen_and_its_end_too(
    containers: FakeEngine, socket: Path
) -> None:
    async def play() -> None:
        with listening(socket) as ear:
            await ear.until(lambda: ear.troubles == [""])
            containers.be_healthy(NAME, healthy=False)
            await ear.until(lambda: ear.newest.unhealthy)
            assert "unhealthy by its own check, 3 times" in ear.newest.detail
            containers.be_healthy(NAME, healthy=True)
            await ear.until(lambda: not ear.newest.unhealthy)

    containers.run(NAME)
    asyncio.run(play())


def test_only_reading_is_ever_asked_of_the_engine(containers: FakeEngine, socket: Path) -> None:
    async def play() -> None:
        with listening(socket) as ear:
            await ear.until(lambda: ear.troubles == [""])
            containers.kill(NAME)
            await ear.until_phase(Phase.STOPPED)

    containers.run(NAME)
    asyncio.run(play())
    assert {method for method, _ in containers.asked} == {"GET"}
