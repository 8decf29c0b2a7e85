"""A listening socket in the file system that survives a kill of its owner, and refuses a second."""

import os
import socket
from pathlib import Path

from shared.errors import MachineError

PATH_MAX = 107  # bytes; sun_path of Linux has 108 with its end
MODE = 0o660  # the owner and the group of the service may ask; nobody else
BACKLOG = 64


def listen(path: Path, program: str) -> socket.socket:
    """Return a listening socket; that of a dead program is replaced, a live one's is an error."""
    if len(os.fsencode(path)) > PATH_MAX - len(f".{os.getpid()}"):
        raise MachineError(f"the path of the socket is too long for the kernel: {path}")
    _refuse_second(path, program)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(MODE)
        listener.listen(BACKLOG)
        # A rename replaces what a killed program left, and clients never find nothing there.
        fresh.rename(path)
    except OSError as error:
        listener.close()
        raise MachineError(f"cannot make the socket {path}: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener


def _refuse_second(path: Path, program: str) -> None:
    if not path.exists():
        return
    if not path.is_socket():
        raise MachineError(f"{path} is not a socket; remove it, or set EQUIPOISE_RUN_DIR")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise MachineError(f"cannot use the socket {path}: {error.strerror}") from error
    raise MachineError(f"another {program} answers on {path}; stop it, or set EQUIPOISE_RUN_DIR")
