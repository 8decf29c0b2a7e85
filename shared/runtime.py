"""What every service starts from and ends by: settings, log, bus, signals, exit codes.

0    asked to stop (SIGTERM, SIGINT), or done
2    the configuration is wrong         5    the bus refused us, or closed for good
69   this machine lacks something       70   a bug in Equipoise: the supervisor restarts us
1    another failure of the world, named in one line
"""

import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from shared import last_words
from shared.alive import RUN_DIRECTORY
from shared.bus import Bus
from shared.bus.nats_bus import NatsBus
from shared.bus.wire import Speaker
from shared.clock import Clock, SystemClock
from shared.errors import ConfigError, EquipoiseError
from shared.ground import Fail, Ground, Meanwhile, standing
from shared.health import Check, Health, process
from shared.instant import SECOND
from shared.log import Libraries, Log, Logger, Writer, as_json, as_text
from shared.settings import Settings
from shared.telemetry import Recorder, Telemetry, start
from shared.urgency import hurry, urgent_threads

CONFIG_DEFAULT = "/etc/equipoise/equipoise.yaml"
# Orderly stops take milliseconds; supervisors kill after 10 s, and a stop that hangs must say so.
# What comes after it (cancelling, a frozen bus, a dead endpoint of traces) has 5 s together.
STOP_WITHIN_US = 3 * SECOND
EXIT_BUG = 70  # EX_SOFTWARE
EXIT_INTERRUPTED = 130  # a shell's convention for SIGINT
# How long a thread of ours may keep the interpreter's lock from the loop (Python's own: 5 ms).
# Lists of addresses and log lines are worked on beside it, and a failover must not wait for them.
LOCK_KEPT_S = 0.000_5
FRAMES_MAX = 4  # of a bug's trace in the one line; the whole is in the debug log

Main: TypeAlias = Callable[["Base"], Awaitable[None]]
Load: TypeAlias = Callable[[Path, Mapping[str, str]], Settings]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every service is built from."""

    settings: Settings
    clock: Clock
    bus: Bus
    telemetry: Telemetry
    log: Log
    health: Health
    boot_id: str  # random per process start, 16 hexadecimal digits
    stopping: asyncio.Event

    def ready(self, **fields: object) -> None:
        """Say that the service does its work now: supervisors wait for this line."""
        # What start-up made lives as long as we do. Looking through it again and again would cost
        # 31 ms each time (measured, 40,000 objects), in the middle of a failover.
        gc.collect()
        gc.freeze()
        self.health.is_ready()
        self.log.info("ready", boot_id=self.boot_id, **fields)


def run(  # noqa: PLR0913 - two that all give, and keywords that few do
    program: str,
    main: Main,
    *,
    meanwhile: Meanwhile | None = None,
    urgent: bool = False,
    environ: Mapping[str, str] = os.environ,
    load: Load | None = None,
) -> NoReturn:
    """Run a service until it is done, asked to stop, or cannot go on; ends the process.

    `main` begins when the bus is there; `meanwhile`, for who must answer even so, at once. It runs
    beside `main` until the service stops, and its failure is the service's. An `urgent` service
    asks to be run before ordinary programs: one that leases or their absence are judged by.
    """
    settings = _settings_or_exit(program, environ, load)
    sys.setswitchinterval(LOCK_KEPT_S)
    clock = SystemClock()
    log, writer = _log(program, settings, clock)
    logging.getLogger().handlers = [Libraries(log)]
    for warning in settings.warnings:
        log.warning("configuration", text=warning)
    if urgent:
        log.info("scheduling", urgency=hurry())
    process = _Process(program, settings, clock, log)

    async def whole() -> None:
        if urgent:
            asyncio.get_running_loop().set_default_executor(urgent_threads())
        await process.run(main, meanwhile, environ)

    leave = partial(last_words.leave, settings.run_directory, program)
    code = _code_of(lambda: _loop(whole()), log, leave)
    writer.close()
    # Not sys.exit: what is left (a thread in a system call) must not hold up the restart.
    os._exit(code)


class _InterruptedError(EquipoiseError):
    exit_code = EXIT_INTERRUPTED


def _code_of(body: Callable[[], None], log: Log, leave: Callable[[str], None]) -> int:
    """Run a program to its end; say in one line how it ended, and return the exit code."""
    try:
        body()
    except KeyboardInterrupt:  # before our own answer to signals was in place
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the top: nothing may leave as a traceback
        failure = error
    else:
        log.info("ended", because="asked to stop", exit_code=0)
        return 0
    log.debug("traceback", text="".join(traceback.format_exception(failure)))
    cause = _cause(failure)
    if isinstance(cause, EquipoiseError):
        leave(f"exit code {cause.exit_code}: {cause}")
        log.error("ended", because=str(cause), exit_code=cause.exit_code)
        return cause.exit_code
    leave(f"exit code {EXIT_BUG}: {_bug(cause)}")
    log.error(
        "ended",
        because=_bug(cause),
        where=_where(cause),
        mend="please report this line; EQUIPOISE_LOG_LEVEL=debug shows the whole trace",
        exit_code=EXIT_BUG,
    )
    return EXIT_BUG


def _cause(error: BaseException) -> BaseException:
    """Return what went wrong; of a task group's several, a bug before the world's failures."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [_cause(part) for part in error.exceptions]
    return next((cause for cause in causes if not isinstance(cause, EquipoiseError)), causes[0])


def _bug(error: BaseException) -> str:
    return f"a bug in equipoise: {type(error).__name__}: {error}"


class _Process:
    """One run of a service within its event loop."""

    def __init__(self, program: str, settings: Settings, clock: Clock, log: Log) -> None:
        self._program = program
        self._settings = settings
        self._clock = clock
        self._log = log
        self._bus: NatsBus | None = None

    async def run(
        self, main: Main, meanwhile: Meanwhile | None, environ: Mapping[str, str]
    ) -> None:
        """Connect, run `main`, leave."""
        loop = asyncio.get_running_loop()
        stopping, failed = asyncio.Event(), loop.create_future()

        def fail(error: BaseException) -> None:
            if not failed.done():
                failed.set_exception(error)
                failed.exception()  # the first failure is told; asyncio need not tell it again

        loop.set_exception_handler(lambda _, context: self._heard(context, fail))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number, stopping, fail)
        telemetry = start(
            Recorder(
                program=self._program,
                cluster=self._settings.cluster.name,
                member=self._settings.member,
            ),
            self._settings.otlp_endpoint,
            environ=environ,
            clock=self._clock,
            log=self._log,
        )
        ground = Ground(
            settings=self._settings,
            clock=self._clock,
            log=self._log,
            health=Health(),
            stopping=stopping,
        )
        ground.health.measure(lambda: process.connection(self._connection()))
        try:
            async with standing(ground, self._program, meanwhile, environ, fail):
                await self._on_bus(main, ground, telemetry, failed, fail)
        finally:
            await telemetry.close()

    async def _on_bus(
        self,
        main: Main,
        ground: Ground,
        telemetry: Telemetry,
        failed: "asyncio.Future[None]",
        fail: Fail,
    ) -> None:
        """Wait for the bus, and serve on it."""
        cluster, health = self._settings.cluster, ground.health
        speaker = Speaker(
            cluster=cluster.name,
            member=self._settings.member,
            program=self._program,
            clock=self._clock,
            log=self._log,
            traceparent_of=telemetry.traceparent_of if telemetry.enabled else None,
            on_hop=telemetry.record_hop if telemetry.enabled else None,
        )
        servers = ", ".join(cluster.bus_servers)

        def waiting(why: str) -> None:
            if self._bus is None:
                health.waits(f"it waits for the bus at {servers}: {why}")

        waiting("no answer yet")
        connecting = NatsBus.connect(
            cluster.bus_servers, speaker=speaker, on_failure=fail, on_trouble=waiting
        )
        bus = await _unless(connecting, ground.stopping, failed)
        if bus is None:
            return
        self._bus = bus
        health.waits("it is starting")
        health.check(lambda: (Check(name="bus", failure=bus.trouble),))
        base = Base(
            settings=self._settings,
            clock=self._clock,
            bus=bus,
            telemetry=telemetry,
            log=self._log,
            health=health,
            boot_id=secrets.token_hex(8),
            stopping=ground.stopping,
        )
        try:
            await self._serve(main, base, failed)
        finally:
            await bus.close()

    async def _serve(self, main: Main, base: Base, failed: "asyncio.Future[None]") -> None:
        """Run `main` to its end; when asked to stop it has a few seconds to end by itself."""
        serving = asyncio.ensure_future(main(base))
        stop = asyncio.ensure_future(base.stopping.wait())
        await _first(serving, stop, failed)
        if base.stopping.is_set() and not failed.done():
            await _first(serving, failed, timeout_s=STOP_WITHIN_US / SECOND)
            if not serving.done() and not failed.done():
                self._log.warning("stop_incomplete", after_s=STOP_WITHIN_US // SECOND)
        stop.cancel()
        if serving.done():
            assert not serving.cancelled(), "a service's main was cancelled by itself"
            serving.result()
            return
        serving.cancel()
        await asyncio.wait({serving}, timeout=1)
        if failed.done():
            failed.result()

    def _connection(self) -> process.Connection:
        bus = self._bus
        if bus is None:
            return process.Connection()
        return process.Connection(
            connected=bus.connected, reconnects=bus.reconnects, rejected=bus.rejected
        )

    def _signalled(self, number: int, stopping: asyncio.Event, fail: Fail) -> None:
        if stopping.is_set():
            fail(_InterruptedError("asked to stop twice: at once"))
        self._log.info("stopping", because=signal.Signals(number).name)
        stopping.set()

    def _heard(self, context: Mapping[str, Any], fail: Fail) -> None:
        """Judge an exception that nobody waited for: in a callback, or in a forgotten task."""
        error = context.get("exception")
        if isinstance(error, AssertionError):
            fail(error)
            return
        self._log.error(
            "exception_nobody_awaited",
            because=f"{context.get('message')}: {type(error).__name__}: {error}",
            where="" if error is None else _where(error),
        )


async def _unless(
    connecting: Coroutine[Any, Any, NatsBus],
    stopping: asyncio.Event,
    failed: "asyncio.Future[None]",
) -> NatsBus | None:
    """Return the connected bus, or None if we were asked to stop before."""
    attempt = asyncio.ensure_future(connecting)
    stop = asyncio.ensure_future(stopping.wait())
    await _first(attempt, stop, failed)
    stop.cancel()
    if attempt.done():
        return attempt.result()
    attempt.cancel()
    await asyncio.wait({attempt}, timeout=1)
    if failed.done():
        failed.result()
    return None


async def _first(*waits: "asyncio.Future[Any]", timeout_s: float | None = None) -> None:
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=timeout_s)


