"""A program for the kernel's packet filter: only frames that claim one of our addresses pass.

So a busy network wakes nobody. Classic BPF, as SO_ATTACH_FILTER takes it.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TypeAlias

from shared.frames import ARP, IPV6

Instruction: TypeAlias = tuple[int, int, int, int]  # code, jump if true, jump if false, value

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_JUMP_IF_EQUAL, _RETURN = 0x15, 0x06
_PASS_ALL, _DROP = 0x40000, 0
_ADVERTISEMENT = 136
_KIND_AT, _ARP_SENDER_AT = 12, 28
_NEXT_HEADER_AT, _ICMPV6, _ICMPV6_AT, _TARGET_AT = 20, 58, 54, 62


def program(kind: int, addresses: Iterable[str]) -> tuple[Instruction, ...]:
    """Return what passes claims of these addresses in frames of one kind, and nothing else."""
    parts = [ip_address(address) for address in addresses]
    wanted = [part.packed for part in parts if part.version == (4 if kind == ARP else 6)]
    body = _arp(wanted) if kind == ARP else _advertisement(wanted)
    return (*body, (_RETURN, 0, 0, _DROP))


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
