"""Addresses on real links: taken, marked, gone by themselves, and never a stranger's."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from services.traffic_switcher.adapters.addresses import NetlinkAddresses
from shared.clock import SystemClock
from shared.cluster import VirtualIp
from shared.errors import SwitchError
from shared.instant import MILLISECOND, SECOND
from tests.eventually import PATIENCE_S, PATIENCE_US
from tests.integration.namespaces import Host, Hosts

WEB = VirtualIp(name="web", address="10.1.0.200", prefix=24, home="a")
SIX = VirtualIp(name="six", address="fd00:1::200", prefix=64, home="a")
NODE = ("10.1.0.1/24", "fd00:1::1/64")
CLOCK = SystemClock()
T = TypeVar("T")
both = pytest.mark.parametrize("vip", [WEB, SIX], ids=["IPv4", "IPv6"])


@asynccontextmanager
async def opened(*vips: VirtualIp) -> AsyncIterator[NetlinkAddresses]:
    addresses = NetlinkAddresses(vips or (WEB, SIX))
    await addresses.open(lambda: None)
    try:
        yield addresses
    finally:
        await addresses.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    until_at = CLOCK.now() + PATIENCE_US
    while not await holds():
        assert CLOCK.now() < until_at, "it never came"
        await CLOCK.sleep(10 * MILLISECOND)


def play(scene: Callable[[Host, NetlinkAddresses], Awaitable[None]], *vips: VirtualIp) -> None:
    """Play a scene on one host that has eth0 in the VIPs' subnets."""
    with Hosts() as hosts:
        host = hosts.host("a")
        hosts.wire(host, "eth0", "lan", *NODE)

        async def run() -> None:
            async with opened(*vips) as addresses:
                await scene(host, addresses)

        host.run(run)


@both
def test_an_address_is_taken_refreshed_and_dropped(vip: VirtualIp) -> None:
    async def scene(host: Host, addresses: NetlinkAddresses) -> None:
        assert not (await addresses.places())[vip.address].ours
        for seconds in (30, 60):
            await addresses.take(vip.address, seconds * SECOND)
            place = (await addresses.places())[vip.address]
            assert (place.interface, place.carrier, place.ours) == ("eth0", True, True)
            assert place.unfit == ""
            assert seconds - 25 <= lasts(host, vip) <= seconds
        await addresses.drop(vip.address)
        assert not (await addresses.places())[vip.address].ours
        assert shown(host, vip) == ""
        await addresses.drop(vip.address)  # again does nothing

    play(scene)


@both
def test_an_address_that_is_not_there_is_put_there_at_once(vip: VirtualIp) -> None:
    async def scene(host: Host, addresses: NetlinkAddresses) -> None:
        assert addresses.put(vip.address, "eth0", 4 * SECOND)
        put = shown(host, vip)
        assert "valid_lft 4sec" in put
        assert not addresses.put(vip.address, "eth0", 5 * SECOND)
        assert (await addresses.places())[vip.address].ours
        await addresses.drop(vip.address)
        assert not addresses.put(vip.address, "eth7", 5 * SECOND)
        await addresses.take(vip.address, 4 * SECOND)
        assert shown(host, vip) == put

    play(scene)


@both
def test_own_connections_never_begin_at_a_vip(vip: VirtualIp) -> None:
    async def scene(host: Host, addresses: NetlinkAddresses) -> None:
        await addresses.take(vip.address, 60 * SECOND)
        beside = vip.address.replace("200", "201")
        assert f"src {NODE[vip is SIX].split('/')[0]} " in host.ip(f"route get {beside}")

    play(scene)


@both
def test_an_address_ends_by_itself_while_its_owner_is_stopped(vip: VirtualIp) -> None:
    with Hosts() as hosts:
        host = hosts.host("a")
        hosts.wire(host, "eth0", "lan", *NODE)
        owner = host.start(sys.executable, "-m", __name__, vip.address)
        try:
            wait_for(lambda: vip.address in host.ip("address show"))
            os.kill(owner.pid, signal.SIGSTOP)
            wait_for(lambda: vip.address not in host.ip("address show"))
        finally:
            owner.kill()
            owner.wait()


def test_what_others_do_to_links_and_addresses_is_heard_at_once() -> None:
    async def scene(host: Host, addresses: NetlinkAddresses) -> None:
        heard = asyncio.Event()
        watcher = NetlinkAddresses([WEB])
        await watcher.open(heard.set)
        try:
            await addresses.take(WEB.address, 60 * SECOND)
            for words in (
                "address flush dev eth0 to 10.1.0.200/32",
                "address add 10.1.0.9/24 dev eth0",
                "link set eth0 down",
            ):
                heard.clear()
                host.ip(words)
                async with asyncio.timeout(PATIENCE_S):
                    await heard.wait()
            assert not (await addresses.places())[WEB.address].ours
        finally:
            await watcher.close()

    play(scene)


@both
def test_an_interface_under_another_name_is_the_same_place(vip: VirtualIp) -> None:
    async def scene(host: Host, addresses: NetlinkAddresses) -> None:
        await addresses.take(vip.address, 60 * SECOND)
        for words in ("down", "name wan7", "up"):
            host.ip(f"link set {'wan7' if words == 'up' else 'eth0'} {words}")
        if vip is SIX:  # the kernel removes them with the link
            host.ip(f"address add {NODE[1]} dev wan7 nodad")
        await until(lambda: carrier(addresses, vip))
        await addresses.take(vip.address, 60 * SECOND)
        place = (await addresses.places())[vip.address]
        assert (place.interface, place.ours) == ("wan7", True)

    play(scene)


