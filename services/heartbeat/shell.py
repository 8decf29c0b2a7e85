"""One loop, woken by our own beats alone: what came since goes into the core before each."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import assert_never

from services.heartbeat.adapters.udp import Arrival, UdpBeats
from services.heartbeat.core.beats import (
    Action,
    Heard,
    Ignored,
    Say,
    Send,
    State,
    Wake,
    Woke,
    decide,
    start,
)
from services.heartbeat.core.datagram import Rejection
from services.heartbeat.core.measures import measures
from services.heartbeat.core.readiness import readiness, refusals
from services.heartbeat.core.silence import silence
from shared.bus import Bus, Received
from shared.clock import Clock
from shared.cluster import Cluster
from shared.health import Check
from shared.instant import MILLISECOND, SECOND, Instant
from shared.log import Log
from shared.measures import Measure
from shared.messages.health import Heartbeat
from shared.telemetry import Telemetry


class Shell:
    """Runs the heartbeat of one member, with or without a bus."""

    def __init__(self, *, cluster: Cluster, clock: Clock, udp: UdpBeats, log: Log) -> None:
        self._cluster = cluster
        self._clock = clock
        self._log = log
        self._bus: Bus | None = None
        self._udp = udp
        self._due = asyncio.Event()  # a beat, or the end
        self._state: State | None = None
        self._said = 0
        self._heard: Counter[str] = Counter()
        self._refused: Mapping[str, str] = {}

    def say_on(self, bus: Bus) -> None:
        """Say the beats there too, from the next one on."""
        self._bus = bus

    async def trace_on(self, bus: Bus, telemetry: Telemetry, member: str) -> None:
        """Add what it did not hear to the traces of lost nodes."""

        def hear(received: Received) -> None:
            if self._state is None:
                return
            self._collect()
            now = self._clock.now()
            found = silence(self._state, received.message, now)
            if found is None:
                return
            to_wall_us = self._clock.wall() - now
            telemetry.record(
                name=f"silence of {found.node}",
                incident=found.incident,
                begin_wall_us=found.begin_at + to_wall_us,
                end_wall_us=found.end_at + to_wall_us,
                parent="detect",
                key=f"silence of {found.node} at {member}",
                attributes={"equipoise.observer": member, "equipoise.node": found.node},
            )

        await bus.subscribe("incident.*", hear)

    def checks(self) -> tuple[Check, ...]:
        """Return whether it does its work."""
        return readiness(self._state, self._clock.now())

    def measures(self) -> Iterable[Measure]:
        """Return what it counted."""
        return measures(self._state, self._said, self._heard, self._clock.now())

    async def run(self, member: str, boot_id: str, stopping: asyncio.Event) -> None:
        """Beat until stopped."""
        stopper = asyncio.create_task(self._stop(stopping))
        self._udp.open()
        try:
            self._state, actions = start(self._cluster, member, boot_id, self._clock.now())
            await self._perform_all(actions)
            while not stopping.is_set():
                await self._due.wait()
                self._due.clear()
                self._collect()
                self._state, actions = decide(self._state, Woke(), self._clock.now())
                await self._perform_all(actions)
                self._tell_refused(self._state)
        finally:
            self._udp.close()
            stopper.cancel()

    async def _perform_all(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            await self._perform(action)

    async def _perform(self, action: Action) -> None:
        match action:
            case Say(message):
                if self._bus is not None:
                    is_said = await self._bus.publish(message)
                    self._said += is_said and isinstance(message, Heartbeat)
            case Send(datagram):
                self._udp.send(datagram)
            case Wake(at):
                self._wake(at)
            case _:
                assert_never(action)

    def _tell_refused(self, state: State) -> None:
        """Say once whose beats are refused, and when that is over."""
        refused = dict(refusals(state, self._clock.now()))
        for name in refused.keys() - self._refused.keys():
            self._log.warning("beats_refused", of=name, because=refused[name])
        for name in self._refused.keys() - refused.keys():
            self._log.info("beats_refused_no_more", of=name)
        self._refused = refused

    def _collect(self) -> None:
        """Hear what has come since the last beat."""
        assert self._state is not None
        for arrival in self._udp.collect():
            self._state, _ = decide(self._state, self._heard_in(arrival), self._clock.now())

    def _heard_in(self, arrival: Arrival) -> Heard | Ignored:
        read = arrival.read
        if isinstance(read, Rejection):
            return Ignored(read, arrival.member)
        if read.sender in self._cluster.members:
            self._heard[read.sender] += 1
        return Heard(read, arrival.age_us)

    def _wake(self, at: Instant) -> None:
        # Rounded up to the milliseconds that loops count in, lest it comes too early and again.
        delay_ms = -((self._clock.now() - at) // MILLISECOND)
        delay_s = max(delay_ms, 0) * MILLISECOND / SECOND
        asyncio.get_running_loop().call_later(delay_s, self._due.set)

    async def _stop(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._due.set()
