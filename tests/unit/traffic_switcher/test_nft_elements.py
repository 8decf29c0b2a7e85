"""The guard's messages about elements, read back; and those that libnftables (1.1.3) sent."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from hypothesis import given, strategies as st

from services.traffic_switcher.core import nft_elements
from services.traffic_switcher.core.nft_elements import Listing, ask_leases, close, heard, renew
from shared.errors import SwitchError
from shared.instant import MILLISECOND, SECOND, Duration

WEB, API = "10.0.0.100", "fd00::100"
BEGIN, END, NEW, DELETE = 16, 17, 0xA0C, 0xA0E
FAMILIES = {1: "inet", 3: "arp", 5: "netdev"}
ACK = 4
# add element inet equipoise lease4 { 10.78.0.201 }
# delete element inet equipoise lease4 { 10.78.0.201 }
# add element inet equipoise lease4 { 10.78.0.201 timeout 300ms }
# add element inet equipoise aimed6 { 0xfd780000000000000000000000000201 }
# delete element inet equipoise permit { 305419896 }
OF_LIBNFTABLES = bytes.fromhex(
    "140000001000010000000000000000000000000a4c0000000c0a01040100000000000000010000000e000100"
    "65717569706f6973650000000b0002006c656173653400d1080004000000002514000380100001800c000180"
    "080001000a4e00c9440000000e0a01000200000000000000010000000e00010065717569706f6973650053d1"
    "0b0002006c6561736534000014000380100001800c000180080001000a4e00c9580000000c0a010403000000"
    "00000000010000000e00010065717569706f6973650000000b0002006c656173653400d10800040000000025"
    "200003801c0001800c000400000000000000012c0c000180080001000a4e00c9580000000c0a010404000000"
    "00000000010000000e00010065717569706f6973650000000b00020061696d65643600d10800040000000027"
    "200003801c0001801800018014000100fd780000000000000000000000000201440000000e0a010005000000"
    "00000000010000000e00010065717569706f6973650000000b0002007065726d697400d11400038010000180"
    "0c0001800800010078563412140000001100010006000000000000000000000a"
)
# What Linux 6.18 answers: a set with one element, and its end; an acknowledgement; a refusal.
LISTED = bytes.fromhex(
    "5c0000000c0a02000000000095de4ae5010000040e00010065717569706f6973650000000b0002006c656173"
    "653400002c000300280001000c000100080001000a4e00c90c00040000000000000003840c00050000000000"
    "00000384"
)
ENDED = bytes.fromhex(
    "340000000c0a02000000000095de4ae5010000040e00010065717569706f6973650000000b0002006c656173"
    "65340000040003001400000003000200 0000000095de4ae500000000"
)


@dataclass(frozen=True, slots=True)
class Change:
    """One element that a batch adds or deletes."""

    does: str
    family: str
    name: str
    key: str
    life_ms: int | None = None


def read(batch: bytes) -> list[Change]:
    """Read a batch of ours, or of libnftables."""
    messages = list(split(batch, 16))
    assert [kind_of(messages[0]), kind_of(messages[-1])] == [BEGIN, END]
    assert [each[16:20] for each in (messages[0], messages[-1])] == [b"\0\0\0\x0a"] * 2
    return list(map(change_of, messages[1:-1]))


def change_of(message: bytes) -> Change:
    facts = attributes(message[20:])
    assert facts[1] == b"equipoise\0"
    element = attributes(attributes(facts[3])[1])
    key = attributes(element[1])[1]
    name = facts[2].rstrip(b"\0").decode()
    is_add = kind_of(message) == NEW
    assert is_add or kind_of(message) == DELETE
    assert bool(flags_of(message) & 0x400) == is_add
    return Change(
        "add" if is_add else "delete",
        FAMILIES[message[16]],
        name,
        str(int.from_bytes(key, "little")) if name == "permit" else str(ip_address(key)),
        int.from_bytes(element[4], "big") if 4 in element else None,
    )


def split(content: bytes, head: int) -> Iterator[bytes]:
    """Split messages (whose lengths are longs) or attributes (shorts)."""
    at = 0
    while at < len(content):
        length = struct.unpack_from("=I" if head == 16 else "=H", content, at)[0]
        assert head <= length <= len(content) - at
        yield content[at : at + length]
        at += length + -length % 4
    assert at == len(content)


def attributes(content: bytes) -> dict[int, bytes]:
    found = [(struct.unpack_from("=H", a, 2)[0] & 0x3FFF, a[4:]) for a in split(content, 4)]
    assert len(dict(found)) == len(found)
    return dict(found)


def kind_of(message: bytes) -> int:
    return int(struct.unpack_from("=H", message, 4)[0])


def flags_of(message: bytes) -> int:
    return int(struct.unpack_from("=H", message, 6)[0])


def test_we_say_what_libnftables_says() -> None:
    ours = renew(0x12345678, {"10.78.0.201": 300 * MILLISECOND}, [], egress=False)
    six = renew(1, {"fd78::201": SECOND}, [], egress=False)
    assert [c for c in read(ours) if c.family == "inet"] == [
        c for c in read(OF_LIBNFTABLES) if c.name != "aimed6"
    ]
    (aimed,) = (c for c in read(OF_LIBNFTABLES) if c.name == "aimed6")
    assert aimed in read(six)


def test_only_the_last_change_is_acknowledged_so_that_the_first_answer_is_the_verdict() -> None:
    for batch in (
        nft_elements.permit(7, SECOND),
        renew(7, {WEB: SECOND, API: SECOND}, [WEB], egress=True),
        close([WEB, API], egress=True),
    ):
        asks = [bool(flags_of(message) & ACK) for message in split(batch, 16)]
        assert asks == [*[False] * (len(asks) - 2), True, False]


def test_the_permit_is_deleted_last() -> None:
    changes = read(renew(7, {WEB: SECOND, API: SECOND}, [WEB], egress=True))
    assert changes[-1] == Change("delete", "inet", "permit", "7")
    assert sum(change.name == "permit" for change in changes) == 1
    assert read(nft_elements.permit(7, 20_999)) == [Change("add", "inet", "permit", "7", 20)]


def test_every_element_is_added_deleted_and_added_again() -> None:
    changes = read(renew(7, {WEB: SECOND}, [], egress=False))
    assert [change for change in changes if change.family == "arp"] == [
        Change("add", "arp", "lease4", WEB),
        Change("delete", "arp", "lease4", WEB),
        Change("add", "arp", "lease4", WEB, 1_000),
    ]


def test_all_sets_of_an_address_are_renewed_and_closed_together() -> None:
    places = {("inet", "lease6"), ("inet", "aimed6"), ("netdev", "aimed6")}
    for egress in (True, False):
        wanted = {place for place in places if egress or place[0] != "netdev"}
        for batch in (renew(7, {API: SECOND}, [], egress=egress), close([API], egress=egress)):
            gone = {(c.family, c.name) for c in read(batch) if c.does == "delete"}
            assert gone - {("inet", "permit"), ("inet", "drain6")} == wanted


def test_a_lease_ends_draining_and_a_release_may_begin_it() -> None:
    drains = [c for c in read(renew(7, {WEB: SECOND}, [WEB], egress=False)) if c.name == "drain4"]
    assert [change.does for change in drains] == ["add", "delete"]
    drains = [c for c in read(close([WEB], drain_us=SECOND, egress=False)) if c.name == "drain4"]
    assert drains[-1] == Change("add", "inet", "drain4", WEB, 1_000)


@pytest.mark.parametrize(
    ("rest_us", "life_ms"),
    [
        (SECOND, 1_000),
        (SECOND - 1, 999),
        (10 * MILLISECOND, 10),
        (10 * MILLISECOND - 1, None),  # some kernels take less than a tick for ever
        (0, None),
        (-SECOND, None),
    ],
)
def test_no_lease_is_longer_than_it_was_meant_and_none_is_for_ever(
    rest_us: Duration, life_ms: int | None
) -> None:
    changes = read(renew(7, {WEB: rest_us}, [], egress=False))
    lives = [change.life_ms for change in changes if change.life_ms is not None]
    assert lives == ([] if life_ms is None else [life_ms] * 2)
    assert changes[-2].does == ("delete" if life_ms is None else "add")


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@given(
    rests=st.dictionaries(ADDRESSES, st.integers(-SECOND, 100 * SECOND), min_size=1, max_size=5),
    token=st.integers(0, 2**32 - 1),
    egress=st.booleans(),
)
def test_whatever_is_renewed_is_in_all_its_sets_for_just_so_long(
    rests: dict[str, Duration], token: int, *, egress: bool
) -> None:
    left: dict[tuple[str, str, str], int | None] = {}
    for change in read(renew(token, rests, [], egress=egress)):
        place = (change.family, change.name, change.key)
        if change.does == "add":
            left[place] = change.life_ms
        elif change.name == "permit":
            assert change.key == str(token)
        else:
            del left[place]
    runs = {address: us // MILLISECOND for address, us in rests.items() if us >= 10 * MILLISECOND}
    per_address = 2 + egress
    assert {key: life for (_, _, key), life in left.items()} == runs
    assert len(left) == per_address * len(runs)


def test_each_set_of_leases_is_asked_for_once() -> None:
    assert len(ask_leases([WEB, "10.0.0.101", API])) == 2
    assert len(ask_leases([WEB])) == 1
    (asked,) = ask_leases([API])
    assert attributes(asked[20:]) == {1: b"equipoise\0", 2: b"lease6\0"}


def test_a_listing_is_put_together_from_its_parts_until_it_ends() -> None:
    first = heard(Listing(), LISTED)
    assert first == Listing({"10.78.0.201": 900 * MILLISECOND}, interrupted=False, ended=None)
    assert heard(first, ENDED) == Listing(first.rests, interrupted=False, ended=0)
    assert heard(Listing(), LISTED + ENDED) == heard(first, ENDED)


def test_a_listing_that_was_interrupted_says_so() -> None:
    changed = LISTED[:6] + struct.pack("=H", 0x12) + LISTED[8:]
    assert heard(heard(Listing(), changed), ENDED).interrupted


def test_a_lease_that_never_ends_is_no_lease_of_ours() -> None:
    for_ever = LISTED[:-10] + b"\x08" + LISTED[-9:]  # another attribute than what is left
    with pytest.raises(SwitchError, match=r"'10\.78\.0\.201', a lease that does not expire"):
        heard(Listing(), for_ever)


def test_a_refusal_is_told_from_a_commit_and_from_anything_else() -> None:
    head = bytes.fromhex("24000000020000000000000000000000")
    assert nft_elements.refusal(head + struct.pack("=i", 0)) == 0
    assert nft_elements.refusal(head + struct.pack("=i", -2)) == 2
    assert nft_elements.refusal(LISTED) is None


def test_the_number_of_the_rules_is_read_or_its_lack_is_said() -> None:
    told = bytes.fromhex("1c0000000f0a0000000000000000000000000000" + "0800010000000105")
    assert nft_elements.generation(told) == 0x105
    with pytest.raises(SwitchError, match="does not say its rules' number"):
        nft_elements.generation(bytes.fromhex("2400000002000000000000000000000000000000ffffffff"))
