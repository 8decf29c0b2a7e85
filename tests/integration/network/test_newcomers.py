"""Who begins a connection while a VIP moves waits for milliseconds, not for his second attempt.

The node that the VIP has left has no address any more, so that its kernel answers nobody; what
its guard drops is no different.
"""

import asyncio
import select
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest

from services.traffic_switcher.adapters.newcomers import WireNewcomers
from shared.clock import SystemClock
from shared.errors import SwitchError
from shared.instant import SECOND, Duration
from tests.eventually import eventually
from tests.integration.namespaces import Host
from tests.integration.network.test_announcer import (
    WEB,
    Street,
    ask_for,
    both,
    give,
    hardware,
    street,
    take_away,
)

CLOCK = SystemClock()
PORT = 8_080
SECOND_ATTEMPT_US: Duration = SECOND  # of Linux and everybody else (RFC 6298)
GIVE_UP_S = 10


class Client:
    """Someone who connects to the VIP, over and over."""

    def __init__(self, host: Host, vip: str) -> None:
        self._host = host
        self._vip = vip

    def connects(self) -> "asyncio.Task[Duration]":
        """Begin a connection; its result is how long it took."""
        return asyncio.create_task(asyncio.to_thread(self._host.within, self._connect))

    def _connect(self) -> Duration:
        began_at = CLOCK.now()
        socket.create_connection((self._vip, PORT), GIVE_UP_S).close()
        return CLOCK.now() - began_at


@asynccontextmanager
async def listening(host: Host, vip: str) -> AsyncIterator[None]:
    """Answer at the VIP on a host, from now on."""
    give(host, vip)
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET
    with closing(host.within(lambda: socket.create_server((vip, PORT), family=family))):
        yield


def moved(vip: str, scene: Callable[[Street, WireNewcomers, Client], Awaitable[None]]) -> None:
    """Play a scene on a node that a VIP has just left, before it is anywhere else."""
    with street() as of:
        give(of.a, vip)
        ask_for(of.client, vip)
        take_away(of.a, vip)

        async def play() -> None:
            newcomers = WireNewcomers()
            newcomers.hold_back(vip, "eth0")
            try:
                await scene(of, newcomers, Client(of.client, vip))
            finally:
                newcomers.close()

        of.a.run(play)


def is_kept(newcomers: WireNewcomers, vip: str) -> bool:
    """Whether something waits in the socket."""
    return bool(select.select([newcomers._kept[vip].wire], [], [], 0)[0])


@both
def test_who_came_in_between_and_who_comes_later_meet_the_next_holder(vip: str) -> None:
    async def scene(of: Street, newcomers: WireNewcomers, client: Client) -> None:
        first = client.connects()
        await eventually(lambda: is_kept(newcomers, vip))
        assert not first.done()
        async with listening(of.b, vip):
            newcomers.pass_on(vip, hardware(of.b))
            assert await first < SECOND_ATTEMPT_US
            # The client still believes that the address is here.
            assert await client.connects() < SECOND_ATTEMPT_US

    moved(vip, scene)


@both
def test_the_whole_connection_goes_where_its_beginning_went(vip: str) -> None:
    """Only beginnings are passed on: the rest goes by what neighbours know by then."""

    async def scene(of: Street, newcomers: WireNewcomers, client: Client) -> None:
        first = client.connects()
        await eventually(lambda: is_kept(newcomers, vip))
        async with listening(of.b, vip):
            newcomers.pass_on(vip, hardware(of.b))
            await first
            await client.connects()
            # What followed, an acknowledgement and an end, came here, too, and waits nowhere.
            assert not is_kept(newcomers, vip)

    moved(vip, scene)


@both
def test_who_is_let_go_comes_again_by_himself(vip: str) -> None:
    async def scene(of: Street, newcomers: WireNewcomers, client: Client) -> None:
        first = client.connects()
        await eventually(lambda: is_kept(newcomers, vip))
        newcomers.let_go(vip)
        newcomers.let_go(vip)
        newcomers.pass_on(vip, hardware(of.b))  # somebody claims it: too late
        async with listening(of.b, vip):
            assert not first.done()
            of.client.ip(f"neighbour replace {vip} lladdr {hardware(of.b)} dev eth0")
            assert await first >= SECOND_ATTEMPT_US // 2

    moved(vip, scene)


def test_others_addresses_and_connections_are_nobodys_business() -> None:
    async def scene(of: Street, newcomers: WireNewcomers, client: Client) -> None:
        give(of.a, "10.1.0.201")
        for address in ("10.1.0.201", "10.1.0.1"):
            with pytest.raises(ConnectionRefusedError):
                await Client(of.client, address).connects()
        assert not is_kept(newcomers, WEB)
        first = client.connects()
        await eventually(lambda: is_kept(newcomers, WEB))
        async with listening(of.b, WEB):
            newcomers.pass_on(WEB, hardware(of.b))
            await first

    moved(WEB, scene)


def test_an_interface_that_is_not_there_is_said() -> None:
    with street() as of:

        async def scene() -> None:
            with pytest.raises(SwitchError, match=r"cannot hold back who comes to 10\.1\.0\.200"):
                WireNewcomers().hold_back(WEB, "eth7")

        of.a.run(scene)


def test_a_process_that_may_not_hear_frames_says_what_it_needs() -> None:
    with street() as of:
        bare = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
        said = of.a.command(*bare, sys.executable, "-m", __name__)
        assert said.endswith(
            "it needs CAP_NET_RAW, so run the switcher as root or give it that capability"
        )


if __name__ == "__main__":
    try:
        WireNewcomers().hold_back(WEB, "eth0")
    except SwitchError as error:
        sys.stdout.write(str(error))
