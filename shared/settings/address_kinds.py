"""The kinds of values that say where machines and VIPs are: addresses, networks, interfaces."""

import ipaddress
import re

from pydantic_core import PydanticCustomError

from shared.settings.findings import Code, quoted
from shared.settings.kinds import Kind, wrong

INTERFACE_MAX = 15  # IFNAMSIZ of Linux, without the NUL
# No ':' and '/', which Linux refuses, and nothing that a shell or a rule would read as its own.
INTERFACE_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.@-]*$"


def address() -> Kind:
    """Return the kind of addresses that other machines reach."""

    def read(value: str) -> str:
        try:
            parsed = ipaddress.ip_address(value)
        except ValueError:
            raise wrong(Code.ADDRESS, *_address_complaint(value)) from None
        if parsed.is_unspecified or parsed.is_multicast or value == "255.255.255.255":
            raise wrong(Code.ADDRESS, f"{value} is not the address of one machine")
        if isinstance(parsed, ipaddress.IPv6Address):
            _refuse_half_addresses(parsed)
        return str(parsed)

    schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
    return Kind("an IPv4 or IPv6 address", read, str, schema)


def network_address() -> Kind:
    """Return the kind of addresses that are moved: with the length of their network's prefix."""
    words = "an address with its network's prefix, such as 10.0.0.100/24"

    def read(value: str) -> str:
        host, slash, length = value.partition("/")
        text = f"must be {words}, got {quoted(value)}"
        try:
            parsed = ipaddress.ip_interface(value)
        except ValueError:
            raise wrong(Code.VIP_ADDRESS, text, _vip_mend(host, slash)) from None
        if not slash:
            raise wrong(Code.VIP_ADDRESS, text, _vip_mend(host, slash))
        if not length.isdecimal():  # a mask: 255.255.255.0
            raise wrong(Code.VIP_ADDRESS, text, f"write '{parsed.with_prefixlen}'")
        _refuse_unmovable(parsed)
        return parsed.with_prefixlen

    schema = {"type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$"}
    return Kind(words, read, str, schema)


def _vip_mend(host: str, slash: str) -> str:
    """Return how to write what is not an address with a prefix."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return _address_complaint(host)[1]
    longest = 32 if version == 4 else 128  # noqa: PLR2004 - bits of IPv4 and IPv6
    if slash:
        return f"the prefix is a number from 0 to {longest}"
    return f"add '/' and the prefix of the clients' network: {host}/{24 if longest == 32 else 64}"  # noqa: PLR2004


def _refuse_unmovable(parsed: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
    """Refuse what is never one machine's address in a network, or cannot move."""
    address, network = parsed.ip, parsed.network
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        text = f"{address} is not an address that clients on other machines reach"
        raise wrong(Code.VIP_ADDRESS, text, "take a free one of the clients' network")
    if isinstance(address, ipaddress.IPv6Address):
        try:
            _refuse_half_addresses(address)
        except PydanticCustomError as error:
            told = error.context or {}
            raise wrong(Code.VIP_ADDRESS, told["text"], told["help"]) from None
    if network.num_addresses <= 2:  # noqa: PLR2004 - two: a link of two ends, RFC 3021
        return
    mend = "take a free address between the first and the last of the network"
    if address == network.network_address:
        text = f"{address} is the address of the network {network} itself"
        raise wrong(Code.VIP_ADDRESS, text, mend)
    if address.version == 4 and address == network.broadcast_address:  # noqa: PLR2004 - IPv4
        text = f"{address} is the broadcast address of the network {network}"
        raise wrong(Code.VIP_ADDRESS, text, mend)


def interface() -> Kind:
    """Return the kind of names of network interfaces."""
    words = f"the name of an interface such as eth0, {INTERFACE_MAX} characters at most"

    def read(value: str) -> str:
        if re.fullmatch(INTERFACE_PATTERN, value) and len(value) <= INTERFACE_MAX:
            return value
        mend = "`ip link` lists them; or remove the line: it is found by the VIP's network"
        raise wrong(Code.INTERFACE, f"must be {words}, got {quoted(value)}", mend)

    schema = {"type": "string", "pattern": INTERFACE_PATTERN, "maxLength": INTERFACE_MAX}
    return Kind(words, read, str, schema)


def _refuse_half_addresses(parsed: ipaddress.IPv6Address) -> None:
    """Refuse what only means one machine together with something else."""
    if parsed.is_link_local or parsed.scope_id is not None:
        text = f"{parsed} is reached only with the name of an interface"
        raise wrong(Code.ADDRESS, text, "take a global or unique local (fd00::/8) address")
    if parsed.ipv4_mapped is not None:
        text = f"{parsed} is an IPv4 address in IPv6 clothing"
        raise wrong(Code.ADDRESS, text, f"write {parsed.ipv4_mapped}")


def _address_complaint(value: str) -> tuple[str, str]:
    text = f"must be an IPv4 or IPv6 address, got {quoted(value)}"
    if "/" in value:
        return text, "write the address alone, without '/' and the length of the network"
    if re.fullmatch(r"[0-9.]+:[0-9]+|\[.*\](:[0-9]+)?", value):
        return text, "write the address alone, without brackets and port"
    if re.fullmatch("[0-9.]+", value):
        return text, "it has four numbers from 0 to 255"
    if re.search("[g-zG-Z]", value):
        return text, "names are not looked up: during a failure there may be nobody to answer"
    return text, ""