def _settings_or_exit(program: str, environ: Mapping[str, str], load: Load | None) -> Settings:
    """Return the settings, or tell people what is wrong with them and end."""
    try:
        return _settings(environ, load)
    except ConfigError as error:
        text, line, code = str(error), error.line, error.exit_code
    except Exception as error:  # noqa: BLE001 - the top: nothing may leave as a traceback
        text, code = f"{_bug(error)} at {_where(error)}", EXIT_BUG
        line = text
    run_directory = Path(environ.get("EQUIPOISE_RUN_DIR") or RUN_DIRECTORY)
    last_words.leave(run_directory, program, f"exit code {code}: {line}")
    # There is no log yet, and what the file says about one may be the very thing that is wrong.
    if environ.get("EQUIPOISE_LOG_FORMAT") == "json":
        fields = {"program": program, "because": line, "exit_code": code}
        _to_stderr(f"{as_json(SystemClock().wall(), 'error', 'ended', fields)}\n".encode())
    else:
        _to_stderr(f"equipoise-{program}: {text}\n".encode())
    sys.exit(code)


def _settings(environ: Mapping[str, str], load: Load | None) -> Settings:
    if load is None:
        # Late: who brings a loader does not pay for YAML and pydantic.
        from shared.settings.load import load as load_file  # noqa: PLC0415

        load = load_file
    settings = load(Path(environ.get("EQUIPOISE_CONFIG", CONFIG_DEFAULT)), environ)
    if not settings.cluster.bus_servers:
        raise ConfigError("no server of the bus is configured")
    return settings


def _log(program: str, settings: Settings, clock: Clock) -> tuple[Logger, Writer]:
    people = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    render = as_text if people else as_json
    fields = {"program": program, "member": settings.member}

    def dropped(count: int) -> str:
        return render(clock.wall(), "warning", "log_lines_dropped", {**fields, "count": count})

    writer = Writer(_to_stderr, dropped)
    log = Logger(writer.write, clock=clock, level=settings.log_level, render=render, fields=fields)
    return log, writer


def _to_stderr(line: bytes) -> None:
    while line:
        line = line[os.write(2, line) :]


def _loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed: timers are late by 0.25 ms instead of 1.2 (median)."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):  # it has no wheel for every machine
        from uvloop import new_event_loop as factory  # noqa: PLC0415
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(coroutine)


def _where(error: BaseException) -> str:
    """Return the last frames of an exception, innermost first, in one line."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    root = str(Path(__file__).parent.parent) + os.sep
    return " < ".join(
        f"{frame.filename.removeprefix(root)}:{frame.lineno} {frame.name}"
        for frame in reversed(frames)
    )
