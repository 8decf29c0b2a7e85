"""Connections kept open to local instances, whose end tells of a death at once.

To an HTTP service it is a legal connection between two requests: one request, and then nothing.
A server that keeps no such connections closes it, and is left alone for longer each time; one
that was sent nothing at all might wait for the request and count it as an attack.
"""

import os
from collections.abc import Callable

from services.health_probe.adapters.connection import ORDERLY, Connection
from services.health_probe.core import http, signs
from services.health_probe.core.events import LinkLost, LinkOpened, Target
from shared.cluster import Cluster
from shared.messages.health import Sign

# What a server may say on an idle connection: an answer and its farewell. One that never stops
# would cost us more than its death is worth knowing early.
RECEIVED_MAX = 1_048_576

Report = Callable[[LinkOpened | LinkLost], None]


class Links:
    """The kept connections of this node."""

    def __init__(self, cluster: Cluster, report: Report) -> None:
        self._cluster = cluster
        self._report = report
        self._links: dict[Target, _Link] = {}

    def open(self, target: Target) -> None:
        """Connect, and keep it."""
        assert target not in self._links
        service = self._cluster.services[target.service]
        address, path = self._cluster.nodes[target.node].address, service.probe.path
        words = b""
        if path is not None:
            words = http.request(path, address=address, port=service.port, keep=True)
        self._links[target] = _Link(self, target, (address, service.port), words)

    def close(self, target: Target) -> None:
        """Close a connection; it is not reported as lost."""
        link = self._links.pop(target, None)
        if link is not None:
            link.connection.close()

    def close_all(self) -> None:
        """Close every connection."""
        for target in tuple(self._links):
            self.close(target)

    def made(self, target: Target) -> None:
        """Report a connection that is there."""
        self._report(LinkOpened(target))

    def gone(self, target: Target, *, own: bool) -> None:
        """Report a connection that ended by itself."""
        del self._links[target]
        self._report(LinkLost(target, own))


class _Link:
    """One kept connection, as its `Connection` sees it."""

    def __init__(self, links: Links, target: Target, place: tuple[str, int], words: bytes) -> None:
        self._links = links
        self._target = target
        self._words = words
        self._received = 0
        self.connection = Connection(*place, self)

    def opened(self) -> None:
        if self._words:
            self.connection.send(self._words)
        self._links.made(self._target)

    def received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > RECEIVED_MAX:
            self.connection.close()
            self._links.gone(self._target, own=False)

    def ended(self, code: int) -> None:
        own = code != ORDERLY and signs.failed(code, os.strerror(code), 0).sign is Sign.NOTHING
        self._links.gone(self._target, own=own)
