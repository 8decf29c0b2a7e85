"""Keeps programs running: starts them in any order, waits for their own signs, restarts.

    WAITING --a file it needs is there--> STARTING --its sign--> READY
       ^                                      |                    |
       +-- back-off over, unless held --------+----- it died ------+

A program that dies is started again after a back-off, which doubles until the program has been
ready for a while. Each has a session of its own: what a dead one leaves behind (HAProxy's frozen
worker) is killed before the next begins, so that two never serve side by side.
"""

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path

from services.sandbox.errors import SandboxError
from shared.clock import Clock
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.urgency import NICE, PRIORITY, Urgency

BACKOFF_MIN_US: Duration = 100 * MILLISECOND
BACKOFF_MAX_US: Duration = 1 * SECOND
HEALTHY_AFTER_US: Duration = 3 * SECOND  # ready for so long: the next death starts over
LOOK_EVERY_US: Duration = 20 * MILLISECOND  # for signs of readiness, which nobody announces
STOP_WITHIN_US: Duration = 3 * SECOND  # then what still runs is killed
LOG_SIZE_MAX = 64 * 1024 * 1024  # bytes a program; beyond, its log begins anew
LOG_LOOK_EVERY_US: Duration = 10 * SECOND
TAIL_SIZE = 2_000  # bytes of a log that tell why somebody is not ready


