"""Programs for the kernel's packet filter: what passes, so that a busy network wakes nobody.

    program      only frames that claim one of our addresses
    beginnings   only frames to us that begin a TCP connection with an address

Classic BPF, as SO_ATTACH_FILTER takes it.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, ip_address
from typing import TypeAlias

from shared.frames import ARP, IPV4, IPV6

Instruction: TypeAlias = tuple[int, int, int, int]  # code, jump if true, jump if false, value

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_BYTE_BEHIND, _LOAD_HEADER_LENGTH = 0x50, 0xB1  # behind a header of IPv4; its length
_JUMP_IF_EQUAL, _AND, _RETURN = 0x15, 0x54, 0x06
_PACKET_KIND = 0xFFFF_F004  # no place in the frame: to whom it was addressed, as the kernel says
_TO_US = 0
_PASS_ALL, _DROP = 0x40000, 0
_ADVERTISEMENT = 136
_KIND_AT, _ARP_SENDER_AT = 12, 28
_FOUR_BEGIN, _FOUR_FRAGMENT_AT, _FOUR_PROTOCOL_AT, _FOUR_TO_AT = 14, 20, 23, 30
_LATER_FRAGMENT = 0x1FFF
_SIX_TO_AT, _SIX_END = 38, 54
_TCP, _TCP_FLAGS_AT, _SYN, _SYN_AND_ACK = 6, 13, 0x02, 0x12
_NEXT_HEADER_AT, _ICMPV6, _ICMPV6_AT, _TARGET_AT = 20, 58, 54, 62


def program(kind: int, addresses: Iterable[str]) -> tuple[Instruction, ...]:
    """Return what passes claims of these addresses in frames of one kind, and nothing else."""
    parts = [ip_address(address) for address in addresses]
    wanted = [part.packed for part in parts if part.version == (4 if kind == ARP else 6)]
    body = _arp(wanted) if kind == ARP else _advertisement(wanted)
    return (*body, (_RETURN, 0, 0, _DROP))


def beginnings(address: str) -> tuple[Instruction, ...]:
    """Return what passes first segments of TCP connections with an address, sent to us."""
    where = ip_address(address)
    found = _beginning6 if isinstance(where, IPv6Address) else _beginning4
    return (
        *_demand(_LOAD_WORD, _PACKET_KIND, _TO_US),
        *found(where.packed),
        (_AND, 0, 0, _SYN_AND_ACK),
        (_JUMP_IF_EQUAL, 1, 0, _SYN),
        (_RETURN, 0, 0, _DROP),
        (_RETURN, 0, 0, _PASS_ALL),
    )


def _beginning4(to: bytes) -> Iterator[Instruction]:
    """Yield what leaves the flags of a first segment loaded."""
    yield from _demand(_LOAD_HALF, _KIND_AT, IPV4)
    yield from _demand(_LOAD_BYTE, _FOUR_PROTOCOL_AT, _TCP)
    yield from _demand(_LOAD_WORD, _FOUR_TO_AT, int.from_bytes(to, "big"))
    yield (_LOAD_HALF, 0, 0, _FOUR_FRAGMENT_AT)
    yield (_AND, 0, 0, _LATER_FRAGMENT)
    yield (_JUMP_IF_EQUAL, 1, 0, 0)
    yield (_RETURN, 0, 0, _DROP)
    yield (_LOAD_HEADER_LENGTH, 0, 0, _FOUR_BEGIN)
    yield (_LOAD_BYTE_BEHIND, 0, 0, _FOUR_BEGIN + _TCP_FLAGS_AT)


def _beginning6(to: bytes) -> Iterator[Instruction]:
    yield from _demand(_LOAD_HALF, _KIND_AT, IPV6)
    yield from _demand(_LOAD_BYTE, _NEXT_HEADER_AT, _TCP)
    for part in range(0, len(to), 4):
        word = int.from_bytes(to[part : part + 4], "big")
        yield from _demand(_LOAD_WORD, _SIX_TO_AT + part, word)
    yield (_LOAD_BYTE, 0, 0, _SIX_END + _TCP_FLAGS_AT)


def _arp(wanted: Iterable[bytes]) -> Iterator[Instruction]:
    yield from _demand(_LOAD_HALF, _KIND_AT, ARP)
    yield (_LOAD_WORD, 0, 0, _ARP_SENDER_AT)
    for address in wanted:
        yield (_JUMP_IF_EQUAL, 0, 1, int.from_bytes(address, "big"))
        yield (_RETURN, 0, 0, _PASS_ALL)


def _advertisement(wanted: Iterable[bytes]) -> Iterator[Instruction]:
    yield from _demand(_LOAD_HALF, _KIND_AT, IPV6)
    yield from _demand(_LOAD_BYTE, _NEXT_HEADER_AT, _ICMPV6)
    yield from _demand(_LOAD_BYTE, _ICMPV6_AT, _ADVERTISEMENT)
    for address in wanted:
        for part in range(4):
            word = int.from_bytes(address[4 * part : 4 * part + 4], "big")
            yield (_LOAD_WORD, 0, 0, _TARGET_AT + 4 * part)
            yield (_JUMP_IF_EQUAL, 0, 7 - 2 * part, word)  # to behind this address
        yield (_RETURN, 0, 0, _PASS_ALL)


def _demand(load: int, at: int, value: int) -> Iterator[Instruction]:
    yield (load, 0, 0, at)
    yield (_JUMP_IF_EQUAL, 1, 0, value)
    yield (_RETURN, 0, 0, _DROP)
