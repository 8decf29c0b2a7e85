"""Where a VIP would be, judged from links and addresses that no kernel had to have."""

from dataclasses import replace

import pytest

from services.traffic_switcher.core.places import (
    LABEL_MAX,
    NODAD,
    PROTOCOL,
    Link,
    Place,
    Present,
    is_ours,
    label_of,
    places,
)
from shared.cluster import VirtualIp

WEB = VirtualIp(name="web", address="10.1.0.200", prefix=24, home="a")
SIX = VirtualIp(name="six", address="fd00:1::200", prefix=64, home="a")
ETH0, ETH1 = Link(index=2, name="eth0"), Link(index=3, name="eth1")
NODE = Present(index=2, address="10.1.0.1", prefix=24)
NODE_SIX = Present(index=2, address="fd00:1::1", prefix=64)
HELD = Present(index=2, address=WEB.address, prefix=32, ours=True)


def place(vip: VirtualIp, links: list[Link], presents: list[Present]) -> Place:
    return places([vip], links, presents)[vip.address]


def test_the_interface_is_the_one_that_has_the_subnet() -> None:
    elsewhere = Present(index=3, address="10.2.0.1", prefix=24)
    assert place(WEB, [ETH1, ETH0], [elsewhere, NODE]).interface == "eth0"
    assert place(SIX, [ETH1, ETH0], [elsewhere, NODE_SIX]).interface == "eth0"


def test_a_subnet_of_another_size_is_another_subnet() -> None:
    wider = Present(index=2, address="10.1.0.1", prefix=16)
    assert place(WEB, [ETH0], [wider]).interface == ""


def test_our_own_address_alone_does_not_make_a_subnet() -> None:
    assert place(WEB, [ETH0], [HELD]).interface == ""


def test_a_named_interface_needs_no_subnet() -> None:
    named = replace(WEB, interface="eth1")
    assert place(named, [ETH0, ETH1], [NODE]).interface == "eth1"


def test_a_named_interface_that_is_missing_is_named_in_the_words() -> None:
    found = place(replace(WEB, interface="eth7"), [ETH0], [NODE])
    assert found.unfit.startswith("there is no interface eth7 here, which vips.web names")


def test_of_two_interfaces_with_the_subnet_the_one_with_carrier_is_taken() -> None:
    second = replace(NODE, index=3, address="10.1.0.2")
    dead = replace(ETH0, carrier=False)
    assert place(WEB, [dead, ETH1], [NODE, second]).interface == "eth1"
    assert place(WEB, [ETH0, ETH1], [NODE, second]).interface == "eth0"


def test_of_two_able_interfaces_the_one_in_use_is_kept() -> None:
    second = replace(NODE, index=3, address="10.1.0.2")
    there = replace(HELD, index=3)
    assert place(WEB, [ETH0, ETH1], [NODE, second, there]) == Place(
        interface="eth1", carrier=True, ours=True, beside="10.1.0.2"
    )


def test_without_carrier_an_address_of_ours_is_still_said() -> None:
    found = place(WEB, [replace(ETH0, carrier=False)], [NODE, HELD])
    assert found.ours
    assert not found.carrier
    assert found.unfit.startswith("eth0 has no carrier")


def test_a_stranger_on_any_interface_makes_it_unfit() -> None:
    stranger = Present(index=3, address=WEB.address, prefix=24)
    found = place(WEB, [ETH0, ETH1], [NODE, stranger])
    assert found.unfit.startswith("10.1.0.200/24 is on eth1 already")
    assert "(ip address delete 10.1.0.200/24 dev eth1)" in found.unfit


def test_an_address_of_our_own_beside_the_vip_is_known_and_no_other() -> None:
    second = replace(NODE_SIX, address="fd00:1::2")
    held = Present(index=2, address=SIX.address, prefix=128, ours=True)
    local = replace(NODE_SIX, address="fe80::1")
    elsewhere = replace(NODE_SIX, index=3, address="fd00:1::3")
    presents = [held, local, second, NODE_SIX, NODE]
    assert place(SIX, [ETH0], presents).beside == NODE_SIX.address
    assert place(WEB, [ETH0], presents).beside == NODE.address
    named = replace(SIX, interface="eth0")
    assert place(named, [ETH0, ETH1], [elsewhere]).beside == ""


def test_ours_on_another_interface_is_not_in_its_place() -> None:
    assert not place(WEB, [ETH0, ETH1], [NODE, replace(HELD, index=3)]).ours


@pytest.mark.parametrize(
    ("address", "protocol", "label", "flags", "ends_s", "ours"),
    [
        ("10.1.0.200/32", PROTOCOL, "eth0:eqp", 0, 5, True),
        ("10.1.0.200/32", PROTOCOL, "eth0", 0, 5, True),
        ("10.1.0.200/32", None, "eth0:eqp", 0, 5, True),
        ("10.1.0.200/32", None, "eth0", 0, 5, False),
        ("10.1.0.200/32", 4, "eth0:eqp", 0, 5, False),
        ("10.1.0.200/24", None, "eth0:eqp", 0, 5, False),
        ("fd00::1/128", PROTOCOL, "", NODAD, 5, True),
        ("fd00::1/128", None, "", NODAD, 5, True),
        ("fd00::1/128", None, "", 0, 5, False),
        ("fd00::1/128", None, "", NODAD, 2**32 - 1, False),
        ("fd00::1/64", None, "", NODAD, 5, False),
        ("fd00::1/128", 3, "", NODAD, 5, False),
    ],
)
def test_ours_is_known_by_its_mark(
    address: str, protocol: int | None, label: str, flags: int, ends_s: int, *, ours: bool
) -> None:
    at, prefix = address.split("/")
    present = Present(index=2, address=at, prefix=int(prefix))
    assert is_ours(present, protocol=protocol, label=label, flags=flags, ends_s=ends_s) is ours


def test_a_label_fits_whatever_the_interface_is_called() -> None:
    assert label_of("eth0") == "eth0:eqp"
    longest = label_of("enx001122334455")
    assert len(longest) == LABEL_MAX
    assert longest.endswith(":eqp")


def test_others_that_answer_arp_are_an_advice_and_no_fault() -> None:
    loud = replace(ETH1, answers_arp=True)
    found = place(WEB, [replace(ETH0, answers_arp=True), loud], [NODE])
    assert found.unfit == ""
    assert found.advice.startswith("eth1 would answer ARP for 10.1.0.200 of eth0 as well")
    assert place(SIX, [ETH0, loud], [NODE_SIX]).advice == ""
