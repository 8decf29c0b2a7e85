"""The filter's program, run by a machine as small as the part of BPF that it uses."""

import struct
from ipaddress import ip_address

import pytest

from services.traffic_switcher.core.packet_filter import Instruction, beginnings, program
from shared.frames import ARP, IPV4, IPV6, announcements, question

OURS = bytes.fromhex("020000000001")
FOUR = ("10.1.0.200", "10.1.0.201", "10.255.255.255")
SIX = ("fd00:1::200", "fd00:1::201", "fd00:2::200")
LOADS = {0x20: 4, 0x28: 2, 0x30: 1, 0x50: 1}


def passes(kind: int, addresses: tuple[str, ...], frame: bytes) -> bool:
    """Run the program for claims of these addresses on a frame."""
    return runs(program(kind, addresses), frame)


def runs(instructions: tuple[Instruction, ...], frame: bytes, *, to_us: bool = True) -> bool:
    """Run a program on a frame, as the kernel does: what lies behind the end is a drop."""
    at = loaded = header = 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        match code:
            case 0x20 if value == 0xFFFFF004:
                loaded = 0 if to_us else 3
            case 0x20 | 0x28 | 0x30 | 0x50:
                octets = frame[value + (header if code == 0x50 else 0) :][: LOADS[code]]
                if len(octets) < LOADS[code]:
                    return False
                loaded = int.from_bytes(octets, "big")
            case 0xB1:
                header = 4 * (frame[value] & 0x0F)
            case 0x54:
                loaded &= value
            case 0x15:
                at += if_true if loaded == value else if_false
            case _:
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


SYN, ACK, FIN, ECE, CWR = 0x02, 0x10, 0x01, 0x40, 0x80
TCP, UDP = 6, 17


def segment(
    to: str, flags: int, *, protocol: int = TCP, options: int = 0, fragment: int = 0
) -> bytes:
    """Return a frame with a segment; `options` are words of IPv4's header."""
    where = ip_address(to)
    tcp = bytes(13) + bytes((flags,)) + bytes(6)
    if where.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(tcp), protocol, 64) + bytes(16) + where.packed
        return bytes(12) + struct.pack("!H", IPV6) + head + tcp
    lengths = struct.pack("!BBHHHBBH", 0x45 + options, 0, 40, 0, fragment, 64, protocol, 0)
    head = lengths + bytes(4) + where.packed + bytes(4 * options)
    return bytes(12) + struct.pack("!H", IPV4) + head + tcp


@pytest.mark.parametrize("address", [FOUR[0], SIX[0]])
def test_what_begins_a_connection_with_an_address_passes_and_nothing_else(address: str) -> None:
    found = beginnings(address)
    assert runs(found, segment(address, SYN))
    assert runs(found, segment(address, SYN | ECE | CWR))  # asks for congestion notification
    for flags in (ACK, SYN | ACK, FIN | ACK, 0):
        assert not runs(found, segment(address, flags))
    assert not runs(found, segment(address, SYN, protocol=UDP))
    assert not runs(found, segment(address, SYN), to_us=False)
    for other in (*FOUR, *SIX):
        assert runs(found, segment(other, SYN)) is (other == address)
    for cut in range(len(segment(address, SYN)) - 6):
        assert not runs(found, segment(address, SYN)[:cut])


def test_a_header_with_options_is_read_to_its_end_and_a_later_fragment_is_none() -> None:
    found = beginnings(FOUR[0])
    assert runs(found, segment(FOUR[0], SYN, options=10))
    assert not runs(found, segment(FOUR[0], ACK, options=10))
    assert runs(found, segment(FOUR[0], SYN, fragment=0x4000))  # "do not fragment"
    assert not runs(found, segment(FOUR[0], SYN, fragment=0x00B9))
