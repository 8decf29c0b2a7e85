"""Which interface has which network, read from the kernel's own tables in /proc/net.

Interfaces change their names when they come back, so they are found by address, when needed.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

UP = 0x1  # RTF_UP
OF_THIS_MACHINE = 0x80000000  # RTF_LOCAL: one of our own addresses, not a network


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is reached without a gateway."""

    subnet: IPv4Network | IPv6Network
    interface: str


def networks(route: str, ipv6_route: str) -> tuple[Network, ...]:
    """Read the texts of /proc/net/route and /proc/net/ipv6_route."""
    return (*_ipv4(route), *_ipv6(ipv6_route))


def interface_of(address: str, among: Sequence[Network]) -> str | None:
    """Return the interface of the narrowest network that an address lies in."""
    wanted = ip_address(address)
    found = [network for network in among if wanted in network.subnet]
    if not found:
        return None
    return max(found, key=lambda network: network.subnet.prefixlen).interface


def _ipv4(text: str) -> Iterator[Network]:
    for line in text.splitlines()[1:]:
        interface, destination, gateway, flags, *_, mask, _mtu, _window, _irtt = line.split()
        if int(flags, 16) & UP and not int(gateway, 16) and int(mask, 16):
            subnet = ip_network(f"{_address(destination)}/{_address(mask)}")
            yield Network(subnet, interface)


def _ipv6(text: str) -> Iterator[Network]:
    for line in text.splitlines():
        destination, prefix, _, _, gateway, _, _, _, flags, interface = line.split()
        length, is_set = int(prefix, 16), int(flags, 16)
        if is_set & UP and not is_set & OF_THIS_MACHINE and length and not int(gateway, 16):
            yield Network(IPv6Network((bytes.fromhex(destination), length)), interface)


def _address(hexadecimal: str) -> IPv4Address:
    """Read a number in the order of this machine's bytes."""
    return IPv4Address(int(hexadecimal, 16).to_bytes(4, sys.byteorder))
