"""HAProxy as a program: where it is, and what it says of a configuration."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from shared.errors import MachineError, SwitchError
from shared.instant import SECOND, Duration

CHECK_WITHIN_US: Duration = 5 * SECOND  # 10 ms are usual
SAID_MAX = 2_000  # characters of its complaints
# An ordinary user's PATH lacks these.
ELSEWHERE = ("/usr/local/sbin", "/usr/sbin", "/sbin")


NONE = "none"


class Checker(Protocol):
    """Says whether HAProxy would start with a configuration."""

    async def check(self, configuration: Path) -> None:
        """Raise `SwitchError` with HAProxy's own words if it would not."""


class Unchecked:
    """Where the program is not at hand: the master itself refuses what it cannot load.

    It says so since 2.7, and goes on with what it has.
    """

    async def check(self, configuration: Path) -> None:
        """Leave it to the master."""


class HaproxyProgram:
    """The program that checks a configuration before the running one is asked to load it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def check(self, configuration: Path) -> None:
        """Raise `SwitchError` with HAProxy's own words if it would not start with this."""
        try:
            async with asyncio.timeout(CHECK_WITHIN_US / SECOND):
                code, said = await self._run("-c", "-f", str(configuration))
        except TimeoutError:
            text = f"did not check {configuration} within {CHECK_WITHIN_US // SECOND} s"
            raise SwitchError(f"{self.path} {text}") from None
        except OSError as error:
            raise SwitchError(f"{self.path} cannot be run: {error.strerror}") from error
        if code != 0:
            raise SwitchError(f"haproxy refuses the configuration: {_complaints(said)}")

    async def _run(self, *arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            self.path, *arguments, stdout=PIPE, stderr=STDOUT, env=environment_of(self.path)
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode is not None
        return process.returncode, said.decode("utf-8", "replace")


def find(environ: Mapping[str, str]) -> Checker:
    """Return the program that `EQUIPOISE_HAPROXY` or the PATH names; `none` is a word."""
    named = environ.get("EQUIPOISE_HAPROXY", "")
    if named == NONE:
        return Unchecked()
    path = os.pathsep.join((environ.get("PATH", ""), *ELSEWHERE))
    found = shutil.which(named or "haproxy", path=path)
    if found is None and named:
        raise MachineError(f"EQUIPOISE_HAPROXY is {named}, which is no program")
    if found is None:
        raise MachineError(
            "haproxy is missing: install it (apt-get install haproxy), or set EQUIPOISE_HAPROXY"
            f" to its path, or to {NONE} if it runs elsewhere, as in a container of its own"
        )
    return HaproxyProgram(Path(found))


def environment_of(program: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what to run it with: the wheel's program wants the libraries that lie beside it."""
    beside = program.parent / "lib"
    if not beside.is_dir():
        return dict(environ)
    libraries = filter(None, (str(beside), environ.get("LD_LIBRARY_PATH", "")))
    return {**environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def _complaints(said: str) -> str:
    """Return its alerts in one line, without what it says at every start."""
    lines = [line for line in said.splitlines() if "[ALERT]" in line] or said.splitlines()
    words = "; ".join(re.sub(r"^\[\w+\]\s*\(\d+\)\s*:\s*", "", line).strip() for line in lines)
    return words[:SAID_MAX] or "without a word"