class Stage(StrEnum):
    """Where a program stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    HELD = "held"  # not to be started again for now
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Says:
    """It is ready when its log has such a text."""

    pattern: re.Pattern[bytes]

    def seen(self, log: Path, since: int) -> bool:
        """Return whether the text stands in what was logged since it started."""
        with log.open("rb") as file:
            file.seek(since)
            return self.pattern.search(file.read(LOG_SIZE_MAX)) is not None


@dataclass(frozen=True, slots=True)
class Answers:
    """It is ready when somebody accepts connections on a unix socket."""

    path: Path

    def seen(self, log: Path, since: int) -> bool:
        """Return whether a connection is accepted."""
        del log, since
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            return probe.connect_ex(str(self.path)) == 0


class Ends(IntEnum):
    """When a program is ended: in turn, so that nobody misses another and waits or reports it."""

    FIRST = 0  # it asks others
    NEXT = 1
    LAST = 2  # others ask it


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is to run."""

    name: str  # MEMBER/PROGRAM, such as node-b/shop
    command: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path
    sign: Says | Answers
    needs: Path | None = None  # a file that somebody else makes
    ends: Ends = Ends.NEXT
    rank: Urgency = Urgency.ORDINARY  # where this user may decide that


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A program as it stands, for those who ask."""

    name: str
    stage: Stage
    pid: int | None
    restarts: int
    exit_code: int | None  # of its last end; negative: the signal that ended it
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """A signal that was sent, and when: between the two instants, on the common clock."""

    program: str
    pid: int
    begin_at: Instant
    end_at: Instant


@dataclass(eq=False, slots=True, kw_only=True)
class Keeper:
    """One program and its present process."""

    program: Program
    clock: Clock
    stage: Stage = Stage.WAITING
    restarts: int = 0
    exit_code: int | None = None
    allowed: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # replaced at each change
    _process: subprocess.Popen[bytes] | None = None
    _log_begin: int = 0

    @property
    def pid(self) -> int | None:
        """The program's process, if it has one."""
        return self._process.pid if self._process else None

    async def keep(self) -> None:
        """Start the program whenever it does not run, until cancelled."""
        self.allowed.set()
        backoff_us = BACKOFF_MIN_US
        while True:
            await self._until_allowed()
            self._start()
            dead = asyncio.create_task(self._death())
            try:
                ready_at = await self._until_ready(dead)
                self.exit_code = await dead
            finally:
                dead.cancel()
            self._process = None
            self.restarts += 1
            self._enter(Stage.WAITING)
            if ready_at is not None and self.clock.now() - ready_at >= HEALTHY_AFTER_US:
                backoff_us = BACKOFF_MIN_US
            if self.allowed.is_set():
                await self.clock.sleep(backoff_us)
            backoff_us = min(2 * backoff_us, BACKOFF_MAX_US)

    async def _until_allowed(self) -> None:
        if not self.allowed.is_set():
            self._enter(Stage.HELD)
            await self.allowed.wait()
        self._enter(Stage.WAITING)
        needs = self.program.needs
        while needs is not None and not needs.exists():
            await self.clock.sleep(LOOK_EVERY_US)

    def _start(self) -> None:
        with self.program.log.open("ab") as log:
            self._log_begin = log.tell()
            self._process = subprocess.Popen(
                self.program.command,
                env=dict(self.program.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _rank(self._process.pid, self.program.rank)
        self._enter(Stage.STARTING)

    async def _until_ready(self, dead: asyncio.Task[int]) -> Instant | None:
        while not dead.done():
            if self.program.sign.seen(self.program.log, self._log_begin):
                self._enter(Stage.READY)
                return self.clock.now()
            await asyncio.wait({dead}, timeout=LOOK_EVERY_US / SECOND)
        return None

    async def _death(self) -> int:
        """Wait for the process's end: the kernel says it through a descriptor, at once."""
        assert self._process is not None
        process = self._process
        descriptor = os.pidfd_open(process.pid)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        code = process.wait()
        self._sweep(process.pid)
        return code

    def _sweep(self, session: int) -> None:
        try:
            os.killpg(session, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.changed.set()
        self.changed = asyncio.Event()

    def send(self, number: signal.Signals, *, everyone: bool) -> Injection:
        """Send a signal to the process, or to it and all its children."""
        pid = self.pid
        if pid is None:
            raise MachineError(f"{self.program.name} does not run; it is {self.stage}")
        begin_at = self.clock.now()
        (os.killpg if everyone else os.kill)(pid, number)
        return Injection(
            program=self.program.name, pid=pid, begin_at=begin_at, end_at=self.clock.now()
        )

    @property
    def runs(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def bury(self) -> None:
        """Take note of an end that was made to happen."""
        if self._process is not None:
            self.exit_code = self._process.wait()
            self._process = None
        self.stage = Stage.STOPPED

    def hold(self) -> None:
        """Let the next death last."""
        self.allowed.clear()

    def release(self) -> None:
        """Start it again whenever it does not run."""
        self.allowed.set()

    def sight(self) -> Sight:
        """Return how it stands."""
        return Sight(
            name=self.program.name,
            stage=self.stage,
            pid=self.pid,
            restarts=self.restarts,
            exit_code=self.exit_code,
            log=str(self.program.log),
        )

    def tail(self) -> str:
        """Return the end of its log."""
        try:
            return self.program.log.read_bytes()[-TAIL_SIZE:].decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def trim_log(self) -> None:
        """Begin the log anew if it has grown too large; all who write append, so none tears."""
        if self.program.log.exists() and self.program.log.stat().st_size > LOG_SIZE_MAX:
            os.truncate(self.program.log, 0)
            self._log_begin = 0


class Supervisor:
    """All programs of a sandbox."""

    def __init__(self, programs: Iterable[Program], clock: Clock) -> None:
        self._keepers = {x.name: Keeper(program=x, clock=clock) for x in programs}
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start everything, in no particular order."""
        self._tasks = [asyncio.create_task(keeper.keep()) for keeper in self._keepers.values()]
        self._tasks.append(asyncio.create_task(self._trim_logs()))

    async def _trim_logs(self) -> None:
        while True:
            await self._clock.sleep(LOG_LOOK_EVERY_US)
            for keeper in self._keepers.values():
                keeper.trim_log()

    async def until_failed(self) -> None:
        """Return never; raise what broke the supervisor itself."""
        await asyncio.gather(*self._tasks)

    async def until_ready(self, within_us: Duration, names: Sequence[str] = ()) -> None:
        """Wait until programs (all, if none is named) are ready; say which are not in time."""
        keepers = [self._keeper(name) for name in names or self._keepers]
        try:
            async with asyncio.timeout(within_us / SECOND):
                for keeper in keepers:
                    while keeper.stage is not Stage.READY:
                        await keeper.changed.wait()
        except TimeoutError:
            late = [keeper for keeper in keepers if keeper.stage is not Stage.READY]
            raise SandboxError(_lateness(late, within_us)) from None

    async def until_stage(self, name: str, stage: Stage, within_us: Duration) -> None:
        """Wait until one program is at a stage."""
        keeper = self._keeper(name)
        try:
            async with asyncio.timeout(within_us / SECOND):
                while keeper.stage is not stage:
                    await keeper.changed.wait()
        except TimeoutError:
            raise SandboxError(_lateness([keeper], within_us)) from None

    def send(self, name: str, number: signal.Signals, *, everyone: bool = False) -> Injection:
        """Send a signal to a program, and return when exactly."""
        return self._keeper(name).send(number, everyone=everyone)

    def hold(self, name: str) -> None:
        """Do not start a program again once it has died."""
        self._keeper(name).hold()

    def release(self, name: str) -> None:
        """Start a held program again."""
        self._keeper(name).release()

    def sights(self) -> list[Sight]:
        """Return how all programs stand, in the order in which they were given."""
        return [keeper.sight() for keeper in self._keepers.values()]

    def names_of(self, member: str) -> list[str]:
        """Return the names of a member's programs."""
        return [name for name in self._keepers if name.startswith(f"{member}/")]

    def _keeper(self, name: str) -> Keeper:
        try:
            return self._keepers[name]
        except KeyError:
            names = ", ".join(self._keepers)
            raise MachineError(f"there is no program {name!r} here; there are {names}") from None

    async def stop(self) -> None:
        """End everything: asked to for a while, then killed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for turn in Ends:
            await self._end([x for x in self._keepers.values() if x.program.ends is turn])

    async def _end(self, keepers: Sequence[Keeper]) -> None:
        alive = [keeper for keeper in keepers if keeper.pid is not None]
        for keeper in alive:
            _tell(keeper, signal.SIGTERM)
            _tell(keeper, signal.SIGCONT)  # one that is stopped could not hear the other
        give_up_at = self._clock.now() + STOP_WITHIN_US
        while any(keeper.runs for keeper in alive) and self._clock.now() < give_up_at:
            await self._clock.sleep(LOOK_EVERY_US)
        for keeper in alive:
            _tell(keeper, signal.SIGKILL)
            keeper.bury()


def _tell(keeper: Keeper, number: signal.Signals) -> None:
    try:
        keeper.send(number, everyone=True)
    except ProcessLookupError:
        return


def _rank(pid: int, rank: Urgency) -> None:
    """Let a program that has just begun, and all its threads to come, run before others."""
    with suppress(PermissionError, ProcessLookupError):
        match rank:
            case Urgency.REAL_TIME:
                os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(PRIORITY))
            case Urgency.PREFERRED:
                os.setpriority(os.PRIO_PROCESS, pid, NICE)
            case Urgency.ORDINARY:
                return


def _lateness(late: Sequence[Keeper], within_us: Duration) -> str:
    lines = [f"not ready within {within_us / SECOND:g} s:"]
    for keeper in late:
        sight = keeper.sight()
        lines.append(
            f"  {sight.name} is {sight.stage}, was restarted {sight.restarts} times, "
            f"last exit code {sight.exit_code}; its log ({sight.log}) ends:"
        )
        lines.extend(f"    {line}" for line in keeper.tail().splitlines())
    return "\n".join(lines)
