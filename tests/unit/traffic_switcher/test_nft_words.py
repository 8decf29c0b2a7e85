"""The guard's transactions as texts: what the kernel cannot be asked about."""

from dataclasses import replace

import pytest

from services.traffic_switcher.core.nft_words import Guarded, Neighbour, close, hand_over, renew
from shared.cluster import VirtualIp
from shared.instant import MILLISECOND, SECOND, Duration
from tests.unit.traffic_switcher.play import cluster

WEB, API = "10.0.0.100", "fd00::100"


def guarded() -> Guarded:
    vips = {
        address: VirtualIp(name=address, address=address, prefix=24, home="node-a")
        for address in (API, WEB)
    }
    return Guarded.of(replace(cluster(), vips=vips))


def test_the_permit_is_deleted_last() -> None:
    lines = renew(7, {WEB: SECOND, API: SECOND}, [WEB], egress=True).splitlines()
    assert lines[-1] == "delete element inet equipoise permit { 7 }"
    assert sum("permit" in line for line in lines) == 1


def test_every_element_is_added_deleted_and_added_again() -> None:
    lines = renew(7, {WEB: SECOND}, [], egress=False).splitlines()
    assert [line for line in lines if line.split()[2] == "arp"] == [
        "add element arp equipoise lease4 { 10.0.0.100 }",
        "delete element arp equipoise lease4 { 10.0.0.100 }",
        "add element arp equipoise lease4 { 10.0.0.100 timeout 1000ms }",
    ]


def test_all_sets_of_an_address_are_renewed_and_closed_together() -> None:
    for words in (renew(7, {API: SECOND}, [], egress=True), close([API], egress=True)):
        for place in ("inet equipoise lease6", "inet equipoise aimed6", "netdev equipoise aimed6"):
            assert f"delete element {place} {{ " in words
    assert "netdev" not in renew(7, {API: SECOND}, [], egress=False)
    assert "netdev" not in close([API], egress=False)


@pytest.mark.parametrize(
    ("rest_us", "timeout"),
    [
        (SECOND, "1000ms"),
        (SECOND - 1, "999ms"),
        (10 * MILLISECOND, "10ms"),
        (10 * MILLISECOND - 1, None),  # some kernels take less than a tick for ever
        (0, None),
        (-SECOND, None),
    ],
)
def test_no_lease_is_longer_than_it_was_meant_and_none_is_for_ever(
    rest_us: Duration, timeout: str | None
) -> None:
    added = renew(7, {WEB: rest_us}, [], egress=False).count(" timeout ")
    assert added == (2 if timeout else 0)
    if timeout:
        assert f"timeout {timeout} }}" in renew(7, {WEB: rest_us}, [], egress=False)


def test_two_addresses_of_a_version_are_handed_over_by_chains_of_their_own() -> None:
    other = guarded()
    chains = {
        word
        for address in other.vips
        for word in hand_over(other, address, Neighbour("10.0.0.2", "eth0"), SECOND).split()
        if word.startswith("vip")
    }
    assert len(chains) == 2
