"""The driver of HAProxy: its Runtime API for rules, its file and its master for structure."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.traffic_switcher.adapters.driver import MaySend
from services.traffic_switcher.adapters.haproxy_program import Checker
from services.traffic_switcher.adapters.haproxy_socket import HaproxySocket, NotRunningError
from services.traffic_switcher.core.haproxy_file import (
    ALIVE_SOCKET,
    Place,
    mark_of,
    render,
    token_of,
)
from services.traffic_switcher.core.haproxy_words import Exchange, exchanges, read
from services.traffic_switcher.core.installed import Installation, Target
from services.traffic_switcher.core.steps import Step
from shared.clock import Clock
from shared.errors import SwitchError
from shared.instant import MILLISECOND, SECOND, Duration
from shared.rules import Rules
from shared.settings import Settings

# A reload takes 20 ms and the old process goes on meanwhile; with 2.6 the master answers before
# it has begun, so the new process is waited for.
RELOAD_WITHIN_US: Duration = 5 * SECOND
MASTER_WITHIN_US: Duration = SECOND  # it replaces itself in 20 ms
LOOK_AGAIN_US: Duration = 20 * MILLISECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where one node's HAProxy is found."""

    configuration: Path
    socket: Path
    master: Path
    alive: Path

    @classmethod
    def within(cls, run_directory: Path) -> "Files":
        """Return the usual names in a node's run directory."""
        return cls(
            configuration=run_directory / "haproxy.cfg",
            socket=run_directory / "haproxy.sock",
            master=run_directory / "haproxy-master.sock",
            alive=run_directory / ALIVE_SOCKET,
        )


class HaproxyDriver:
    """One node's HAProxy."""

    def __init__(self, settings: Settings, program: Checker, clock: Clock) -> None:
        files = Files.within(settings.run_directory)
        self._cluster = settings.cluster
        self._node = settings.member
        self._place = Place(socket=files.socket, token=token_of(settings.key))
        self._files = files
        self._program = program
        self._clock = clock
        self._mark = mark_of(self._cluster, self._node, self._place)
        self._worker = HaproxySocket(files.socket)
        self._master = HaproxySocket(files.master, ends_after_line=True)

    async def read(self, *, counters: bool) -> Installation:
        """Return what is installed now."""
        (exchange,) = exchanges((), counters=counters)
        installation = await self._exchange(exchange, lambda: True)
        assert installation is not None
        return installation

    async def apply(self, steps: Sequence[Step], may_send: MaySend) -> Installation | None:
        """Take the steps in order and return what is installed then."""
        installation: Installation | None = None
        for exchange in exchanges(steps):
            installation = await self._exchange(exchange, may_send)
            if installation is None:
                return None
        return installation

    async def prepare(self, rules: Rules, closed: frozenset[Target], *, keep: bool) -> None:
        """Write the file, and reload if HAProxy runs another structure."""
        text = render(self._cluster, self._node, self._place, rules, closed)
        found = self._found()
        is_checked = self._mark in found  # only words of rules differ, and those are always right
        if text != found and not (keep and is_checked):
            await self._replace(text, is_checked=is_checked)
        before = await self._running()
        if before is not None and before.outdated:
            await self._reload(before.process, found)

    async def _exchange(self, exchange: Exchange, may_send: MaySend) -> Installation | None:
        answer = await self._worker.ask(exchange.line, may_send=may_send)
        if answer is None:
            return None
        try:
            return read(answer, exchange, current=self._mark)
        except SwitchError as error:
            raise self._worker.error(str(error)) from error

    def _found(self) -> str:
        try:
            return self._files.configuration.read_text()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise SwitchError(f"{self._files.configuration} cannot be read: {error}") from error

    async def _replace(self, text: str, *, is_checked: bool) -> None:
        """Put a file in the place of the old one, all at once, if HAProxy accepts it."""
        path = self._files.configuration
        new = path.with_name(f"{path.name}.new")
        try:
            _write(new, text)
            if not is_checked:
                await self._program.check(new)
            new.replace(path)
        except OSError as error:
            raise SwitchError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            new.unlink(missing_ok=True)

    async def _running(self) -> Installation | None:
        """Return what runs; None if nothing does: then a supervisor will start it with our file."""
        try:
            return await self.read(counters=False)
        except NotRunningError:
            return None

    async def _reload(self, process: str, last: str) -> None:
        said = await self._tell_master("reload\n")
        if said.startswith("Success=0"):
            if last:  # what it runs, and would start with
                _write(self._files.configuration, last)
            raise self._master.error(f"could not reload: {' '.join(said.split())[:2_000]}")
        until_at = self._clock.now() + RELOAD_WITHIN_US
        while self._clock.now() < until_at:
            with suppress(SwitchError):  # the old one goes, the new one comes
                running = await self.read(counters=False)
                if running.process != process and not running.outdated:
                    return
            await self._clock.sleep(LOOK_AGAIN_US)
        raise self._master.error(
            "was told to reload, but another configuration is running:"
            f" is it started with -f {self._files.configuration}?"
        )

    async def _tell_master(self, line: str) -> str:
        """Return the master's answer; it is deaf for a moment while it begins itself anew."""
        until_at = self._clock.now() + MASTER_WITHIN_US
        while True:
            try:
                return await self._master.ask(line, within_us=RELOAD_WITHIN_US) or ""
            except NotRunningError as error:
                if self._clock.now() >= until_at:
                    text = f"{error}; to be reloaded it must be started with -W -S"
                    raise SwitchError(text) from error
            await self._clock.sleep(LOOK_AGAIN_US)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o640)  # it holds the token of verifications; HAProxy may be of our group
    path.write_text(text)
