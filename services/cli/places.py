"""Where the consoles of the cluster answer: option, environment, context file, this machine."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from services.cli.exits import Ended, Exit

MACHINE = Path("/run/equipoise/api.sock")
CONTEXT_MAX = 1_048_576  # bytes of a context file; a hundred members take 10 KB


class Place(NamedTuple):
    """A console's socket, and whose it is as far as is known."""

    member: str
    path: Path


class Places(NamedTuple):
    """Where to ask, in order, and who said so."""

    found: tuple[Place, ...]
    origin: str


def context_file(environ: Mapping[str, str]) -> Path:
    """Return where a sandbox says how to reach its members."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    # Without a runtime directory the name must not be guessable by others for long: `_trusted`.
    directory = Path(runtime) / "equipoise" if runtime else Path(f"/tmp/equipoise-{os.getuid()}")  # noqa: S108
    return directory / "context.json"


def places(api: str | None, member: str | None, environ: Mapping[str, str]) -> Places:
    """Return where to ask; `member` chooses among those of a context."""
    explicit = api or environ.get("EQUIPOISE_API")
    if explicit:
        origin = "--api" if api else "EQUIPOISE_API"
        return Places((Place("", Path(explicit)),), origin)
    file = context_file(environ)
    if _trusted(file):
        return Places(_chosen(_members(file), member, file), str(file))
    if member is not None:
        mend = f"there is no context at {file}; use --api PATH"
        raise Ended(Exit.WRONG, f"--from {member} needs a context", mend=mend)
    return Places((Place("", MACHINE),), "the default")


def _trusted(file: Path) -> bool:
    """Return whether a context is there, and ours: another user's could lead commands astray."""
    try:
        seen = file.stat()
    except OSError:
        return False
    if seen.st_uid not in (os.getuid(), 0):
        raise Ended(Exit.WRONG, f"{file} belongs to another user and is not read")
    return True


def _members(file: Path) -> dict[str, Path]:
    try:
        with file.open("rb") as opened:
            context = json.loads(opened.read(CONTEXT_MAX))
        members = {str(name): Path(path) for name, path in context["members"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        text = f"{file} cannot be read as a context: {type(error).__name__}: {error}"
        raise Ended(Exit.WRONG, text, mend="remove it, or use --api PATH") from error
    if not members:
        raise Ended(Exit.WRONG, f"{file} names no member", mend="remove it, or use --api PATH")
    return members


def _chosen(members: Mapping[str, Path], member: str | None, file: Path) -> tuple[Place, ...]:
    if member is None:
        return tuple(Place(name, path) for name, path in members.items())
    if member not in members:
        known = ", ".join(members)
        raise Ended(Exit.WRONG, f"{file} has no member '{member}'", mend=f"known: {known}")
    return (Place(member, members[member]),)
