"""The folders that programs of one member share: sockets in one, what must survive in another."""

from pathlib import Path

from shared.errors import MachineError


def make(directory: Path) -> None:
    """Make a folder where there is none; raise `MachineError` if this user may not."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"{directory} cannot be made: {error.strerror};"
            " make it writable for this user, or set EQUIPOISE_RUN_DIR and EQUIPOISE_STATE_DIR"
        ) from error
