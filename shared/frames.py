"""Ethernet frames that ask, say and claim where an address is: ARP, and ICMPv6 neighbours.

Pure: bytes in, bytes out. A *claim* is whatever makes neighbours believe that an address is at a
hardware address: the sender of any ARP frame, the target of a neighbour advertisement.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
EVERYBODY = b"\xff" * 6
NOBODY = b"\x00" * 6

_ARP_OF_ETHERNET = bytes.fromhex("0001 0800 06 04")  # hardware, protocol, their lengths
_REQUEST, _REPLY = 1, 2
_ARP_END = 42  # octets; a frame may be padded behind it

_ICMPV6, _HOPS = 58, 255  # 255: no router has passed it on
_SOLICITATION, _ADVERTISEMENT = 135, 136
_OVERRIDE = 0x20000000
_TARGET_HARDWARE, _OPTION = 2, 8
_ICMPV6_BEGIN, _ICMPV6_TARGET, _ADVERTISEMENT_END = 54, 62, 78
_ALL_NODES = IPv6Address("ff02::1").packed
_ANY = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Somebody says that an address is his."""

    address: str
    hardware: str


def announcements(hardware: bytes, address: str) -> tuple[bytes, ...]:
    """Return what tells all neighbours that an address is here now."""
    where = ip_address(address)
    if isinstance(where, IPv6Address):
        return (_advertisement(hardware, where),)
    # Some neighbours learn from a request only, some from a reply only; RFC 5227, section 3.
    said = where.packed
    return (
        _arp(hardware, _REQUEST, hardware + said, NOBODY + said),
        _arp(hardware, _REPLY, hardware + said, hardware + said),
    )


def question(hardware: bytes, address: str) -> bytes:
    """Return what asks who has an address, and teaches nobody anything about the asker."""
    where = ip_address(address)
    if isinstance(where, IPv6Address):
        return _solicitation(hardware, where)
    return _arp(hardware, _REQUEST, hardware + bytes(4), NOBODY + where.packed)


def claim(frame: bytes) -> Claim | None:
    """Return what a frame claims, if it does."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ARP and len(frame) >= _ARP_END and frame[14:20] == _ARP_OF_ETHERNET:
        return _claimed_by_arp(frame)
    if kind == IPV6 and len(frame) >= _ADVERTISEMENT_END and frame[20] == _ICMPV6:
        return _claimed_by_advertisement(frame)
    return None


def readdressed(frame: bytes, hardware: bytes, sender: bytes) -> bytes:
    """Return a frame as it is sent on to another neighbour by who received it."""
    return hardware + sender + frame[2 * len(hardware) :]


def hardware_text(hardware: bytes) -> str:
    """Return a hardware address as people write it."""
    return hardware.hex(":")


def _arp(hardware: bytes, operation: int, sender: bytes, target: bytes) -> bytes:
    head = EVERYBODY + hardware + struct.pack("!H", ARP)
    return head + _ARP_OF_ETHERNET + struct.pack("!H", operation) + sender + target


def _claimed_by_arp(frame: bytes) -> Claim | None:
    address = IPv4Address(frame[28:32])
    if address.is_unspecified:
        return None  # a question of somebody who has no address yet
    return Claim(address=str(address), hardware=hardware_text(frame[22:28]))


def _advertisement(hardware: bytes, address: IPv6Address) -> bytes:
    body = struct.pack("!I", _OVERRIDE) + address.packed + _option(_TARGET_HARDWARE, hardware)
    return _neighbour(hardware, address.packed, _ALL_NODES, _ADVERTISEMENT, body)


def _solicitation(hardware: bytes, address: IPv6Address) -> bytes:
    # From "::" nobody may be named as the sender; the answer goes to all nodes.
    solicited = IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:]
    return _neighbour(hardware, _ANY, solicited, _SOLICITATION, bytes(4) + address.packed)


def _neighbour(hardware: bytes, source: bytes, to: bytes, kind: int, body: bytes) -> bytes:
    head = b"\x33\x33" + to[12:] + hardware + struct.pack("!H", IPV6)
    length = 4 + len(body)
    pseudo = source + to + struct.pack("!II", length, _ICMPV6)
    checksum = _checksum(pseudo + struct.pack("!BBH", kind, 0, 0) + body)
    packet = struct.pack("!IHBB", 6 << 28, length, _ICMPV6, _HOPS) + source + to
    return head + packet + struct.pack("!BBH", kind, 0, checksum) + body


def _claimed_by_advertisement(frame: bytes) -> Claim | None:
    if frame[21] != _HOPS or frame[_ICMPV6_BEGIN] != _ADVERTISEMENT:
        return None
    target = IPv6Address(frame[_ICMPV6_TARGET:_ADVERTISEMENT_END])
    options = frame[_ADVERTISEMENT_END:]
    named = options[:2] == bytes((_TARGET_HARDWARE, 1)) and len(options) >= _OPTION
    hardware = options[2:8] if named else frame[6:12]
    return Claim(address=str(target), hardware=hardware_text(hardware))


def _option(kind: int, hardware: bytes) -> bytes:
    return bytes((kind, 1)) + hardware


def _checksum(content: bytes) -> int:
    """Return the internet's checksum: the complement of the sum in ones' complement."""
    total = sum(int.from_bytes(content[i : i + 2], "big") for i in range(0, len(content), 2))
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)
