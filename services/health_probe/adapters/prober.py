"""Asks instances: every probe over a new connection."""

from collections.abc import Callable

from services.health_probe.adapters.exchange import Exchange, Surroundings
from services.health_probe.adapters.watch import Watch
from services.health_probe.core import http
from services.health_probe.core.events import Ended, IdentityRead, Target
from services.health_probe.core.questions import (
    AcceptQuestion,
    IdentityQuestion,
    Named,
    Question,
    StatusQuestion,
)
from services.health_probe.core.signs import Outcome
from shared.clock import Clock
from shared.cluster import Cluster, Service
from shared.instant import SECOND, Duration

IDENTITY_WITHIN_US = 2 * SECOND  # it may come a longer way than the probe's answer

Report = Callable[[Ended | IdentityRead], None]


class Prober:
    """Begins probes and reports their ends."""

    def __init__(self, cluster: Cluster, clock: Clock, watch: Watch, report: Report) -> None:
        self._cluster = cluster
        self._watch = watch
        self._report = report
        self._surroundings = Surroundings(clock)

    def ask(self, target: Target, number: int, timeout_us: Duration) -> None:
        """Begin a probe; its end is reported within the time-out, whatever happens."""
        began_at = self._watch.begin()

        def end(outcome: Outcome) -> None:
            late_us = self._watch.end(began_at)
            self._report(Ended(target=target, number=number, outcome=outcome, late_us=late_us))

        Exchange(self._probe(target, timeout_us), self._place(target), end, self._surroundings)

    def read_identity(self, target: Target) -> None:
        """Begin to read what an instance says it is."""
        wanted = self._cluster.services[target.service].identity
        assert wanted is not None
        assert wanted.path is not None

        def end(named: Named) -> None:
            self._report(IdentityRead(target, named.value))

        words = self._request(target, wanted.path)
        question = IdentityQuestion(words=words, identity=wanted, timeout_us=IDENTITY_WITHIN_US)
        Exchange(question, self._place(target), end, self._surroundings)

    def close(self) -> None:
        """Break off what is under way."""
        for exchange in tuple(self._surroundings.under_way):
            exchange.close()
        self._watch.stop()

    def _probe(self, target: Target, timeout_us: Duration) -> Question[Outcome]:
        probe = self._service(target).probe
        if probe.path is None:
            return AcceptQuestion(timeout_us=timeout_us)
        words = self._request(target, probe.path)
        return StatusQuestion(words=words, expect=probe.expect, timeout_us=timeout_us)

    def _request(self, target: Target, path: str) -> bytes:
        address, port = self._place(target)
        return http.request(path, address=address, port=port)

    def _place(self, target: Target) -> tuple[str, int]:
        return self._cluster.nodes[target.node].address, self._service(target).port

    def _service(self, target: Target) -> Service:
        return self._cluster.services[target.service]
