"""The console's socket in the file system, and the HTTP server behind it."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.errors import MachineError

PATH_MAX = 107  # bytes; sun_path of Linux has 108 with its end
MODE = 0o660  # the owner and the group of the service may ask; nobody else
CONNECTIONS_MAX = 128  # four times the followers: descriptors are finite
BACKLOG = 64
FIRST_REQUEST_WITHIN_S = 10.0  # a connection that asks nothing is let go
STOP_WITHIN_S = 1  # open answers may finish; followers are told to go


def listen(path: Path) -> socket.socket:
    """Return a listening socket; that of a dead console is replaced, a live one's is an error."""
    if len(os.fsencode(path)) > PATH_MAX - len(f".{os.getpid()}"):
        raise MachineError(f"the path of the socket is too long for the kernel: {path}")
    _refuse_second(path)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(fresh))
        fresh.chmod(MODE)
        listener.listen(BACKLOG)
        # A rename replaces what a killed console left, and clients never find nothing there.
        fresh.rename(path)
    except OSError as error:
        listener.close()
        fresh.unlink(missing_ok=True)
        raise MachineError(f"cannot make the socket {path}: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener


def _refuse_second(path: Path) -> None:
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
    raise MachineError(f"another console answers on {path}; stop it, or set EQUIPOISE_RUN_DIR")


class _Protocol(H11Protocol):
    """HTTP that lets a connection go on which nothing was asked in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.loop.call_later(FIRST_REQUEST_WITHIN_S, self._leave_idle, transport)

    def _leave_idle(self, transport: asyncio.Transport) -> None:
        began = getattr(self, "cycle", None) is not None  # declared as never None, and is at first
        if not began and not transport.is_closing():
            transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the runtime."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(application: Starlette, listener: socket.socket, stopping: asyncio.Event) -> None:
    """Answer requests until told to stop."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await stopping.wait()
    server.should_exit = True
    await serving
