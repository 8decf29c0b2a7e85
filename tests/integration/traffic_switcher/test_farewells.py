"""Clients of a VIP that drains leave a real HAProxy in peace: with a whole answer, or at rest."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from services.traffic_switcher.adapters.farewells import HaproxyFarewells
from services.traffic_switcher.core.farewell_words import order, read
from services.traffic_switcher.core.haproxy_file import FAREWELLS_FROM, keep_alive_us
from shared.cluster import Cluster, VirtualIp
from shared.errors import SwitchError
from shared.instant import SECOND
from tests.integration.haproxy import free_ports
from tests.integration.traffic_switcher.stage import (
    CLOCK,
    PROGRAMS,
    Scenery,
    loopback,
    stage,
    until,
)

WEB, API = "127.0.0.21", "127.0.0.22"
every_program = pytest.mark.parametrize("program", PROGRAMS)


def with_vips() -> Cluster:
    """Return the cluster on loopback, whose HTTP services are reached by two VIPs."""
    made = loopback()
    vips = {
        name: VirtualIp(name=name, address=address, prefix=32, home="node-a")
        for name, address in (("web", WEB), ("api", API))
    }
    (port,) = free_ports(1, (WEB, API))
    shop = replace(made.services["shop"], vips=("web", "api"), listen=port)
    books = replace(made.services["books"], vips=("web",))
    policy = replace(made.policy, drain_us=SECOND)
    services = {**made.services, "shop": shop, "books": books}
    return replace(made, vips=vips, services=services, policy=policy)


@dataclass
class Kept:
    """A client's connection that is kept open."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self) -> tuple[int, bool]:
        """Send a request; return the status, and whether the answer says that it is the last."""
        self.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        await self.reader.readexactly(len("node-a"))
        return int(head.split(" ")[1]), "connection: close" in head

    async def ends(self) -> bool:
        """Whether it is ended as a connection should be, without a reset."""
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


@dataclass
class Farewelling:
    """A HAProxy, and who tells it whose clients are to leave."""

    made: Scenery
    farewells: HaproxyFarewells
    said: list[str] = field(default_factory=list)
    _clients: list[Kept] = field(default_factory=list)
    _running: "asyncio.Task[None] | None" = None

    async def client(self, address: str) -> Kept:
        """Open a client's connection to shop."""
        port = self.made.cluster.services["shop"].listen
        opened = Kept(*await asyncio.open_connection(address, port))
        self._clients.append(opened)
        return opened

    def start(self) -> None:
        """Begin (again), as a new process does."""
        socket = self.made.directory / "haproxy.sock"
        self.farewells = HaproxyFarewells(self.made.cluster, socket, CLOCK)
        self._running = asyncio.ensure_future(self.farewells.run(self.said.append))

    async def kill(self) -> None:
        """End as a killed process does."""
        assert self._running is not None
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running

    def close(self) -> None:
        """Let all clients go."""
        for each in self._clients:
            each.writer.transport.abort()

    def listed(self, service: int) -> set[str]:
        """Return whose clients are to leave, by HAProxy's own words."""
        said = self.made.haproxy.ask(f"show acl #{FAREWELLS_FROM + service}")
        return {line.split(" ")[1] for line in said.splitlines() if line} - {"0.0.0.0"}

    async def are_leaving(self, *addresses: str) -> None:
        """Bid those of these VIPs farewell, and wait until HAProxy knows."""
        self.farewells.bid(addresses)
        await until(lambda: self.listed(0) == set(addresses))


@asynccontextmanager
async def farewelling(program: str) -> AsyncIterator[Farewelling]:
    async with stage(program, of=with_vips()) as made:
        await made.begin()
        it = Farewelling(made, HaproxyFarewells(made.cluster, made.directory, CLOCK))
        it.start()
        try:
            yield it
        finally:
            it.close()
            await it.kill()


def play(program: str, scene: Callable[[Farewelling], Awaitable[None]]) -> None:
    async def run() -> None:
        async with farewelling(program) as it:
            await scene(it)

    asyncio.run(run())


