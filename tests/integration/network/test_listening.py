"""HAProxy listens at VIPs that are not there yet, and a takeover needs no reload."""

import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from services.traffic_switcher.adapters.haproxy import HaproxyDriver
from services.traffic_switcher.adapters.haproxy_program import HaproxyProgram, environment_of
from services.traffic_switcher.adapters.local_request import LocalRequests
from services.traffic_switcher.core.haproxy_file import token_of
from shared.clock import SystemClock
from shared.cluster import Cluster, Node, Protocol, VirtualIp
from shared.rules import original
from tests.eventually import PATIENCE_US
from tests.integration.haproxy import Haproxy, Instance, programs
from tests.integration.namespaces import Host, Hosts
from tests.integration.traffic_switcher.stage import settings_in
from tests.unit.traffic_switcher.play import cluster, service

CLOCK = SystemClock()
WEB = VirtualIp(name="web", address="10.1.0.200", prefix=24, home="node-a")
SIX = VirtualIp(name="six", address="fd00:1::200", prefix=64, home="node-a")
VIPS = {vip.name: vip for vip in (WEB, SIX)}
NODES = (Node(name="node-a", address="10.1.0.1"), Node(name="node-b", address="10.1.0.2"))
BARE = "setpriv --bounding-set=-net_admin,-net_raw --inh-caps=-net_admin,-net_raw"
every_program = pytest.mark.parametrize("program", list(programs()))
privileged = pytest.mark.parametrize("bare", [False, True], ids=["privileged", "without rights"])


@dataclass(frozen=True, kw_only=True)
class Listening:
    """A node whose HAProxy has begun before any VIP was there."""

    host: Host
    of: Cluster
    haproxy: Haproxy
    requests: LocalRequests
    shop: Instance
    queue: Instance

    async def is_served(self, vip: VirtualIp, *names: str) -> None:
        """Wait until they are answered: one request waits only as long as a takeover may last."""
        deadline = CLOCK.now() + PATIENCE_US
        while why := await self.reached(vip, *names):
            assert CLOCK.now() < deadline, why

    async def reached(self, vip: VirtualIp, *names: str) -> str:
        """Return why none of these services is answered at a VIP, or ""."""
        return await self.requests.through(vip.address, [self.of.services[n] for n in names])


def vips_on_all() -> Cluster:
    """Return a cluster of an HTTP service and a TCP service at both VIPs."""
    tcp = replace(service("queue").probe, path=None)
    made = cluster(
        service("shop", listen=8_080, port=9_080),
        service("queue", protocol=Protocol.TCP, probe=tcp, listen=8_090, port=9_090),
        nodes=NODES,
    )
    at_both = {n: replace(s, vips=tuple(VIPS)) for n, s in made.services.items()}
    return replace(made, vips=VIPS, services=at_both)


@asynccontextmanager
async def listening(host: Host, program: Path, *, bare: bool) -> AsyncIterator[Listening]:
    directory, of = Path(tempfile.mkdtemp(prefix="eq-")), vips_on_all()
    settings = settings_in(directory, of)
    await HaproxyDriver(settings, HaproxyProgram(program), CLOCK).prepare(
        original(of), frozenset(), keep=False
    )
    instances = [
        Instance(name="node-a", address=NODES[0].address, port=each.port)
        for each in of.services.values()
    ]
    haproxy = Haproxy(directory, stripped(program, directory) if bare else program)
    try:
        async with instances[0] as shop, instances[1] as queue:
            with haproxy:
                yield Listening(
                    host=host,
                    of=of,
                    haproxy=haproxy,
                    requests=LocalRequests("10.1.0.1", token_of(settings.key), CLOCK),
                    shop=shop,
                    queue=queue,
                )
    finally:
        shutil.rmtree(directory)


def play(
    program: str, scene: Callable[[Listening], Awaitable[None]], *, bare: bool = False
) -> None:
    with Hosts() as hosts:
        host = hosts.host("node-a")
        hosts.wire(host, "eth0", "lan", "10.1.0.1/24", "fd00:1::1/64")
        assert host.within(lambda: Path("/proc/sys/net/ipv4/ip_nonlocal_bind").read_text()) == "0\n"

        async def run() -> None:
            async with listening(host, programs()[program], bare=bare) as made:
                await scene(made)

        host.run(run)


def stripped(program: Path, directory: Path) -> Path:
    """Return a program that runs another one without its rights over networks."""
    path = environment_of(program).get("LD_LIBRARY_PATH", "")
    made = directory / "haproxy-without-rights"
    exported = f"export LD_LIBRARY_PATH={shlex.quote(path)}\n" if path else ""
    made.write_text(f'#!/bin/sh\n{exported}exec {BARE} -- {shlex.quote(str(program))} "$@"\n')
    made.chmod(0o755)
    return made


@every_program
@privileged
def test_an_address_is_served_from_the_moment_that_it_comes(program: str, *, bare: bool) -> None:
    async def scene(made: Listening) -> None:
        worker = made.haproxy.worker
        for vip, length in ((WEB, 32), (SIX, 128)):
            made.host.ip(f"address add {vip.address}/{length} dev eth0 {nodad(vip)}")
            await made.is_served(vip, "shop")
            await made.is_served(vip, "queue")
            made.host.ip(f"address delete {vip.address}/{length} dev eth0")
            assert await made.reached(vip, "shop", "queue") != ""
        assert made.haproxy.worker == worker

    play(program, scene, bare=bare)


def test_any_answer_through_a_vip_proves_the_way_to_the_load_balancer() -> None:
    async def scene(made: Listening) -> None:
        made.host.ip("address add 10.1.0.200/32 dev eth0")
        assert await made.reached(WEB) == "no service is reached at 10.1.0.200"
        await made.shop.kill()
        await made.queue.kill()
        assert await made.reached(WEB, "queue") == "closed at once without a byte"
        await made.is_served(WEB, "queue", "shop")  # HAProxy says 503 itself

    play("wheel", scene)


def nodad(vip: VirtualIp) -> str:
    return "nodad" if vip is SIX else ""