def test_a_network_that_is_connected_again_is_found_by_its_subnet() -> None:
    with Hosts() as hosts:
        host = hosts.host("a")
        hosts.wire(host, "eth0", "lan", *NODE)

        async def scene() -> None:
            async with opened() as addresses:
                await addresses.take(WEB.address, 60 * SECOND)
                host.ip("link delete eth0")
                lost = (await addresses.places())[WEB.address]
                assert lost.interface == ""
                assert "no interface here has an address in 10.1.0.0/24" in lost.unfit
                with pytest.raises(SwitchError, match="no interface here has an address"):
                    await addresses.take(WEB.address, 60 * SECOND)
                hosts.wire(host, "eth1", "lan", *NODE)
                await until(lambda: carrier(addresses, WEB))
                await addresses.take(WEB.address, 60 * SECOND)
                place = (await addresses.places())[WEB.address]
                assert (place.interface, place.ours) == ("eth1", True)

        host.run(scene)


def test_an_address_that_is_left_on_another_interface_moves_with_the_subnet() -> None:
    with Hosts() as hosts:
        host = hosts.host("a")
        hosts.wire(host, "eth0", "lan", *NODE)
        hosts.wire(host, "eth1", "other")

        async def scene() -> None:
            async with opened() as addresses:
                await addresses.take(WEB.address, 60 * SECOND)
                host.ip("address delete 10.1.0.1/24 dev eth0")
                host.ip("address add 10.1.0.1/24 dev eth1")
                await addresses.take(WEB.address, 60 * SECOND)
            assert WEB.address not in host.ip("address show dev eth0")
            assert WEB.address in host.ip("address show dev eth1")

        host.run(scene)


def test_a_lost_carrier_is_said_in_words() -> None:
    with Hosts() as hosts:
        host = hosts.host("a")
        hosts.wire(host, "eth0", "lan", *NODE)

        async def scene() -> None:
            async with opened() as addresses:
                await addresses.take(WEB.address, 60 * SECOND)
                hosts.switch.ip("link set port1 down")
                place = (await addresses.places())[WEB.address]
                assert not place.carrier
                assert place.ours
                assert place.unfit.startswith("eth0 has no carrier")

        host.run(scene)


@both
def test_a_strangers_address_is_not_touched(vip: VirtualIp) -> None:
    async def scene(host: Host, addresses: NetlinkAddresses) -> None:
        given = f"{vip.address}/{32 if vip is WEB else 128}"
        host.ip(f"address add {given} dev eth0")
        place = (await addresses.places())[vip.address]
        assert not place.ours
        assert place.unfit.startswith(f"{given} is on eth0 already")
        assert f"ip address delete {given} dev eth0" in place.unfit
        with pytest.raises(SwitchError, match="not put there by Equipoise"):
            await addresses.take(vip.address, 60 * SECOND)
        await addresses.drop(vip.address)
        assert vip.address in host.ip("address show dev eth0")

    play(scene)


def test_the_nodes_own_address_is_no_place_for_a_vip() -> None:
    own = VirtualIp(name="own", address="10.1.0.1", prefix=24, home="a")

    async def scene(_: Host, addresses: NetlinkAddresses) -> None:
        assert "already" in (await addresses.places())[own.address].unfit

    play(scene, own)


def test_a_process_that_may_not_change_addresses_says_what_it_needs() -> None:
    with Hosts() as hosts:
        host = hosts.host("a")
        hosts.wire(host, "eth0", "lan", *NODE)
        bare = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        said = host.command(*bare, sys.executable, "-m", __name__)
        assert said.count("CAP_NET_ADMIN") == 2  # the place is unfit, and so says a try


def test_another_network_that_would_answer_for_a_vip_is_said() -> None:
    with Hosts() as hosts:
        host = hosts.host("a")
        hosts.wire(host, "eth0", "cluster", "10.2.0.1/24")
        hosts.wire(host, "eth1", "clients", *NODE)

        async def scene() -> None:
            async with opened() as addresses:
                place = (await addresses.places())[WEB.address]
                assert (place.interface, place.unfit) == ("eth1", "")
                assert place.advice.startswith("eth0 would answer ARP for 10.1.0.200 of eth1")
                host.set("net/ipv4/conf/all/arp_ignore", 1)
                assert (await addresses.places())[WEB.address].advice == ""

        host.run(scene)


def lasts(host: Host, vip: VirtualIp) -> int:
    """Return for how many seconds the kernel keeps an address."""
    found = re.search(r"valid_lft (\d+)sec", shown(host, vip))
    assert found is not None
    return int(found[1])


def shown(host: Host, vip: VirtualIp) -> str:
    return host.ip(f"address show dev eth0 to {vip.address}")


async def carrier(addresses: NetlinkAddresses, vip: VirtualIp) -> bool:
    return (await addresses.places())[vip.address].carrier


def wait_for(holds: Callable[[], bool]) -> None:
    """Poll until it holds."""

    async def polled() -> bool:
        return holds()

    asyncio.run(until(polled))


async def own(address: str) -> None:
    """Be a switcher that holds an address, two seconds at a time."""
    async with opened() as addresses:
        while True:
            await addresses.take(address, 2 * SECOND)
            await CLOCK.sleep(SECOND // 2)


async def be_refused() -> None:
    """Be a switcher that has no capability."""
    async with opened(WEB) as addresses:
        sys.stdout.write((await addresses.places())[WEB.address].unfit)
        try:
            await addresses.take(WEB.address, SECOND)
        except SwitchError as error:
            sys.stdout.write(str(error))


if __name__ == "__main__":
    asyncio.run(own(sys.argv[1]) if len(sys.argv) > 1 else be_refused())