@every_program
def test_a_client_of_a_vip_that_drains_leaves_with_a_whole_answer_and_others_stay(
    program: str,
) -> None:
    async def scene(it: Farewelling) -> None:
        web, api = [await it.client(address) for address in (WEB, API)]
        assert await web.ask() == await api.ask() == (200, False)
        await it.are_leaving(WEB)
        assert await web.ask() == (200, True)
        assert await web.ends()
        assert await api.ask() == (200, False)
        await it.are_leaving()
        back = await it.client(WEB)
        assert await back.ask() == (200, False)
        assert await back.ask() == (200, False)

    play(program, scene)


@every_program
def test_a_connection_that_rests_is_ended_before_the_drain_is_over(program: str) -> None:
    async def scene(it: Farewelling) -> None:
        of = it.made.cluster
        drain_us = of.policy.drain_us
        assert keep_alive_us(of, of.services["shop"]) < drain_us
        web = await it.client(WEB)
        assert await web.ask() == (200, False)
        rests_since = CLOCK.now()
        assert await web.ends()
        assert CLOCK.now() - rests_since >= drain_us // 2

    play(program, scene)


@every_program
def test_each_service_bids_farewell_to_clients_of_its_own_vips(program: str) -> None:
    async def scene(it: Farewelling) -> None:
        await it.are_leaving(API, WEB)
        await until(lambda: it.listed(1) == {WEB})

    play(program, scene)


@every_program
def test_what_a_process_before_us_left_is_taken_back(program: str) -> None:
    async def scene(it: Farewelling) -> None:
        await it.are_leaving(WEB)
        await it.kill()
        it.start()
        await until(lambda: it.listed(0) == set())
        web = await it.client(WEB)
        assert await web.ask() == (200, False)

    play(program, scene)


@every_program
def test_a_haproxy_that_begins_anew_is_told_again(program: str) -> None:
    async def scene(it: Farewelling) -> None:
        await it.are_leaving(WEB)
        it.made.haproxy.stop()
        await until(lambda: "is it running?" in "".join(it.said[-1:]))
        it.made.haproxy.start()
        await until(lambda: it.listed(0) == {WEB})
        await until(lambda: it.said[-1] == "")

    play(program, scene)


@every_program
def test_what_somebody_else_changes_is_mended(program: str) -> None:
    async def scene(it: Farewelling) -> None:
        await it.are_leaving(WEB)
        it.made.haproxy.ask(f"add acl #{FAREWELLS_FROM} {API};del acl #{FAREWELLS_FROM} {WEB}")
        await until(lambda: it.listed(0) == {WEB})

    play(program, scene)


@every_program
def test_a_haproxy_that_knows_no_such_lists_is_said_while_it_matters(program: str) -> None:
    async def scene(it: Farewelling) -> None:
        await it.kill()
        lists = HaproxyFarewells(with_vips(), it.made.directory / "haproxy-alive.sock", CLOCK)
        said: list[str] = []
        running = asyncio.ensure_future(lists.run(said.append))
        await until(lambda: said == [""])
        lists.bid([WEB])
        await until(lambda: said[-1] != "")
        running.cancel()

    play(program, scene)


@pytest.mark.parametrize(
    "answer",
    [
        "\n[3]: Unknown ACL identifier. Please use #<id> or <file>.\n\n",
        "\n",
        "\n0x1 a\n\n0x2 b\n\n",
    ],
)
def test_an_answer_that_is_no_list_is_refused(answer: str) -> None:
    with pytest.raises(SwitchError, match="to leave"):
        read(answer, [FAREWELLS_FROM])


def test_an_order_replaces_whole_lists_and_asks_what_came_of_it() -> None:
    line = order({7_000: {"10.0.0.2", "10.0.0.1"}, 7_001: set()})
    commands = line.strip().split(";")
    assert commands[0] == "set severity-output number"
    assert commands[1:] == [
        "clear acl #7000",
        "add acl #7000 0.0.0.0",
        "add acl #7000 10.0.0.1",
        "add acl #7000 10.0.0.2",
        "clear acl #7001",
        "add acl #7001 0.0.0.0",
        "show acl #7000",
        "show acl #7001",
    ]
