"""The watch beside a real HAProxy: killed, stopped, reloaded, started."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import uvloop

from services.traffic_switcher.adapters.balancer_watch import HaproxyWatch
from services.traffic_switcher.adapters.haproxy import Files
from services.traffic_switcher.core.watching import SILENT_MAX_US
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from tests.integration.traffic_switcher.stage import CLOCK, PROGRAMS, Scenery, stage, until

# What is promised is in the scenarios' benchmarks; a busy machine starves the watch too.
AT_ONCE_US: Duration = 5 * SECOND
with_turns_and_without = pytest.mark.parametrize("turns", [True, False])
every_program = pytest.mark.parametrize("program", PROGRAMS)


@dataclass
class Watched:
    """A HAProxy with a watch beside it."""

    scenery: Scenery
    said: list[tuple[Instant, str]] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [fault for _, fault in self.said]

    async def says(self, *begins: str) -> Instant:
        """Wait until so much was said, and return when the last was."""
        await until(lambda: len(self.said) >= len(begins))
        assert len(self.said) == len(begins), self.faults
        assert all(f.startswith(b) for f, b in zip(self.faults, begins, strict=True)), self.faults
        return self.said[-1][0]


@asynccontextmanager
async def watched(program: str, *, turns: bool) -> AsyncIterator[Watched]:
    async with stage(program) as scenery:
        made = Watched(scenery)
        watch = HaproxyWatch(Files.within(scenery.directory).alive, CLOCK)
        task = asyncio.ensure_future(watch.run(lambda why: made.said.append((CLOCK.now(), why))))
        turning = asyncio.ensure_future(take_turns(watch) if turns else CLOCK.sleep(0))
        try:
            yield made
        finally:
            task.cancel()
            turning.cancel()
            await asyncio.gather(task, turning, return_exceptions=True)


async def take_turns(watch: HaproxyWatch) -> None:
    """Be awake often, as a switcher is for its beats and their answers."""
    while True:
        watch.turn()
        await CLOCK.sleep(5 * MILLISECOND)


def play(program: str, scene: Callable[[Watched], Awaitable[None]], *, turns: bool = False) -> None:
    async def run() -> None:
        async with watched(program, turns=turns) as made:
            await made.says("not started: ")
            await made.scenery.begin()
            await made.says("not started: ", "")
            await scene(made)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as services do
        runner.run(run())


@with_turns_and_without
@every_program
def test_a_killed_worker_is_dead_at_once(program: str, *, turns: bool) -> None:
    async def scene(made: Watched) -> None:
        worker = made.scenery.haproxy.worker
        killed_at = CLOCK.now()
        os.kill(worker, signal.SIGKILL)
        noticed_at = await made.says("not started: ", "", "dead: ")
        assert noticed_at - killed_at < AT_ONCE_US
        await asyncio.to_thread(made.scenery.haproxy.ended)
        await asyncio.to_thread(made.scenery.haproxy.start)
        await made.says("not started: ", "", "dead: ", "")

    play(program, scene, turns=turns)


@every_program
def test_a_killed_master_takes_its_worker_along(program: str) -> None:
    async def scene(made: Watched) -> None:
        made.scenery.haproxy.kill_master()
        await made.says("not started: ", "", "dead: ")

    play(program, scene)


@every_program
def test_a_stopped_worker_hangs_until_it_goes_on(program: str) -> None:
    async def scene(made: Watched) -> None:
        stopped_at = CLOCK.now()
        made.scenery.haproxy.freeze()
        noticed_at = await made.says("not started: ", "", "hung: ")
        # It has just started: what is normal is not known yet.
        assert noticed_at - stopped_at < SILENT_MAX_US + AT_ONCE_US
        made.scenery.haproxy.wake()
        await made.says("not started: ", "", "hung: ", "")

    play(program, scene)


@every_program
def test_reloads_are_no_deaths(program: str) -> None:
    async def scene(made: Watched) -> None:
        for _ in range(3):
            before = made.scenery.haproxy.worker
            made.scenery.haproxy.reload()
            await until(partial(is_another, made, before))
            await CLOCK.sleep(200 * MILLISECOND)
        assert made.faults[2:] == []

    play(program, scene)


def test_our_own_sleep_is_no_hang() -> None:
    async def scene(made: Watched) -> None:
        for _ in range(5):
            threading.Event().wait(0.15)  # holds up this loop, and the watch on it
            await CLOCK.sleep(20 * MILLISECOND)
        assert made.faults[2:] == []

    play("wheel", scene)


def test_who_accepts_nobody_hangs_and_holds_up_nobody_else(tmp_path: Path) -> None:
    path, said = tmp_path / "alive", list[str]()

    async def scene() -> None:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with listening, ExitStack() as waiting:
            listening.bind(str(path))
            listening.listen(0)
            watch = asyncio.ensure_future(HaproxyWatch(path, CLOCK).run(said.append))
            accepted = (await asyncio.get_running_loop().sock_accept(listening))[0]
            await asyncio.get_running_loop().sock_sendall(accepted, b"HTTP/1.1 200 OK\r\n\r\n")
            await until(lambda: said == [""])
            with suppress(BlockingIOError):
                while True:  # until no more fit
                    each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                    waiting.enter_context(each).connect(str(path))
            accepted.close()
            await until(lambda: len(said) > 1)
            assert said[1].startswith("hung: ")
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    asyncio.run(scene())


def is_another(made: Watched, before: int) -> bool:
    try:
        return made.scenery.haproxy.worker != before
    except OSError:
        return False
