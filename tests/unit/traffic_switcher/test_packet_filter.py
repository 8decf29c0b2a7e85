"""The filter's program, run by a machine as small as the part of BPF that it uses."""

import pytest

from services.traffic_switcher.core.packet_filter import program
from shared.frames import ARP, IPV6, announcements, question

OURS = bytes.fromhex("020000000001")
FOUR = ("10.1.0.200", "10.1.0.201", "10.255.255.255")
SIX = ("fd00:1::200", "fd00:1::201", "fd00:2::200")
LOADS = {0x20: 4, 0x28: 2, 0x30: 1}


def passes(kind: int, addresses: tuple[str, ...], frame: bytes) -> bool:
    """Run the program on a frame, as the kernel does: what lies behind the end is a drop."""
    instructions = program(kind, addresses)
    at = loaded = 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code in LOADS:
            octets = frame[value : value + LOADS[code]]
            if len(octets) < LOADS[code]:
                return False
            loaded = int.from_bytes(octets, "big")
        elif code == 0x15:
            at += if_true if loaded == value else if_false
        else:
            assert code == 0x06
            return value > 0


@pytest.mark.parametrize(("kind", "addresses"), [(ARP, FOUR), (IPV6, SIX)])
def test_claims_of_managed_addresses_pass_and_others_do_not(
    kind: int, addresses: tuple[str, ...]
) -> None:
    for count in range(len(addresses) + 1):
        managed = addresses[:count]
        for address in addresses:
            for frame in announcements(OURS, address):
                assert passes(kind, managed, frame) is (address in managed)


@pytest.mark.parametrize(("kind", "addresses"), [(ARP, FOUR), (IPV6, SIX)])
def test_questions_and_other_kinds_of_frames_do_not_pass(
    kind: int, addresses: tuple[str, ...]
) -> None:
    for address in (*FOUR, *SIX):
        assert not passes(kind, addresses, question(OURS, address))
    other = announcements(OURS, SIX[0] if kind == ARP else FOUR[0])[0]
    assert not passes(kind, addresses, other)
    assert not passes(kind, addresses, b"")


def test_addresses_of_both_families_may_be_given_to_either() -> None:
    both = (*FOUR, *SIX)
    assert passes(ARP, both, announcements(OURS, FOUR[2])[0])
    assert passes(IPV6, both, announcements(OURS, SIX[2])[0])
