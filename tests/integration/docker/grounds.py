"""Where the health probe's engine is tried: containers that are told what to do, and an ear."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from services.health_probe.adapters.engine import Engine
from services.health_probe.core.container import Container, Phase
from services.health_probe.core.events import ContainerSeen, EngineSeen, Target
from shared.instant import SECOND
from tests.eventually import eventually

WITHIN_S = 20  # a busy machine's patience; every wait ends as soon as it may
NAME = f"equipoise-test-{os.getpid()}"  # of the container that is watched
OTHER = f"{NAME}-b"  # its name begins alike
TARGET = Target("shop", "a")


class Containers(Protocol):
    """What both kinds of engine let a test do."""

    def run(self, name: str) -> None:
        """Make a container and start it."""

    def start(self, name: str) -> None:
        """Start it again."""

    def kill(self, name: str) -> None:
        """Kill its process by SIGKILL."""

    def pause(self, name: str) -> None:
        """Freeze it."""

    def unpause(self, name: str) -> None:
        """Let it go on."""


class Ear:
    """What was reported, in the order in which it came."""

    def __init__(self) -> None:
        self.containers: list[Container] = []
        self.troubles: list[str] = []

    def report(self, event: ContainerSeen | EngineSeen) -> None:
        if isinstance(event, EngineSeen):
            self.troubles.append(event.trouble)
        else:
            assert event.target == TARGET
            self.containers.append(event.container)

    @property
    def newest(self) -> Container:
        return self.containers[-1] if self.containers else Container()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so."""
        await eventually(condition, within_us=WITHIN_S * SECOND)

    async def until_phase(self, phase: Phase) -> None:
        await self.until(lambda: self.newest.phase is phase)


@contextmanager
def listening(socket: Path, name: str = NAME) -> Iterator[Ear]:
    """Put an ear on an engine; its threads end with the block."""
    ear = Ear()
    engine = Engine(socket, {name: [TARGET]}, ear.report)
    try:
        yield ear
    finally:
        engine.close()
        assert engine.join(WITHIN_S)
