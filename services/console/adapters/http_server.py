"""The HTTP server behind the console's socket."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.errors import MachineError
from shared.kernel_words import words_of

CONNECTIONS_MAX = 128  # four times the followers: descriptors are finite
FIRST_REQUEST_WITHIN_S = 10.0  # a connection that asks nothing is let go
DATE_EVERY_S = 1.0
STOP_WITHIN_S = 1  # open answers may finish; followers are told to go


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
    """A server that leaves signals to the runtime, and the processor alone while nobody asks."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn would look ten times a second whether it has come."""
        while not self._stopping.is_set():
            await self.on_tick(0)  # it brings the answers' `Date` up to date
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), DATE_EVERY_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listen_on(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; raise `MachineError` where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise MachineError(
            f"cannot answer on {host}:{port}, which EQUIPOISE_API_LISTEN names: {words_of(error)};"
            " name another port, or end who has this one"
        ) from error


async def serve(
    application: Starlette, listeners: list[socket.socket], stopping: asyncio.Event
) -> None:
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
    await _Server(config, stopping).serve(sockets=listeners)
