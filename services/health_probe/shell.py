"""One loop: what happened goes into the core, what it wants is done."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from services.health_probe.adapters.links import Links
from services.health_probe.adapters.prober import Prober
from services.health_probe.adapters.watch import Watch
from services.health_probe.core.asking import IN_FLIGHT_MAX
from services.health_probe.core.events import (
    Action,
    Actions,
    Ask,
    CloseLink,
    ContainerSeen,
    Ended,
    EngineSeen,
    Event,
    IncidentHeard,
    OpenLink,
    PictureDue,
    ReadIdentity,
    RecordSpan,
    Say,
    Target,
    Wake,
    WakeForPicture,
    Woke,
)
from services.health_probe.core.measures import Tally, measures
from services.health_probe.core.probing import State, decide, start
from services.health_probe.core.readiness import engine, readiness
from shared.bus import Bus, Received
from shared.clock import Clock
from shared.cluster import Cluster
from shared.health import Check
from shared.instant import MILLISECOND, SECOND, Instant
from shared.log import Log
from shared.measures import Measure
from shared.messages.facts import IncidentOpened, IncidentUpdated
from shared.messages.health import Evidence, Picture
from shared.telemetry import Telemetry
from shared.trace import SpanKind

if TYPE_CHECKING:
    from services.health_probe.adapters.engine import Engine

# Places that only incidents and containers may fill. More incidents at a time lose a span of their
# traces, more of what an engine says is seen ten seconds later: nothing else.
NEWS_MAX = 256
# What one instance can have waiting is the ends of its probes, its alarm, its link, its identity;
# probes that no longer count come to an end too.
EVENTS_PER_INSTANCE = 4 * IN_FLIGHT_MAX


class Shell:
    """Runs the observer of one node."""

    def __init__(
        self, *, cluster: Cluster, clock: Clock, bus: Bus, telemetry: Telemetry, log: Log
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._bus = bus
        self._telemetry = telemetry
        self._log = log
        instances = len(cluster.services) * len(cluster.nodes)
        places = NEWS_MAX + instances * EVENTS_PER_INSTANCE + 2  # the picture, the end
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(places)
        self._alarms: dict[Target | None, asyncio.TimerHandle] = {}
        self._prober = Prober(cluster, clock, Watch(clock), self._events.put_nowait)
        self._links = Links(cluster, self._events.put_nowait)
        self._engine: Engine | None = None
        self._state: State | None = None
        self._tally = Tally()

    def checks(self) -> tuple[Check, ...]:
        """Return whether it does its work."""
        instances = self._state.instances if self._state is not None else {}
        trouble = self._state.engine_trouble if self._state is not None else ""
        now = self._clock.now()
        return (
            *readiness(instances, self._tally.ended_at, now),
            *engine(instances, trouble),
        )

    def measures(self) -> Iterable[Measure]:
        """Return what it counted."""
        return measures(self._state.instances if self._state is not None else {}, self._tally)

    def ask_engine(self, socket: Path, member: str) -> None:
        """Ask Docker's engine too about this node's instances that run in containers."""
        # Late: who has no containers does not pay for the library.
        from services.health_probe.adapters.engine import Engine  # noqa: PLC0415

        watched: dict[str, list[Target]] = defaultdict(list)
        for name, service in self._cluster.services.items():
            if service.docker is not None:
                watched[service.docker.on(member)].append(Target(name, member))
        if watched:
            self._engine = Engine(socket, watched, self._hear_engine)

    async def run(self, observer: str, boot_id: str, stopping: asyncio.Event) -> None:
        """Observe until stopped."""
        if self._telemetry.enabled:
            await self._bus.subscribe("incident.*", self._hear)
        stopper = asyncio.create_task(self._stop(stopping))
        try:
            self._state, actions = start(self._cluster, observer, boot_id, self._clock.now())
            await self._perform_all(actions)
            while (event := await self._events.get()) is not None:
                now = self._clock.now()
                self._state, actions = decide(self._state, event, now)
                await self._perform_all(actions)
                if isinstance(event, Ended):
                    self._tally.add(event, now)
        finally:
            stopper.cancel()
            self._close()

    async def _perform_all(self, actions: Actions) -> None:
        for action in actions:
            await self._perform(action)

    async def _perform(self, action: Action) -> None:  # noqa: C901, PLR0912 - all actions
        match action:
            case Say(message):
                await self._bus.publish(message)
                self._note(message)
            case Ask(target, number, timeout_us):
                self._prober.ask(target, number, timeout_us)
            case ReadIdentity(target):
                self._prober.read_identity(target)
            case OpenLink(target):
                self._links.open(target)
            case CloseLink(target):
                self._links.close(target)
            case Wake(target, at):
                self._wake(target, at, Woke(target))
            case WakeForPicture(at):
                self._wake(None, at, PictureDue())
            case RecordSpan():
                self._record(action)
            case _:
                assert_never(action)

    def _wake(self, key: Target | None, at: Instant, event: Event) -> None:
        earlier = self._alarms.get(key)
        if earlier is not None:
            earlier.cancel()
        # Rounded up to the milliseconds that loops count in, lest it comes too early and again.
        delay_ms = max(-((self._clock.now() - at) // MILLISECOND), 0)
        self._alarms[key] = asyncio.get_running_loop().call_later(
            delay_ms * MILLISECOND / SECOND, self._events.put_nowait, event
        )

    def _hear(self, received: Received) -> None:
        message = received.message
        room = self._events.qsize() < NEWS_MAX
        if room and isinstance(message, IncidentOpened | IncidentUpdated):
            self._events.put_nowait(IncidentHeard(message.incident))

    def _hear_engine(self, event: ContainerSeen | EngineSeen) -> None:
        if isinstance(event, EngineSeen) and event.trouble:
            self._log.warning("docker_not_asked", because=event.trouble)
        elif isinstance(event, EngineSeen):
            self._log.info("docker_asked")
        elif event.container.trouble:
            self._log.warning("container_not_seen", because=event.container.trouble)
        if self._events.qsize() < NEWS_MAX:
            self._events.put_nowait(event)

    def _note(self, message: Evidence | Picture) -> None:
        match message:
            case Evidence():
                self._log.info(
                    "evidence",
                    service=message.service,
                    node=message.node,
                    verdict=message.verdict.value,
                    grade=message.grade.value,
                    because=message.detail,
                    threshold=message.threshold,
                    abstains=message.abstains,
                    sequence=message.sequence,
                )
            case Picture():
                pass
            case _:
                assert_never(message)

    def _record(self, span: RecordSpan) -> None:
        """Record a span, its instants brought to the time of day."""
        evidence = span.evidence
        to_wall_us = self._clock.wall() - self._clock.now()
        name = f"probe {evidence.service}/{evidence.node}"
        self._telemetry.record(
            name=name,
            incident=span.incident,
            begin_wall_us=span.begin_at + to_wall_us,
            end_wall_us=span.end_at + to_wall_us,
            parent="detect",
            key=f"{name} by {evidence.observer} {evidence.sequence}",
            attributes={
                "equipoise.observer": evidence.observer,
                "equipoise.service": evidence.service,
                "equipoise.node": evidence.node,
                "equipoise.verdict": evidence.verdict.value,
                "equipoise.grade": evidence.grade.value,
                "equipoise.sign": evidence.sign.value,
                "equipoise.detail": evidence.detail,
                "equipoise.threshold": evidence.threshold,
                "equipoise.sequence": evidence.sequence,
                "server.address": self._cluster.nodes[evidence.node].address,
                "server.port": self._cluster.services[evidence.service].port,
            },
            kind=SpanKind.CLIENT,
            failure=evidence.detail,
        )

    def _close(self) -> None:
        self._prober.close()
        self._links.close_all()
        if self._engine is not None:
            self._engine.close()
        for alarm in self._alarms.values():
            alarm.cancel()

    async def _stop(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        await self._events.put(None)
