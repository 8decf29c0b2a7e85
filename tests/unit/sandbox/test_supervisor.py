"""The supervisor, with small real programs: signs, restarts, holds, and orderly ends."""

import asyncio
import itertools
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from services.sandbox.errors import SandboxError
from services.sandbox.supervisor import Answers, Ends, Program, Says, Sight, Stage, Supervisor
from shared.clock import SystemClock
from shared.errors import MachineError
from shared.instant import MILLISECOND
from tests.eventually import PATIENCE_S, PATIENCE_US

READY = Says(re.compile(b"up"))


def shell(
    folder: Path,
    script: str,
    name: str = "m/x",
    sign: Says | Answers = READY,
    needs: Path | None = None,
    ends: Ends = Ends.NEXT,
) -> Program:
    return Program(
        name=name,
        command=("/bin/sh", "-c", script),
        environ={"PATH": os.environ["PATH"]},
        log=folder / f"{name.replace('/', '.')}.log",
        sign=sign,
        needs=needs,
        ends=ends,
    )


def supervised(
    programs: list[Program], play: Callable[[Supervisor], Awaitable[None]]
) -> list[Sight]:
    """Start programs, play, stop; return how they stood at the end."""

    async def main() -> list[Sight]:
        supervisor = Supervisor(programs, SystemClock())
        supervisor.start()
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                await play(supervisor)
        finally:
            await supervisor.stop()
        return supervisor.sights()

    return asyncio.run(main())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await SystemClock().sleep(5 * MILLISECOND)


def sight(supervisor: Supervisor, name: str = "m/x") -> Sight:
    return next(one for one in supervisor.sights() if one.name == name)


def test_ready_is_what_shows_its_sign(tmp_path: Path) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.until_ready(PATIENCE_US, ["m/loud"])
        assert sight(supervisor, "m/mute").stage is Stage.STARTING
        with pytest.raises(SandboxError, match=r"(?s)m/mute is starting.*never mind"):
            await supervisor.until_ready(200 * MILLISECOND)

    loud = shell(tmp_path, "echo up; exec sleep 60", "m/loud")
    mute = shell(tmp_path, "echo never mind; exec sleep 60", "m/mute")
    assert {one.stage for one in supervised([loud, mute], play)} == {Stage.STOPPED}


def test_an_old_sign_in_the_log_does_not_count_for_a_new_process(tmp_path: Path) -> None:
    program = shell(tmp_path, "exec sleep 60")
    program.log.write_text("up\n")

    async def play(supervisor: Supervisor) -> None:
        await until(lambda: sight(supervisor).stage is Stage.STARTING)
        with pytest.raises(SandboxError):
            await supervisor.until_ready(100 * MILLISECOND)

    supervised([program], play)


def test_a_socket_that_accepts_is_a_sign(tmp_path: Path) -> None:
    path = tmp_path / "s"
    script = (
        f'exec {sys.executable} -c "import socket, time; s = socket.socket(socket.AF_UNIX);'
        f" s.bind('{path}'); s.listen(); time.sleep(60)\""
    )

    async def play(supervisor: Supervisor) -> None:
        await supervisor.until_ready(PATIENCE_US)

    supervised([shell(tmp_path, script, sign=Answers(path))], play)


def test_a_program_waits_for_the_file_that_it_needs(tmp_path: Path) -> None:
    needed = tmp_path / "made-by-somebody-else"

    async def play(supervisor: Supervisor) -> None:
        await until(lambda: sight(supervisor).stage is Stage.WAITING)
        with pytest.raises(SandboxError, match="waiting"):
            await supervisor.until_ready(100 * MILLISECOND)
        needed.touch()
        await supervisor.until_ready(PATIENCE_US)
        assert sight(supervisor).restarts == 0

    supervised([shell(tmp_path, "echo up; exec sleep 60", needs=needed)], play)


