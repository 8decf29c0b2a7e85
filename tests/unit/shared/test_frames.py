"""Frames, octet by octet where a neighbour's kernel looks, and what is read out of them."""

import struct

import pytest
from hypothesis import given, strategies as st

from shared.frames import Claim, announcements, claim, question

OURS = bytes.fromhex("020000000001")
OURS_TEXT = "02:00:00:00:00:01"


def test_an_announcement_by_arp_is_said_as_a_request_and_as_a_reply() -> None:
    request, reply = announcements(OURS, "10.1.0.200")
    everybody, own, said = "ffffffffffff", OURS.hex(), "0a0100c8"
    head = f"{everybody}{own}0806 0001 0800 06 04"
    assert request == bytes.fromhex(f"{head} 0001 {own}{said} 000000000000{said}")
    assert reply == bytes.fromhex(f"{head} 0002 {own}{said} {own}{said}")


def test_an_advertisement_is_to_all_nodes_and_overrides() -> None:
    (frame,) = announcements(OURS, "fd00:1::200")
    target = "fd000001000000000000000000000200"
    all_nodes = "ff020000000000000000000000000001"
    assert frame == bytes.fromhex(
        f"333300000001 {OURS.hex()} 86dd 60000000 0020 3a ff {target} {all_nodes}"
        f" 88 00 {frame[56:58].hex()} 20000000 {target} 02 01 {OURS.hex()}"
    )
    assert is_right(frame)


def test_a_question_names_no_sender() -> None:
    assert claim(question(OURS, "10.1.0.200")) is None
    asked = question(OURS, "fd00:1::abcd:1234")
    assert asked[:6] == bytes.fromhex("3333ffcd1234")
    assert asked[22:38] == bytes(16)
    assert asked[38:54] == bytes.fromhex("ff0200000000000000000001ffcd1234")
    assert is_right(asked)
    assert claim(asked) is None


@pytest.mark.parametrize("address", ["10.1.0.200", "fd00:1::200"])
def test_every_announcement_is_a_claim_even_if_padded(address: str) -> None:
    for frame in announcements(OURS, address):
        assert claim(frame + bytes(18)) == Claim(address=address, hardware=OURS_TEXT)


def test_an_advertisement_that_names_no_hardware_claims_for_its_sender() -> None:
    (frame,) = announcements(OURS, "fd00:1::200")
    assert claim(frame[:78]) == Claim(address="fd00:1::200", hardware=OURS_TEXT)


def test_an_advertisement_that_a_router_passed_on_is_none() -> None:
    (frame,) = announcements(OURS, "fd00:1::200")
    assert claim(frame[:21] + b"\xfe" + frame[22:]) is None


@given(st.binary(max_size=120))
def test_whatever_comes_from_the_wire_is_read_without_an_error(frame: bytes) -> None:
    claim(frame)


@given(st.sampled_from(["10.1.0.200", "fd00:1::200"]), st.data())
def test_a_frame_that_is_cut_short_is_no_error(address: str, data: st.DataObject) -> None:
    frame = announcements(OURS, address)[0]
    length = data.draw(st.integers(0, len(frame)))
    claim(frame[:length])


def is_right(frame: bytes) -> bool:
    """Return whether an ICMPv6 frame's checksum is right, added up as RFC 1071 draws it."""
    packet = frame[14:]
    content = (
        packet[8:40] + len(packet[40:]).to_bytes(4, "big") + bytes((0, 0, 0, 58)) + packet[40:]
    )
    total = 0
    for (word,) in struct.iter_unpack("!H", content):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF
