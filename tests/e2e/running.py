"""A sandbox for as long as a test or a benchmark needs it, and nothing of it afterwards."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from services.sandbox.control import SOCKET, Control
from services.sandbox.parts import RECORDS, read_journals
from services.sandbox.records import Record, RecordReader
from shared.clock import SystemClock
from shared.errors import MachineError
from shared.instant import SECOND, Duration, Instant
from tests.eventually import PATIENCE_S, PATIENCE_US

ROOT = Path(__file__).parents[2]
READY_WITHIN_US: Duration = 60 * SECOND
SETTLED_US: Duration = SECOND // 2  # no failures for so long: the start is over
LOOK_EVERY_S = 0.02
UNFIT = MachineError.exit_code
SAID_MAX = 1 << 20


class UnfitMachineError(Exception):
    """This machine cannot run a sandbox; the text says why."""


def wait_until(holds: Callable[[], bool], what: str, within_us: Duration = PATIENCE_US) -> None:
    """Poll until something holds, or fail saying what did not; a last look is after the time."""
    clock, waiting = SystemClock(), threading.Event()
    deadline = clock.now() + within_us
    is_late = False
    while not holds():
        assert not is_late, f"not within {within_us / SECOND:g} s: {what}"
        waiting.wait(LOOK_EVERY_S)
        is_late = clock.now() > deadline


@dataclass(slots=True, kw_only=True)
class RunningSandbox:
    """A sandbox that is up, as seen and acted on from outside."""

    launcher: subprocess.Popen[bytes]
    folder: Path
    control: Control
    records: RecordReader
    said: IO[bytes]

    def story(self) -> str:
        """Return what the sandbox has said so far."""
        return read_from(self.said)

    @property
    def context(self) -> Mapping[str, object]:
        """How other commands find it."""
        content: dict[str, object] = json.loads((self.folder / "context.json").read_bytes())
        return content

    def recorded_until(self, instant: Instant, within_us: Duration = PATIENCE_US) -> list[Record]:
        """Return the new records, once every request that was due before an instant has ended."""
        found: list[Record] = []

        def complete() -> bool:
            found.extend(self.records.read())
            return self.records.complete_until >= instant

        wait_until(complete, "the client's records are complete", within_us)
        return found

    def until_serving(self, within_us: Duration = READY_WITHIN_US) -> None:
        """Wait until clients have been answered, all of them, for a while."""
        clock = SystemClock()
        well_since = clock.now()

        def serving() -> bool:
            nonlocal well_since
            for record in self.records.read():
                if not record.ok:
                    well_since = max(well_since, record.ended_at)
            return self.records.complete_until - well_since >= SETTLED_US

        wait_until(serving, f"no request failed for {SETTLED_US / SECOND:g} s", within_us)

    def journals(self) -> dict[str, list[str]]:
        """Return the ids of the POSTs that were done, by instance."""
        return read_journals(self.folder)

    def equipoise(self, *words: str) -> tuple[int, str, str]:
        """Run `equipoise` as a person would; return its exit code, output and complaints."""
        api = str(self.folder / "node-a" / "api.sock")
        result = subprocess.run(
            [sys.executable, "-m", "services.cli", *words],
            cwd=ROOT,
            env={**os.environ, "EQUIPOISE_API": api},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return result.returncode, result.stdout.decode(), result.stderr.decode()

    def log(self, program: str) -> str:
        """Return what a program has logged."""
        return Path(self.control.programs()[program].log).read_text(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class As:
    """As whom a sandbox is started: a prefix of its command, and what changes in its paths."""

    prefix: tuple[str, ...] = ()
    python: str = sys.executable
    root: Path = ROOT
    environ: Mapping[str, str] | None = None
    owner: int | None = None


US = As()


@contextmanager
def runtime_directory(owner: int | None = None) -> Iterator[Path]:
    """Make a runtime directory with a short path: the names of unix sockets are short."""
    with tempfile.TemporaryDirectory(prefix="eq-", dir="/tmp", ignore_cleanup_errors=True) as made:
        path = Path(made)
        if owner is not None:
            os.chown(path, owner, owner)
        yield path


@contextmanager
def running_sandbox(
    *arguments: str,
    runtime: Path | None = None,
    whom: As = US,
    ready_within_us: Duration = READY_WITHIN_US,
) -> Iterator[RunningSandbox]:
    """Run a sandbox in a runtime directory of its own (or a given one) until the block ends."""
    with (
        nullcontext_or(runtime, whom) as directory,
        tempfile.TemporaryFile() as said,
        launched(arguments, directory, said, whom) as launcher,
    ):
        folder = _wait_for_folder(launcher, directory, said)
        with Control(folder / SOCKET) as control:
            control.until_ready(ready_within_us)
            records = RecordReader(folder / RECORDS)
            running = RunningSandbox(
                launcher=launcher, folder=folder, control=control, records=records, said=said
            )
            try:
                if "client/load" in control.programs():
                    running.until_serving(ready_within_us)
                yield running
            finally:
                records.close()


@contextmanager
def nullcontext_or(runtime: Path | None, whom: As) -> Iterator[Path]:
    """Use a given directory, or make one."""
    if runtime is not None:
        yield runtime
    else:
        with runtime_directory(whom.owner) as made:
            yield made


@contextmanager
def launched(
    arguments: Sequence[str],
    runtime: Path,
    said: IO[bytes],
    whom: As = US,
    talk: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the launcher; whatever happens, it and all of its are gone at the end.

    What it says on standard error goes to `talk`, or where everything goes.
    """
    launcher = subprocess.Popen(
        [*whom.prefix, whom.python, "-m", "services.sandbox", *arguments],
        cwd=None if whom.prefix else whom.root,
        env={**os.environ, **(whom.environ or {}), "XDG_RUNTIME_DIR": str(runtime)},
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=talk or said,
    )
    try:
        yield launcher
    finally:
        launcher.terminate()
        try:
            launcher.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()


class Ran(NamedTuple):
    """How a sandbox ended that ends by itself."""

    code: int
    out: str
    talk: str


def ran(*arguments: str, whom: As = US, within_s: int = 240) -> Ran:
    """Run a sandbox to its end."""
    with (
        runtime_directory(whom.owner) as runtime,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as talk,
        launched(arguments, runtime, said, whom, talk) as launcher,
    ):
        return ended(launcher, said, talk, within_s)


def ended(
    launcher: subprocess.Popen[bytes], said: IO[bytes], talk: IO[bytes], within_s: int = 240
) -> Ran:
    """Wait for the end of a sandbox that ends by itself."""
    code = launcher.wait(within_s)
    if code == UNFIT:
        raise UnfitMachineError(read_from(talk))
    return Ran(code, read_from(said), read_from(talk))


def read_from(file: IO[bytes]) -> str:
    """Return all that a program has written; the place where it goes on writing stays."""
    return os.pread(file.fileno(), SAID_MAX, 0).decode(errors="replace")


def first_process(launcher: subprocess.Popen[bytes]) -> int:
    """Return process 1 of the sandbox: the child of `unshare`, the child of the launcher."""
    (unshare,) = children_of(launcher.pid)
    (first,) = children_of(unshare)
    return first


def namespace_of(launcher: subprocess.Popen[bytes]) -> str:
    """Return the name of the sandbox's process namespace."""
    return str(Path(f"/proc/{first_process(launcher)}/ns/pid").readlink())


def children_of(pid: int) -> list[int]:
    """Return a process's children."""
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def in_namespace(namespace: str) -> set[int]:
    """Return all processes of a process namespace, as seen from outside."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if str(path.readlink()) == namespace:
                found.add(int(path.parts[2]))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def _wait_for_folder(launcher: subprocess.Popen[bytes], runtime: Path, said: IO[bytes]) -> Path:
    """Return the folder of the sandbox that this launcher made."""

    def found() -> Path | None:
        for path in runtime.glob("equipoise/*/context.json"):
            with suppress(OSError, ValueError):
                if json.loads(path.read_bytes())["pid"] == launcher.pid:
                    return path.parent
        return None

    def settled() -> bool:
        folder = found()
        return launcher.poll() is not None or (folder is not None and (folder / SOCKET).exists())

    wait_until(settled, "the sandbox's control socket is there", READY_WITHIN_US)
    folder = found()
    if launcher.poll() is not None or folder is None:
        text = read_from(said).strip()
        if launcher.returncode == UNFIT:
            raise UnfitMachineError(text)
        raise AssertionError(f"the sandbox ended with {launcher.returncode}: {text}")
    return folder


@contextmanager
def ordinary_user() -> Iterator[As]:
    """Return how to start a sandbox without being root, whoever runs the tests.

    Root's Python may be where nobody else may look: it, its packages and the project are mounted
    elsewhere, in a mount namespace that only this sandbox sees.
    """
    if os.geteuid() != 0:
        yield US
        return
    user = 65_534
    with tempfile.TemporaryDirectory(prefix="eq-user-", dir="/tmp") as made:
        top = Path(made)
        top.chmod(0o755)
        places = {
            "python": Path(sys.base_prefix),
            "venv": Path(sys.prefix),
            "project": ROOT,
        }
        script = ["set -e"]
        for name, source in places.items():
            (top / name).mkdir()
            script.append(f"mount --bind '{source}' '{top / name}'")
        script += _opened(Path(sys.base_prefix), top / "python")
        drop = f"setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all"
        script.append(f"cd '{top}/project'; exec {drop} -- \"$@\"")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        unshare = shutil.which("unshare") or "/usr/bin/unshare"
        packages = top / "venv" / "lib" / version / "site-packages"
        yield As(
            prefix=(unshare, "--mount", "sh", "-c", "\n".join(script), "sh"),
            python=str(top / "python" / "bin" / version),
            root=top / "project",
            environ={"PYTHONPATH": f"{top / 'project'}:{packages}", "HOME": made},
            owner=user,
        )


def _opened(place: Path, copy: Path) -> list[str]:
    """Return what puts a folder back in its place where a parent keeps ordinary users out.

    A Python that is linked to its own library looks for it there, and finds the system's instead.
    """
    closed = [x for x in reversed(place.parents) if not x.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    return [
        f"mount -t tmpfs -o mode=755 none '{closed[0]}'",
        f"mkdir -p '{place}'",
        f"mount --bind '{copy}' '{place}'",
    ]
