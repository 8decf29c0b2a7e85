"""The part of the sandbox that stays outside: claims a folder, starts the rest, cleans up.

However it ends, nothing is left: on Ctrl-C, SIGTERM or a closed terminal it closes the pipe that
the inner program watches and waits; killed with -9, the kernel kills the namespaces' first
process with it (PDEATHSIG), and the pipe closes by itself. Only the folder then stays, until the
next start finds its lock free.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import services
from services.sandbox import places
from services.sandbox.drills.show import attend
from services.sandbox.inner import ORDERS, TRACES_SOCKET, Orders
from services.sandbox.machine import TOOL_PATHS, Tools, check_runs, find_tools, isolation
from services.sandbox.network import addresses, node_names
from services.sandbox.options import Options
from services.sandbox.places import Claim
from services.sandbox.relay import carrier
from shared.clock import SystemClock
from shared.errors import ConfigError
from shared.instant import MILLISECOND, SECOND, Duration

STOP_WITHIN_US: Duration = 10 * SECOND  # the inner program takes 6 s at most
LOOK_EVERY_US: Duration = 20 * MILLISECOND
INTERRUPTED = 130  # as shells say it of Ctrl-C
PROJECT = Path(services.__path__[0]).parent
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(options: Options) -> int:
    """Run a sandbox until it or we are told to end; return its exit code."""
    tools = find_tools(options.haproxy)
    check_runs(tools.haproxy, "-v")
    check_runs(tools.nats_server, "--version")
    if options.weak is not None and not (PROJECT / "tests" / "weak").is_dir():
        raise ConfigError(f"--weak {options.weak} needs the project's source; this is without")
    isolated = (tools.unshare, *isolation(tools))
    if options.keep_logs:
        _check_writable(options.keep_logs)
    base = places.base_directory(os.environ, os.geteuid())
    nodes = node_names(options.nodes)
    orders = Orders(options=options, tools=tools, nodes=nodes, addresses=addresses(nodes))
    claimed = places.claim(base, options.name)
    try:
        places.check_socket_paths(claimed.folder, list(orders.addresses))
        (claimed.folder / ORDERS).write_text(orders.encode())
        found = places.publish_context(base, claimed.folder, context(claimed, orders))
        return asyncio.run(_run(claimed, isolated, orders, found=found))
    finally:
        if options.keep_logs and (claimed.folder / "logs").is_dir():
            shutil.copytree(claimed.folder / "logs", options.keep_logs, dirs_exist_ok=True)
        places.release(base, claimed.folder)


def context(claimed: Claim, orders: Orders) -> Mapping[str, object]:
    """Return how other commands reach this sandbox."""
    return {
        "version": 1,
        "cluster": claimed.name,
        "config": str(claimed.folder / "equipoise.yaml"),
        "run_directory": str(claimed.folder),
        "pid": os.getpid(),
        "members": {
            member: str(claimed.folder / member / "api.sock") for member in orders.addresses
        },
    }


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(f"--keep-logs {folder}: {problem.strerror}") from problem
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--keep-logs {folder}: not writable")


async def _run(claimed: Claim, isolated: tuple[str, ...], orders: Orders, *, found: bool) -> int:
    options = orders.options
    relay = await _relay_traces(claimed.folder, options.otlp)
    inner = Inner.start(claimed, isolated, orders.tools)
    shown = attend(claimed.folder, options, SystemClock(), found=found, environ=_environ())
    showing, ended = asyncio.create_task(shown), asyncio.create_task(inner.ended())

    def stop() -> None:
        showing.cancel()
        inner.end()

    loop = asyncio.get_running_loop()
    for ending in ENDINGS:
        loop.add_signal_handler(ending, stop)
    try:
        await asyncio.wait({showing, ended}, return_when=asyncio.FIRST_COMPLETED)
        return await _exit_code(inner, showing, ended, interrupts=options.once)
    finally:
        showing.cancel()
        inner.kill()
        if relay:
            relay.close()


async def _exit_code(
    inner: "Inner", showing: asyncio.Task[int], ended: asyncio.Task[int], *, interrupts: bool
) -> int:
    """End the inside if it has not ended, and return whose code counts."""
    told = inner.told.is_set()
    if not ended.done() and not told:
        inner.end()
    code = await ended
    if code == 0 and showing.done() and not showing.cancelled():
        return showing.result()
    # Drills that were to be played may not all have been.
    return INTERRUPTED if told and interrupts and code == 0 else code


@dataclass(eq=False, slots=True, kw_only=True)
class Inner:
    """The process that makes the namespaces, and all in them."""

    process: subprocess.Popen[bytes]
    stop_pipe: int | None
    told: asyncio.Event

    @classmethod
    def start(cls, claimed: Claim, isolated: tuple[str, ...], tools: Tools) -> "Inner":
        """Start it in a session of its own, so that Ctrl-C reaches only us."""
        read_end, write_end = os.pipe()
        module = [tools.python, "-m", "services.sandbox.inner"]
        arguments = [str(claimed.folder), str(read_end), str(claimed.lock)]
        process = subprocess.Popen(
            [tools.setpriv, "--pdeathsig", "KILL", *isolated, *module, *arguments],
            env=_environ(),
            stdin=subprocess.DEVNULL,
            pass_fds=(read_end, claimed.lock),
            start_new_session=True,
        )
        os.close(read_end)
        return cls(process=process, stop_pipe=write_end, told=asyncio.Event())

    def end(self) -> None:
        """Ask it to end; asked twice, make it."""
        if self.stop_pipe is None:
            self.kill()
            return
        os.close(self.stop_pipe)
        self.stop_pipe = None
        self.told.set()

    def kill(self) -> None:
        """End it now, and with it every process in its namespaces."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    async def ended(self) -> int:
        """Wait for its end, which after it was told may not take for ever."""
        clock = SystemClock()
        give_up_at: int | None = None
        while self.process.poll() is None:
            if give_up_at is None and self.told.is_set():
                give_up_at = clock.now() + STOP_WITHIN_US
            if give_up_at is not None and clock.now() >= give_up_at:
                self.kill()
            await clock.sleep(LOOK_EVERY_US)
        code = self.process.returncode
        return code if code >= 0 else 128 - code  # as shells say it


def _environ() -> dict[str, str]:
    environ = dict(os.environ)
    environ["PATH"] = os.pathsep.join((environ.get("PATH", ""), *TOOL_PATHS))
    paths = filter(None, (str(PROJECT), environ.get("PYTHONPATH")))
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    return environ


async def _relay_traces(folder: Path, otlp: str | None) -> asyncio.Server | None:
    if otlp is None:
        return None
    collector = urlsplit(otlp)
    serve = carrier(lambda: asyncio.open_connection(collector.hostname, collector.port))
    return await asyncio.start_unix_server(serve, folder / TRACES_SOCKET)
