"""A real observer of a real instance, whose container an engine tells of."""

import asyncio
from dataclasses import replace
from pathlib import Path

from services.health_probe.adapters.engine import Engine
from shared.cluster import Cluster, Contained
from shared.messages.health import Evidence, Grade, Sign, Verdict
from tests.fakes.fake_engine import fake_engine
from tests.integration.health_probe.instances import Instance, answers
from tests.integration.health_probe.observation import Observation, one_service


def contained(port: int) -> Cluster:
    cluster = one_service(port)
    shop = replace(cluster.services["shop"], docker=Contained(container="shop-{node}"))
    return replace(cluster, services={"shop": shop})


def healthy(said: Evidence) -> bool:
    return said.verdict is Verdict.HEALTHY


def conclusive(said: Evidence) -> bool:
    return said.grade is Grade.CONCLUSIVE


def test_a_pause_takes_out_an_instance_that_still_answers_and_its_end_brings_it_back(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        with fake_engine(tmp_path / "engine.sock") as engine:
            engine.run("shop-a")
            async with (
                Instance(answers()) as instance,
                Observation(contained(instance.port)) as observation,
            ):
                observation.shell.ask_engine(engine.path, "a")
                await observation.until(healthy)
                await observation.until_true(lambda: bool(engine.streams))
                await asyncio.to_thread(engine.pause, "shop-a")
                _, said = await observation.until(conclusive)
                assert said.sign is Sign.STOPPED
                assert said.detail == "container shop-a was paused"
                since = len(observation.said)
                await asyncio.to_thread(engine.unpause, "shop-a")
                await observation.until(healthy, since=since)
            await _ended(observation)

    asyncio.run(main())


def test_without_a_socket_the_observer_serves_on_and_its_health_has_the_reason(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with (
            Instance(answers()) as instance,
            Observation(contained(instance.port)) as observation,
        ):
            observation.shell.ask_engine(tmp_path / "nobody.sock", "a")
            await observation.until(healthy)
            await observation.until_true(lambda: "there is no socket" in _failure(observation))
        await _ended(observation)

    asyncio.run(main())


def _failure(observation: Observation) -> str:
    (check,) = (each for each in observation.shell.checks() if each.name == "docker")
    return check.failure


async def _ended(observation: Observation) -> None:
    engine = observation.shell._engine
    assert isinstance(engine, Engine)
    assert await asyncio.to_thread(engine.join, 20)
