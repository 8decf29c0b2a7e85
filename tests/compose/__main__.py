"""`make test-compose`: the cluster of docker-compose.yml on a real engine, broken and watched.

Finds an engine or installs one, makes stand-ins for images that cannot be had, builds ours, and
lets pytest do the rest; whatever happens, nothing of it is left running. Where no engine is to be
had it says so and ends well. What follows `--` is pytest's.

    --measure N   play each drill N times, and write a row for each, instead of testing
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from shared.clock import SystemClock
from shared.instant import SECOND
from tests.compose import stand_ins
from tests.compose.cluster import ROOT, VERSION, raises_limits, remove, taken
from tests.compose.engine import NoEngineError, engine
from tests.compose.seeing import unplug

IMAGE = f"equipoise:{VERSION}"
# What an engine that may not raise limits is told, so that containers start at all.
ORDINARY = {"EQUIPOISE_RTPRIO": "0", "EQUIPOISE_NICE": "0"}
OURS = ("tests/compose", "tests/integration/docker")


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"test-compose: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Test, or measure."""
    parser = argparse.ArgumentParser(prog="test-compose", allow_abbrev=False)
    parser.add_argument("--measure", type=int, metavar="N")
    parser.add_argument("pytest", nargs="*")
    options = parser.parse_args(arguments)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _end)
    if os.geteuid() != 0:
        say("SKIPPED: only root can look into the containers' networks, as these tests do")
        return 0
    try:
        with engine() as environ:
            return _on(environ, options)
    except NoEngineError as problem:
        say(f"SKIPPED: {problem}")
        return 0


def _end(number: int, where: object) -> NoReturn:
    del where
    raise SystemExit(128 + number)


def _on(environ: Mapping[str, str], options: argparse.Namespace) -> int:
    """Test on an engine."""
    os.environ.update(environ)
    remove(environ)
    unplug()
    if who := taken(environ):
        say(f"the compose file's addresses are in use: {who}. Nothing was touched")
        return 1
    try:
        _timed("images", _images)
        environ = {**environ, **_limits(environ)}
        if options.measure:
            command = [sys.executable, "-m", "tests.compose.measure", str(options.measure)]
        else:
            command = [sys.executable, "-m", "pytest", "-q", "-m", "compose or engine"]
            command += options.pytest or OURS
        return subprocess.run(command, cwd=ROOT, env=dict(environ), check=False).returncode
    finally:
        remove(environ)
        unplug()


def _images() -> None:
    """Make every image be there that the compose file names."""
    for name in stand_ins.ensure():
        say(f"made a stand-in for {name}, which cannot be pulled here")
    command = ["docker", "build", "--quiet", "--tag", IMAGE, "--build-arg", f"VERSION={VERSION}"]
    stand_ins.run(*command, "--file", "deploy/Dockerfile", ".", within=ROOT)
    for name in stand_ins.ensure(IMAGE):
        say(f"made a stand-in for {name}, which cannot be pulled here: not Jaeger itself")


def _limits(environ: Mapping[str, str]) -> Mapping[str, str]:
    if raises_limits(environ, IMAGE):
        return {}
    say("this engine may not raise limits: what the file asks for by them is given from outside")
    return ORDINARY


def _timed(what: str, act: Callable[[], None]) -> None:
    clock = SystemClock()
    begin_at = clock.now()
    act()
    say(f"{what}: {(clock.now() - begin_at) / SECOND:.1f} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
