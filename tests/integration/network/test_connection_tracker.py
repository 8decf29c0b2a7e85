"""Translated connections on real hosts: forgotten however many there are, and nothing waits for it.

    pytest -q -s tests/integration/network/test_connection_tracker.py

prints how late the main thread woke meanwhile.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import closing

import pytest
from pyroute2.netlink.nfnetlink.nfctsocket import AsyncNFCTSocket, NFCTAttrTuple

from services.traffic_switcher.adapters import connection_tracker
from shared import libnftables
from shared.clock import SystemClock
from shared.instant import MILLISECOND
from shared.urgency import hurry, urgent_threads
from tests.integration.namespaces import Host, Hosts

FOUR, SIX = "10.1.0.200", "fd00:1::200"
OWN = {FOUR: "10.1.0.1", SIX: "fd00:1::1"}
ELSEWHERE = {FOUR: "10.1.0.50", SIX: "fd00:1::50"}
UNTRANSLATED, TRANSLATED = 1_001, 1_002  # ports
CLOCK = SystemClock()
both = pytest.mark.parametrize("vip", [FOUR, SIX], ids=["IPv4", "IPv6"])


@both
def test_translated_connections_of_an_address_are_forgotten_and_no_others(vip: str) -> None:
    with Hosts() as hosts:
        host = leading(hosts, vip)
        for address in (vip, OWN[vip]):
            for port in (UNTRANSLATED, TRANSLATED):
                begin(host, (address, port), [30_000])
        forget(host, vip)
        assert tracked(host, vip) == {
            (vip, UNTRANSLATED): 1,
            (OWN[vip], UNTRANSLATED): 1,
            (OWN[vip], TRANSLATED): 1,
        }
        forget(host, vip)  # none is fine


@both
@pytest.mark.parametrize("count", [1, 20_000])
def test_the_main_thread_does_not_wait_while_connections_are_forgotten(
    vip: str, count: int
) -> None:
    with Hosts() as hosts:
        host = leading(hosts, vip)
        begin(host, (vip, TRANSLATED), range(30_000, 30_000 + count))
        assert tracked(host, vip) == {(vip, TRANSLATED): count}
        measured = forget(host, vip)
        sys.stdout.write(f"{count} of them: {measured}\n")
        assert not tracked(host, vip)
        # A machine that is busy with other work makes anybody wait now and then.
        # Turns that the loop took meanwhile; how late they came depends on the machine.
        assert measured["slept"] >= TURNS_MIN


def leading(hosts: Hosts, vip: str) -> Host:
    """Return a host that leads elsewhere whatever it sends to one port."""
    host = hosts.host("a")
    hosts.wire(host, "eth0", "lan", "10.1.0.1/24", "fd00:1::1/64")
    family = "ip6" if vip is SIX else "ip"
    chain = (
        "chain out { type nat hook output priority -100; "
        f"udp dport {TRANSLATED} dnat to {ELSEWHERE[vip]}; }};"
    )
    rules = f"table {family} led {{ {chain} }}"
    host.within(lambda: libnftables.find(os.environ).run(rules))
    return host


def begin(host: Host, to: tuple[str, int], ports: Iterable[int]) -> None:
    """Send something from each of some ports."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET

    def send() -> None:
        for port in ports:
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.bind(("", port))
                client.sendto(b"", to)

    host.within(send)


def tracked(host: Host, vip: str) -> dict[tuple[str, int], int]:
    """Return how many tracked connections were to lead where, to which port."""
    family = socket.AF_INET6 if vip is SIX else socket.AF_INET

    async def told() -> dict[tuple[str, int], int]:
        found: dict[tuple[str, int], int] = {}
        with closing(AsyncNFCTSocket(nfgen_family=family)) as tracker:
            async for entry in await tracker.dump():
                begun = NFCTAttrTuple.from_netlink(family, entry.get_attr("CTA_TUPLE_ORIG"))
                if begun.dport in (UNTRANSLATED, TRANSLATED):
                    to = (begun.daddr, begun.dport)
                    found[to] = found.get(to, 0) + 1
        return found

    def plainly() -> dict[tuple[str, int], int]:
        # pyroute2 knows no other loop than asyncio's own.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(told())

    return host.within(plainly)


TURNS_MIN = 5  # one that waits for the tracker takes one or two


def forget(host: Host, vip: str) -> dict[str, int]:
    """Let a process there forget them, and tell how its main thread fared meanwhile."""
    measured: dict[str, int] = json.loads(host.command(sys.executable, "-m", __name__, vip))
    return measured


async def forgetting(vip: str) -> dict[str, int]:
    """Forget, and measure how late a sleep of a millisecond ends."""
    asyncio.get_running_loop().set_default_executor(urgent_threads())
    began_at = CLOCK.now()
    task = asyncio.ensure_future(connection_tracker.forget(vip))
    late = [0]
    while not task.done():
        asked_at = CLOCK.now()
        await CLOCK.sleep(MILLISECOND)
        late.append(CLOCK.now() - asked_at - MILLISECOND)
    await task
    late.sort()
    return {
        "took_us": CLOCK.now() - began_at,
        "slept": len(late),
        "median_us": late[len(late) // 2],
        "longest_us": late[-1],
    }


if __name__ == "__main__":
    # At the priority at which switchers run.
    hurry()
    sys.stdout.write(json.dumps(asyncio.run(forgetting(sys.argv[1]))))
