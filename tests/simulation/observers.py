"""The cores of health_probe and heartbeat, driven as their shells drive them."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from services.health_probe.core import probing, signs
from services.health_probe.core.events import (
    Action as ProbeAction,
    Ask,
    CloseLink,
    Ended,
    Event as ProbeEvent,
    IdentityRead,
    IncidentHeard,
    LinkLost,
    LinkOpened,
    OpenLink,
    PictureDue,
    ReadIdentity,
    RecordSpan,
    Say as SayEvidence,
    Target as ProbeTarget,
    Wake as WakeAt,
    WakeForPicture,
    Woke as AlarmRang,
)
from services.health_probe.core.signs import Outcome
from services.heartbeat.core import beats
from services.heartbeat.core.datagram import Datagram
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.facts import IncidentOpened, IncidentUpdated
from shared.messages.health import Evidence
from shared.messages.table import Message
from tests.simulation.moments import Told
from tests.simulation.outside import Application, Health
from tests.simulation.processes import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

ANSWER_MIN_US: Duration = 300
ANSWER_MAX_US: Duration = 3 * MILLISECOND
RETRANSMIT_US: Duration = 200 * MILLISECOND  # what a lost packet costs a connection
IDENTITY_WITHIN_US: Duration = 2 * SECOND
NEVER_US: Duration = 10 * SECOND  # longer than anybody waits


class Observer(Process):
    """Asks every instance from one node."""

    state: probing.State

    def __init__(self, world: World, node: str) -> None:
        super().__init__(world, "probe", node)
        self.node = node
        self._alarms: dict[object, int] = {}
        self._links: dict[ProbeTarget, int] = {}
        self._count = 0

    def begin(self) -> None:
        self._alarms = {}
        self._links = {}
        self.state, actions = probing.start(
            self.world.weather.cluster, self.node, self.boot_id, self.now
        )
        self._obey(actions)

    def ended(self) -> None:
        for target in sorted(self._links):
            links = self._application(target).links
            if self in links:
                links.remove(self)

    def hear(self, message: Message) -> None:
        if isinstance(message, IncidentOpened | IncidentUpdated):
            self.feed(IncidentHeard(message.incident))

    def feed(self, event: ProbeEvent) -> None:
        """Give the core an event, and do what it wants."""
        self.state, actions = probing.decide(self.state, event, self.now)
        self._obey(actions)

    def _obey(self, actions: tuple[ProbeAction, ...]) -> None:
        for action in actions:
            self.point()
            self._perform(action)

    def _perform(self, action: ProbeAction) -> None:  # noqa: C901, PLR0912 - one match over all actions
        match action:
            case SayEvidence(message):
                if isinstance(message, Evidence):
                    words = f"{message.service}/{message.node} {message.verdict} {message.detail}"
                    self.note(f"says {words}{' abstains' if message.abstains else ''}")
                self.world.watch.see(Told(self, message))
                self.world.broker.publish(self, message)
            case Ask(target, number, timeout_us):
                self._ask(target, number, timeout_us)
            case OpenLink(target):
                self._open(target)
            case CloseLink(target):
                self._close(target)
            case ReadIdentity(target):
                self._read_identity(target)
            case WakeAt(target, at):
                self._wake_at(target, at, AlarmRang(target))
            case WakeForPicture(at):
                self._wake_at(None, at, PictureDue())
            case RecordSpan():
                pass
            case _:
                assert_never(action)

    def _wake_at(self, key: ProbeTarget | None, at: Instant, event: ProbeEvent) -> None:
        self._count += 1
        self._alarms[key] = self._count
        self.after(max(at - self.now, 0), self._rung, key, self._count, event)

    def _rung(self, key: ProbeTarget | None, number: int, event: ProbeEvent) -> None:
        if self._alarms.get(key) == number:
            self.feed(event)

    # -- probes --------------------------------------------------------------------------

    def _ask(self, target: ProbeTarget, number: int, timeout_us: Duration) -> None:
        began_at = self.now
        natural, delay_us = self._answer(target)

        def end() -> None:
            took_us = self.now - began_at
            # Who was stopped before it could ask finds its time over, though all is well.
            unasked = took_us >= timeout_us and self.world.rng.random() < 0.5
            if natural is None or delay_us >= timeout_us or unasked:
                outcome = signs.overdue("answer", timeout_us, took_us)
            else:
                outcome = replace(natural, took_us=took_us)
            late_us = max((length for at, length in self.stood if at >= began_at), default=0)
            self.feed(Ended(target=target, number=number, outcome=outcome, late_us=late_us))

        self.after(min(delay_us, timeout_us), end)

    def _answer(self, target: ProbeTarget) -> tuple[Outcome | None, Duration]:
        """Return what a probe meets, and after how long; None is silence."""
        world = self.world
        application = self._application(target)
        service = world.weather.cluster.services[target.service]
        delay_us = world.rng.randrange(ANSWER_MIN_US, ANSWER_MAX_US)
        if not self._reaches(target.node):
            return None, NEVER_US
        if target.node != self.node and world.rng.random() < world.network.loss:
            delay_us += RETRANSMIT_US
        if application.health is Health.DEAD:
            return signs.failed(errno.ECONNREFUSED, "connection refused", 0), delay_us
        if service.probe.path is None:  # the kernel accepts for whoever listens
            return signs.connected(0), delay_us
        if application.health is Health.HUNG:
            return None, NEVER_US
        status = 500 if application.health is Health.FAILING else 200
        slow_us = application.slow_us if application.health is Health.SLOW else 0
        return signs.answered(status, service.probe.expect, 0), max(delay_us, slow_us)

    def _reaches(self, node: str) -> bool:
        """Whether packets go both ways to a node that has power."""
        cut = self.world.network.cut
        there, back = (self.node, node), (node, self.node)
        return node not in self.world.dark and there not in cut and back not in cut

    def _read_identity(self, target: ProbeTarget) -> None:
        natural, delay_us = self._answer(target)
        value = None
        if natural is not None and self._application(target).health is not Health.FAILING:
            value = self._application(target).identity if natural.value != "refused" else None
        within_us = min(delay_us, IDENTITY_WITHIN_US)
        self.after(within_us, self.feed, IdentityRead(target, value))

    # -- kept connections ----------------------------------------------------------------

    def _open(self, target: ProbeTarget) -> None:
        application = self._application(target)
        if application.health is Health.DEAD:
            self.after(ANSWER_MIN_US, self.feed, LinkLost(target, own=False))
            return
        self._count += 1
        self._links[target] = self._count
        application.links.append(self)
        self.after(ANSWER_MIN_US, self._opened, target, self._count)

    def _opened(self, target: ProbeTarget, number: int) -> None:
        if self._links.get(target) == number:
            self.feed(LinkOpened(target))

    def _close(self, target: ProbeTarget) -> None:
        self._links.pop(target, None)
        links = self._application(target).links
        if self in links:
            links.remove(self)

    def link_ended(self, target: tuple[str, str]) -> None:
        """Notice that an application has died."""
        of = ProbeTarget(*target)
        self._links.pop(of, None)
        self.after(ANSWER_MIN_US, self.feed, LinkLost(of, own=False))

    def _application(self, target: ProbeTarget) -> Application:
        return self.world.applications[target.service, target.node]


class Heart(Process):
    """Beats on the bus and directly to every peer."""

    state: beats.State

    def __init__(self, world: World, member: str) -> None:
        super().__init__(world, "heartbeat", member)
        self.configuration = world.weather.cluster.configuration

    def begin(self) -> None:
        cluster = replace(self.world.weather.cluster, configuration=self.configuration)
        self.state, actions = beats.start(cluster, self.machine, self.boot_id, self.now)
        self._obey(actions)

    def feed(self, event: beats.Event) -> None:
        """Give the core an event, and do what it wants."""
        self.state, actions = beats.decide(self.state, event, self.now)
        self._obey(actions)

    def _obey(self, actions: tuple[beats.Action, ...]) -> None:
        for action in actions:
            match action:
                case beats.Say(message):
                    self.world.broker.publish(self, message)
                case beats.Send(datagram):
                    self._send(datagram)
                case beats.Wake(at):
                    self.after(max(at - self.now, 0), self.feed, beats.Woke())
                case _:
                    assert_never(action)

    def _send(self, datagram: Datagram) -> None:
        peer = self.world.hearts[datagram.receiver]
        self.world.network.send(
            self.machine, peer.machine, peer.take, peer.feed, beats.Heard(datagram)
        )
