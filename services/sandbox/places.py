"""Where a sandbox's files are, who owns them, and how abandoned ones are found.

    $XDG_RUNTIME_DIR/equipoise/     or /tmp/equipoise-UID/; mode 0700
      context.json                  the sandbox that other commands find
      sandbox/                      one folder a sandbox
        lock                        locked as long as any of its processes lives
        context.json  control.sock  equipoise.yaml  requests.bin  logs/ …
        node-a/                     the run directory of a member
        node-a/state/               its state directory

The lock is the kernel's (`flock`), so it ends with the last process that holds it: a folder
whose lock is free was abandoned, and the next start removes it.
"""

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import MachineError

SOCKET_PATH_MAX = 107  # bytes: sun_path is 108 with its closing zero
# HAProxy binds PATH.PID.tmp before it renames it; the longest path that anyone binds is this one.
LONGEST_SOCKET = "haproxy-master.sock.4194304.tmp"
NAMES_MAX = 100  # how many sandboxes of one person we try to tell apart


@dataclass(frozen=True, slots=True)
class Claim:
    """A folder that is ours for as long as the lock's descriptor is open in any process."""

    folder: Path
    lock: int

    @property
    def name(self) -> str:
        """The sandbox's name."""
        return self.folder.name


def base_directory(environ: Mapping[str, str], user: int) -> Path:
    """Return the folder of all sandboxes of one person, made if need be, never a stranger's."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK | os.X_OK):
        base = Path(runtime) / "equipoise"
    else:
        base = Path(f"/tmp/equipoise-{user}")  # noqa: S108 - its owner and mode are checked below
    try:
        base.mkdir(mode=0o700, exist_ok=True)
    except OSError as problem:
        raise MachineError(f"cannot make {base}: {problem.strerror}") from problem
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
        raise MachineError(
            f"{base} must be a folder of user {user}, but user {found.st_uid} made it; "
            "remove it, or set XDG_RUNTIME_DIR to a folder of your own"
        )
    base.chmod(0o700)
    return base.resolve()


def claim(base: Path, name: str | None) -> Claim:
    """Make a folder for one sandbox and lock it; a name that nobody asked for is chosen."""
    with _alone_in(base):
        sweep(base)
        for candidate in [name] if name else _names():
            claimed = _try_claim(base / candidate)
            if claimed is not None:
                return claimed
    raise MachineError(
        f"a sandbox named {name} runs already in {base}; end it, or choose another --name"
        if name
        else f"{NAMES_MAX} sandboxes run already in {base}; end one"
    )


@contextmanager
def _alone_in(base: Path) -> Iterator[None]:
    """Keep other sandboxes that start from removing what is just being made."""
    lock = os.open(base / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _names() -> Iterator[str]:
    yield "sandbox"
    for number in range(2, NAMES_MAX + 1):
        yield f"sandbox-{number}"


def _try_claim(folder: Path) -> Claim | None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return None  # what was abandoned has just been removed: it is alive, or not ours
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Claim(folder, lock)


def sweep(base: Path) -> list[str]:
    """Remove what ended sandboxes left, such as after a `kill -9`; return their names."""
    removed = []
    for lock_path in sorted(base.glob("*/lock")):
        lock = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            release(base, lock_path.parent)
            removed.append(lock_path.parent.name)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    return removed


def release(base: Path, folder: Path) -> None:
    """Remove a sandbox's folder, and the context file if it is this sandbox's."""
    context = base / "context.json"
    if _owner_of(context) == str(folder):
        context.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _owner_of(context: Path) -> str | None:
    try:
        content = json.loads(context.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("run_directory") if isinstance(content, dict) else None


def check_socket_paths(folder: Path, members: Sequence[str]) -> None:
    """Refuse a folder so deep that the kernel could not name the sockets in it."""
    longest = max(members, key=len)
    length = len(os.fsencode(folder / longest / LONGEST_SOCKET))
    if length > SOCKET_PATH_MAX:
        raise MachineError(
            f"the paths of unix sockets under {folder} would have {length} bytes; "
            f"{SOCKET_PATH_MAX} is the kernel's limit: choose a shorter --name or XDG_RUNTIME_DIR"
        )


def publish_context(base: Path, folder: Path, context: Mapping[str, object]) -> bool:
    """Write how other commands reach this sandbox; return whether they will find it unasked.

    The first of several sandboxes keeps the common file; each has its own in its folder.
    """
    content = json.dumps(context, indent=2) + "\n"
    _write(folder / "context.json", content)
    common = base / "context.json"
    owner = _owner_of(common)
    if owner is not None and owner != str(folder) and Path(owner).is_dir():
        return False
    _write(common, content)
    return True


def _write(path: Path, content: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(content)
    new.replace(path)
