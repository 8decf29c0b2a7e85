"""The guard's transactions as texts: what the kernel cannot be asked about."""

from dataclasses import replace

from services.traffic_switcher.core.nft_words import Guarded, Neighbour, hand_over
from shared.cluster import VirtualIp
from shared.instant import SECOND
from tests.unit.traffic_switcher.play import cluster

WEB, API = "10.0.0.100", "fd00::100"


def guarded() -> Guarded:
    vips = {
        address: VirtualIp(name=address, address=address, prefix=24, home="node-a")
        for address in (API, WEB)
    }
    return Guarded.of(replace(cluster(), vips=vips))


def test_two_addresses_of_a_version_are_handed_over_by_chains_of_their_own() -> None:
    other = guarded()
    chains = {
        word
        for address in other.vips
        for word in hand_over(other, address, Neighbour("10.0.0.2", "eth0"), SECOND).split()
        if word.startswith("vip")
    }
    assert len(chains) == 2
