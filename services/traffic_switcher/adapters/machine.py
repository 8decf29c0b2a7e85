"""The real machine that VIPs are held on."""

from collections.abc import Mapping
from pathlib import Path

from services.traffic_switcher.adapters.addresses import NetlinkAddresses
from services.traffic_switcher.adapters.announcer import WireAnnouncer
from services.traffic_switcher.adapters.balancer_watch import HaproxyWatch
from services.traffic_switcher.adapters.farewells import HaproxyFarewells
from services.traffic_switcher.adapters.guard import NftGuard
from services.traffic_switcher.adapters.haproxy import Files
from services.traffic_switcher.adapters.newcomers import WireNewcomers
from services.traffic_switcher.adapters.ports import Machine
from services.traffic_switcher.core.haproxy_file import Place, token_of
from shared import libnftables
from shared.clock import Clock
from shared.settings import Settings


def this_machine(settings: Settings, environ: Mapping[str, str], clock: Clock) -> Machine:
    """Return the real one."""
    cluster = settings.cluster
    socket = Files.within(settings.run_directory).socket
    place = Place(socket=socket, token=token_of(settings.key))
    return Machine(
        guard=lambda: NftGuard(libnftables.find(environ), cluster, clock),
        addresses=NetlinkAddresses(tuple(cluster.vips.values())),
        announcer=WireAnnouncer(vip.address for vip in cluster.vips.values()),
        newcomers=WireNewcomers(),
        farewells=HaproxyFarewells(cluster, socket, clock),
        balancer=HaproxyWatch(Path(place.alive), clock),
    )
