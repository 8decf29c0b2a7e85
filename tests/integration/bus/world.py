"""What a test of the bus needs of its surroundings, with a real server and without one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus import Bus
from shared.bus.memory_bus import MemoryBroker
from shared.bus.nats_bus import NatsBus
from shared.bus.wire import Parcel, Speaker
from shared.clock import SystemClock
from shared.log import Logger
from tests.eventually import PATIENCE_S, eventually
from tests.integration.nats_server import NatsServer

CLUSTER = "shop"


class World(Protocol):
    """A bus's server and clients."""

    lines: list[str]  # that the clients logged

    async def connect(self, member: str = "a", *, cluster: str = CLUSTER) -> Bus:
        """Return one more client's bus."""

    async def inject(self, subject: str, payload: bytes) -> None:
        """Publish any bytes on any subject, as no client of ours does."""

    async def go_down(self) -> None:
        """Take the server away, until every client knows."""

    async def come_up(self) -> None:
        """Bring the server back, until every client is connected again."""


def speaker(lines: list[str], member: str = "a", cluster: str = CLUSTER) -> Speaker:
    """Return a speaker whose log is a list."""
    clock = SystemClock()
    log = Logger(lines.append, clock=clock, level="info")
    return Speaker(cluster=cluster, member=member, program="test", clock=clock, log=log)


class MemoryWorld:
    """Without a server."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.broker = MemoryBroker()

    async def connect(self, member: str = "a", *, cluster: str = CLUSTER) -> Bus:
        return self.broker.connect(speaker(self.lines, member, cluster))

    async def inject(self, subject: str, payload: bytes) -> None:
        self.broker.send(Parcel(subject, payload, None))

    async def go_down(self) -> None:
        self.broker.up = False

    async def come_up(self) -> None:
        self.broker.up = True


class NatsWorld:
    """With a real server."""

    def __init__(self, server: NatsServer) -> None:
        self.lines: list[str] = []
        self.failures: list[Exception] = []
        self.buses: list[NatsBus] = []
        self.server = server

    async def connect(self, member: str = "a", *, cluster: str = CLUSTER) -> NatsBus:
        bus = await self.join(speaker(self.lines, member, cluster))
        # Nothing waits for the stream but tests of it.
        await eventually(lambda: bus._ensuring is not None and bus._ensuring.done())
        return bus

    async def join(self, speaking: Speaker) -> NatsBus:
        """Return the bus of one more client; it is closed with the world."""
        bus = await NatsBus.connect(
            [self.server.url], speaker=speaking, on_failure=self.failures.append
        )
        self.buses.append(bus)
        return bus

    async def inject(self, subject: str, payload: bytes) -> None:
        async with stranger(self.server) as client:
            await client.publish(subject, payload)
            await arrived(client)

    async def go_down(self) -> None:
        self.server.kill()
        await eventually(lambda: not any(bus.connected for bus in self.buses))

    async def come_up(self) -> None:
        # A client is connected a moment before the server knows its subscriptions again.
        back = self._back() + len(self.buses)
        self.server.start()
        await eventually(lambda: self._back() == back)

    def _back(self) -> int:
        return len([line for line in self.lines if "bus_back" in line])

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()


@asynccontextmanager
async def memory_world() -> AsyncIterator[MemoryWorld]:
    """Make a world without a server."""
    yield MemoryWorld()


@asynccontextmanager
async def nats_world() -> AsyncIterator[NatsWorld]:
    """Make a world around a real server of its own."""
    with NatsServer() as server:
        world = NatsWorld(server)
        try:
            yield world
        finally:
            await world.close()


@asynccontextmanager
async def stranger(server: NatsServer) -> AsyncIterator[Client]:
    """Connect a client that is none of ours; it is closed whatever happens."""
    client = Client()
    try:
        await client.connect(server.url)
        yield client
    finally:
        await client.close()


async def overhear(
    client: Client, subject: str, callback: Callable[[Msg], Awaitable[None]]
) -> None:
    """Let a stranger subscribe; active on return."""
    await client.subscribe(subject, cb=callback)
    await arrived(client)


async def arrived(client: Client) -> None:
    """Wait until the server has read all that a stranger said.

    By a message to itself: the PING of nats-py's `flush` overtakes what still waits to be written.
    """
    inbox = client.new_inbox()
    echo = await client.subscribe(inbox)
    await client.publish(inbox)
    await echo.next_msg(PATIENCE_S)
    await echo.unsubscribe()