def test_what_dies_is_started_again_after_a_while_that_grows(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    script = f"date +%s%N >>{starts}; exit 3"

    async def play(supervisor: Supervisor) -> None:
        await until(lambda: sight(supervisor).restarts >= 4)

    (last,) = supervised([shell(tmp_path, script)], play)
    assert last.exit_code == 3
    times = [int(line) // 1000 for line in starts.read_text().split()]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[0] >= 100 * MILLISECOND
    assert waits[1] >= 200 * MILLISECOND
    assert waits[2] >= 400 * MILLISECOND


def test_a_kill_is_seen_and_its_instant_told(tmp_path: Path) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.until_ready(PATIENCE_US)
        before = sight(supervisor)
        sent_from = SystemClock().now()
        injection = supervisor.send("m/x", signal.SIGKILL)
        assert sent_from <= injection.begin_at <= injection.end_at <= SystemClock().now()
        assert injection.pid == before.pid
        await until(lambda: sight(supervisor).restarts == 1)
        await supervisor.until_ready(PATIENCE_US)
        after = sight(supervisor)
        assert after.exit_code == -signal.SIGKILL
        assert after.pid != before.pid

    supervised([shell(tmp_path, "echo up; exec sleep 60")], play)


def test_a_held_one_stays_dead_until_released(tmp_path: Path) -> None:
    async def play(supervisor: Supervisor) -> None:
        await supervisor.until_ready(PATIENCE_US)
        supervisor.hold("m/x")
        supervisor.send("m/x", signal.SIGKILL)
        await supervisor.until_stage("m/x", Stage.HELD, PATIENCE_US)
        with pytest.raises(MachineError, match="does not run; it is held"):
            supervisor.send("m/x", signal.SIGKILL)
        supervisor.release("m/x")
        await supervisor.until_ready(PATIENCE_US)

    supervised([shell(tmp_path, "echo up; exec sleep 60")], play)


def test_what_a_dead_one_leaves_behind_is_killed_before_the_next_begins(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 60 & echo $! >>{child}; kill -STOP $!; echo up; wait"

    async def play(supervisor: Supervisor) -> None:
        await supervisor.until_ready(PATIENCE_US)
        orphan = int(child.read_text().split()[0])
        supervisor.send("m/x", signal.SIGKILL)
        await until(lambda: sight(supervisor).restarts == 1)
        await until(lambda: not _lives(orphan))

    supervised([shell(tmp_path, script)], play)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_at_the_end_even_the_stopped_and_the_deaf_are_gone(tmp_path: Path) -> None:
    pids: list[int | None] = []

    async def play(supervisor: Supervisor) -> None:
        await supervisor.until_ready(PATIENCE_US)
        supervisor.send("m/stopped", signal.SIGSTOP)
        pids.extend(one.pid for one in supervisor.sights())

    deaf = shell(tmp_path, "trap '' TERM; echo up; while :; do sleep 60; done", "m/deaf")
    stopped = shell(tmp_path, "echo up; exec sleep 60", "m/stopped")
    supervised([deaf, stopped], play)
    assert len(pids) == 2
    assert not any(_lives(pid) for pid in pids if pid is not None)


def test_nobody_ends_before_those_who_ask_it_have_ended(tmp_path: Path) -> None:
    ended = tmp_path / "ended"

    def slow(ends: Ends) -> Program:
        farewell = f"sleep 0.1; echo {ends.name} >>{ended}; exit"
        script = f"trap '{farewell}' TERM; echo up; while :; do sleep 0.01; done"
        return shell(tmp_path, script, f"m/{ends.name}", ends=ends)

    supervised(
        [slow(ends) for ends in reversed(Ends)],
        lambda supervisor: supervisor.until_ready(PATIENCE_US),
    )
    assert ended.read_text().split() == [ends.name for ends in Ends]


def test_a_program_that_nobody_knows_is_refused_with_those_that_are(tmp_path: Path) -> None:
    async def play(supervisor: Supervisor) -> None:
        with pytest.raises(MachineError, match="there is no program 'm/y' here; there are m/x"):
            supervisor.hold("m/y")

    supervised([shell(tmp_path, "echo up; exec sleep 60")], play)
