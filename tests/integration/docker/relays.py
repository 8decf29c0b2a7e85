"""Stands between a gate and its engine, so that an engine can be away without ending it."""

import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Relay:
    """Hands on bytes both ways, until it is cut."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.path = path
        self.came = 0  # connections, also those that found nobody
        self._engine = engine
        self._open: list[sockets.socket] = []
        self._handing: list[threading.Thread] = []
        self._is_cut = False
        self._changing = threading.Lock()  # who comes while it is cut is in either, never between
        self._listener = sockets.socket(sockets.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection, and hang up on who comes."""
        with self._changing:
            self._is_cut = True
        for each in self._open:
            _shut(each)
        for thread in self._handing:
            thread.join()
        for each in self._open:
            each.close()
        self._open.clear()
        self._handing.clear()

    def join(self) -> None:
        """Hand on again."""
        self._is_cut = False

    def close(self) -> None:
        """End."""
        _shut(self._listener)
        self._thread.join()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.came += 1
            with self._changing:
                self._receive(client)

    def _receive(self, client: sockets.socket) -> None:
        if self._is_cut:
            client.close()
            return
        engine = sockets.socket(sockets.AF_UNIX)
        engine.connect(str(self._engine))
        self._open += (client, engine)
        for one, other in ((client, engine), (engine, client)):
            thread = threading.Thread(target=_hand_on, args=(one, other))
            self._handing.append(thread)
            thread.start()


def _hand_on(one: sockets.socket, other: sockets.socket) -> None:
    with suppress(OSError):
        while part := one.recv(65_536):
            other.sendall(part)
    _shut(one)
    _shut(other)


def _shut(one: sockets.socket) -> None:
    with suppress(OSError):
        one.shutdown(sockets.SHUT_RDWR)


@contextmanager
def relay(path: Path, engine: Path) -> Iterator[Relay]:
    """Relay until the end of the block."""
    found = Relay(path, engine)
    try:
        yield found
    finally:
        found.close()
