"""Announcements on a real wire: neighbours believe them, and foreign claims are heard."""

import asyncio
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from services.traffic_switcher.adapters.announcer import WireAnnouncer
from shared.errors import SwitchError
from shared.frames import ARP, Claim, announcements, claim
from shared.instant import MILLISECOND
from shared.neighbours import open_wire, who_answers
from tests.eventually import eventually
from tests.integration.namespaces import Host, Hosts

WEB, SIX = "10.1.0.200", "fd00:1::200"
both = pytest.mark.parametrize("vip", [WEB, SIX], ids=["IPv4", "IPv6"])


class Street(NamedTuple):
    """Two nodes and a client on one network."""

    hosts: Hosts
    a: Host
    b: Host
    client: Host


@contextmanager
def street() -> Iterator[Street]:
    with Hosts() as hosts:
        names = ("a", "b", "client")
        a, b, client = (hosts.host(name) for name in names)
        for number, host in enumerate((a, b, client), start=1):
            hosts.wire(host, "eth0", "lan", f"10.1.0.{number}/24", f"fd00:1::{number}/64")
        yield Street(hosts, a, b, client)


@both
def test_a_neighbour_that_knew_another_learns_of_the_move_at_once(vip: str) -> None:
    with street() as (_, a, b, client):
        give(a, vip)
        ask_for(client, vip)
        assert known(client, vip) == hardware(a)
        take_away(a, vip)
        give(b, vip)
        announced(b, vip)
        until(lambda: known(client, vip) == hardware(b))


@pytest.mark.parametrize("form", [0, 1], ids=["request", "reply"])
def test_either_form_alone_moves_a_linux_neighbour(form: int) -> None:
    with street() as (_, a, b, client):
        give(a, WEB)
        ask_for(client, WEB)

        def say() -> None:
            with open_wire("eth0", ARP) as wire:
                wire.send(announcements(wire.getsockname()[4], WEB)[form])

        b.within(say)
        until(lambda: known(client, WEB) == hardware(b))


@both
def test_foreign_claims_are_heard_and_our_own_are_not(vip: str) -> None:
    with street() as (hosts, a, b, _):
        hosts.wire(a, "eth1", "lan")  # a second plug into the same network: its claims are ours
        heard: list[tuple[str, str, str]] = []

        async def scene() -> None:
            announcer = WireAnnouncer([WEB, SIX])
            announcer.listen(lambda *said: heard.append(said))
            announcer.announce(vip, "eth0")
            announcer.announce(vip, "eth1")
            claimed(b, vip.replace("200", "201"))  # nobody's business
            claimed(b, vip)
            await eventually(lambda: len({c[2] for c in heard}) == 2)
            announcer.close()

        a.run(scene)
        assert set(heard) == {(vip, hardware(b), "eth0"), (vip, hardware(b), "eth1")}


@both
def test_a_stranger_who_only_answers_is_heard_when_we_announce(vip: str) -> None:
    with street() as (_, a, b, _):
        heard: list[tuple[str, str, str]] = []
        give(b, vip)

        async def scene() -> None:
            announcer = WireAnnouncer([WEB, SIX])
            announcer.listen(lambda *said: heard.append(said))
            announcer.announce(vip, "eth0")
            await eventually(lambda: bool(heard))
            announcer.close()

        a.run(scene)
        assert set(heard) == {(vip, hardware(b), "eth0")}


@both
def test_the_kernel_wakes_us_for_claims_of_our_addresses_only(vip: str) -> None:
    with street() as (_, a, b, _):

        async def scene() -> None:
            announcer = WireAnnouncer([vip])
            announcer.announce(vip, "eth0")
            (wire,) = announcer._wires.values()
            claimed(b, vip.replace("200", "201"))
            for own in ("10.1.0.1", "fd00:1::1"):
                knock(b, own)  # questions, and answers to them
            claimed(b, vip)
            first = claim(await asyncio.get_running_loop().sock_recv(wire, 2_048))
            assert first == Claim(address=vip, hardware=hardware(b))
            announcer.close()

        a.run(scene)


@both
def test_an_interface_that_comes_back_is_announced_on_and_heard_again(vip: str) -> None:
    with street() as (hosts, a, b, _):
        heard: list[str] = []

        async def scene() -> None:
            announcer = WireAnnouncer([WEB, SIX])
            announcer.listen(lambda _, __, interface: heard.append(interface))
            announcer.announce(vip, "eth0")
            a.ip("link set eth0 down")
            with pytest.raises(SwitchError, match=f"cannot announce {vip} on eth0"):
                announcer.announce(vip, "eth0")
            a.ip("link delete eth0")
            with pytest.raises(SwitchError, match=f"cannot announce {vip} on eth0"):
                announcer.announce(vip, "eth0")
            hosts.wire(a, "eth0", "lan")
            await eventually(lambda: is_announced(announcer, vip))
            await eventually(lambda: claimed(b, vip) and set(heard) == {"eth0"})
            announcer.close()

        a.run(scene)


def test_a_loopback_has_nobody_to_tell() -> None:
    with street() as (_, a, _, _):

        async def scene() -> None:
            announcer = WireAnnouncer([WEB])
            announcer.announce(WEB, "lo")
            announcer.close()

        a.run(scene)


def test_a_process_that_may_not_send_frames_says_what_it_needs() -> None:
    with street() as (_, a, _, _):
        bare = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
        said = a.command(*bare, sys.executable, "-m", __name__)
        assert said.startswith("cannot announce 10.1.0.200 on eth0: it needs CAP_NET_RAW")


@both
def test_who_answers_is_every_holder(vip: str) -> None:
    with street() as (_, a, b, client):

        async def ask() -> frozenset[str]:
            return await who_answers("eth0", vip, 200 * MILLISECOND)

        assert client.run(ask) == frozenset()
        give(a, vip)
        until(lambda: client.run(ask) == {hardware(a)})
        give(b, vip)
        until(lambda: client.run(ask) == {hardware(a), hardware(b)})


def test_another_interface_answers_for_a_vip_unless_it_is_told_not_to() -> None:
    with Hosts() as hosts:
        node, stranger = hosts.host("node"), hosts.host("stranger")
        hosts.wire(node, "eth0", "cluster", "10.2.0.1/24")
        hosts.wire(node, "eth1", "clients", "10.1.0.1/24")
        hosts.wire(stranger, "eth0", "cluster", "10.1.0.7/24")
        give(node, WEB, "eth1")

        async def ask() -> frozenset[str]:
            return await who_answers("eth0", WEB, 200 * MILLISECOND)

        until(lambda: stranger.run(ask) == {hardware(node)})
        node.set("net/ipv4/conf/all/arp_ignore", 1)
        assert stranger.run(ask) == frozenset()


def give(host: Host, vip: str, interface: str = "eth0") -> None:
    single = f"{vip}/128 dev {interface} nodad" if ":" in vip else f"{vip}/32 dev {interface}"
    host.ip(f"address add {single}")


def take_away(host: Host, vip: str) -> None:
    host.ip(f"address delete {vip}/{128 if ':' in vip else 32} dev eth0")


def announced(host: Host, vip: str) -> None:
    async def scene() -> None:
        announcer = WireAnnouncer([vip])
        announcer.announce(vip, "eth0")
        announcer.close()

    host.run(scene)


def claimed(host: Host, vip: str) -> bool:
    """Say from here, once, that the VIP is here."""
    announced(host, vip)
    return True


def is_announced(announcer: WireAnnouncer, vip: str) -> bool:
    try:
        announcer.announce(vip, "eth0")
    except SwitchError:
        return False
    return True


def ask_for(client: Host, vip: str) -> None:
    """Make a client know where a VIP is, as its own traffic does."""
    knock(client, vip)
    until(lambda: known(client, vip) != "")


def knock(client: Host, address: str) -> None:
    """Send something there."""

    def send() -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (address, 9))

    client.within(send)


def known(client: Host, vip: str) -> str:
    found = re.search(r"lladdr (\S+)", client.ip(f"neighbour show to {vip}"))
    return found[1] if found else ""


def hardware(host: Host) -> str:
    found = re.search(r"link/ether (\S+)", host.ip("link show eth0"))
    assert found is not None
    return found[1]


def until(holds: Callable[[], bool]) -> None:
    asyncio.run(eventually(holds))


if __name__ == "__main__":
    try:
        WireAnnouncer([WEB]).announce(WEB, "eth0")
    except SwitchError as error:
        sys.stdout.write(str(error))
