"""A Docker engine to test on: the one that is here, or one that we install and start.

    python -m tests.compose.engine install      installs it from Debian's packages, where we may

An engine of our own has its folders and sockets below one temporary folder, and ends with us.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# Debian 12's own engine (20.10) knows no `start_interval`; the next release's packages are built
# so that they run here. Pinned low: nothing else comes from there.
SUITE = "trixie"
TOOLS = ("mmdebstrap", "busybox-static")  # what stand-ins are made with
PACKAGES = (
    *(f"{name}/{SUITE}" for name in ("docker.io", "docker-cli", "containerd", "docker-compose")),
    f"docker-buildx/{SUITE}",
    *("iptables", "iproute2"),
    *TOOLS,
)
SOURCE = Path("/etc/apt/sources.list.d/equipoise-engine.sources")
PIN = Path("/etc/apt/preferences.d/equipoise-engine")
PIN_TEXT = f"Package: *\nPin: release n={SUITE}\nPin-Priority: 100\n"
PREFIX = "equipoise-engine-"
READY_WITHIN_S = 60
STOP_WITHIN_S = 30


class NoEngineError(Exception):
    """There is no engine here, and none can be made; the text says why."""


def answers(environ: dict[str, str] | None = None) -> bool:
    """Whether an engine answers at the usual place, or where DOCKER_HOST says."""
    if shutil.which("docker") is None:
        return False
    asked = ("docker", "version", "--format", "{{.Server.Version}}")
    return (
        subprocess.run(asked, capture_output=True, check=False, timeout=20, env=environ).returncode
        == 0
    )


def may_install() -> bool:
    """Whether this is a Debian whose packages we may install."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install() -> None:
    """Install engine, compose and what makes stand-ins; raise `NoEngineError` where we may not."""
    if all(shutil.which(name) for name in ("dockerd", "mmdebstrap", "busybox")) and _composes():
        return
    if not may_install():
        raise NoEngineError("no Docker engine answers here, and only root may install one")
    SOURCE.write_text(_source())
    PIN.write_text(PIN_TEXT)
    _install(PACKAGES)


def install_tools() -> None:
    """Install what makes stand-ins, beside an engine that is here; raise `NoEngineError`."""
    if all(shutil.which(name) for name in ("mmdebstrap", "busybox")):
        return
    if not may_install():
        raise NoEngineError("an image cannot be pulled, and only root may install mmdebstrap")
    _install(TOOLS)


def _install(packages: Sequence[str]) -> None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ("apt-get", "update", "-qq"),
        ("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages),
    ):
        done = subprocess.run(command, capture_output=True, env=environ, check=False)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()[-1_000:]
            raise NoEngineError(f"{' '.join(command[:2])} could not bring an engine: {said}")


def _composes() -> bool:
    asked = ("docker", "compose", "version")
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def _source() -> str:
    """Return this machine's own source of packages, for the other release."""
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for stanza in path.read_text().split("\n\n"):
            lines = [line for line in stanza.splitlines() if line and not line.startswith("#")]
            if any(line.startswith("Suites:") and "bookworm" in line for line in lines):
                if "security" in stanza:
                    continue
                kept = [line for line in lines if not line.startswith("Suites:")]
                return "\n".join([*kept, f"Suites: {SUITE}"]) + "\n"
    for line in Path("/etc/apt/sources.list").read_text().splitlines():
        words = line.split()
        if words[:1] == ["deb"] and "bookworm" in words and "security" not in line:
            place = next(word for word in words if "://" in word)
            return f"Types: deb\nURIs: {place}\nSuites: {SUITE}\nComponents: main\n"
    raise NoEngineError("this machine's apt has no source of Debian's packages to go by")


@contextmanager
def engine() -> Iterator[dict[str, str]]:
    """Yield the environment in which `docker` finds an engine."""
    if answers():
        yield dict(os.environ)
        return
    install()
    _end_stale()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as made:
        folder = Path(made)
        environ = {**os.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock"}
        command = [
            # It ends with us, whatever ends us: and with it all of its containers.
            *("setpriv", "--pdeathsig", "TERM", "dockerd"),
            *("--host", environ["DOCKER_HOST"], "--data-root", f"{folder}/data"),
            *("--exec-root", f"{folder}/run", "--pidfile", f"{folder}/pid"),
        ]
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _until_ready(daemon, environ, folder / "log")
            yield environ
        finally:
            daemon.terminate()
            daemon.wait(STOP_WITHIN_S)


def _end_stale() -> None:
    """End engines of ours that outlived their run; those of others have other folders."""
    for pid in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/pid"):
        with suppress(OSError, ValueError):
            number = int(pid.read_text())
            if str(pid.parent) in Path(f"/proc/{number}/cmdline").read_text():
                os.kill(number, signal.SIGTERM)
        shutil.rmtree(pid.parent, ignore_errors=True)


def _until_ready(daemon: "subprocess.Popen[bytes]", environ: dict[str, str], log: Path) -> None:
    waiting = threading.Event()
    for _ in range(READY_WITHIN_S * 5):
        if answers(environ):
            return
        if daemon.poll() is not None:
            break
        waiting.wait(0.2)
    said = log.read_text(errors="replace").splitlines()[-5:]
    raise NoEngineError("dockerd does not start here: " + " / ".join(said))


if __name__ == "__main__":
    try:
        install()
    except NoEngineError as error:
        sys.exit(f"engine: {error}")
