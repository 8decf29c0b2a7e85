"""What the guard says to the kernel of tables, chains and rules, in the language of nftables.

    table        hook (priority)         drops, of a managed VIP that is not leased
    inet         prerouting (raw)        what goes to it
                 output (raw)            what comes from it, and advertisements that it is here
    arp          output                  every ARP packet that names it as its sender
    netdev       egress of interfaces    the same two, from packet sockets, which pass by the others
    ip, ip6      prerouting (mangle)     (only while handing over) passes strangers' segments on

Rules of these texts:

1. Every text is one transaction: the kernel takes all of it or nothing.
2. Prerouting at priority raw comes before every address translation, which could lead round the
   guard. What a node only *forwards* to a VIP that is held elsewhere, such as its own containers'
   requests, is none of the guard's business: dropped is what would be delivered here (`fib daddr
   type local`, by whatever interface it came), and what came in where the VIP's own network is
   (`fib daddr . iif oif exists`), which a neighbour sent to us since he thinks that we hold it.
   Asking the routes, and not naming interfaces, survives that an interface comes back renamed.
3. A set with time-outs has a default, too, so that an element added by hand does not stay.
4. Old libnftables (Debian 12) cannot name the target of a neighbour advertisement. It lies 64
   bits into the message, and is compared as a bare number, for which a set needs its own type.

`nft_elements` says what is in the sets that have time-outs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from shared.cluster import LEASE_LONGEST_US, Cluster
from shared.instant import MILLISECOND, Duration

TABLE = "equipoise"  # `eq` is a reserved word of the language
FAMILIES = ("inet", "arp", "netdev", "ip", "ip6")
GUARDING = ("inet", "arp")  # these stand always
# The slowest kernels count 10 ms ticks, and some take less than a tick for "never ends".
TICK_US: Duration = 10 * MILLISECOND

_TARGET = "@th,64,128"
_NO_SYN = "tcp flags & syn == 0"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An address of another node, and the interface that it is reached by."""

    address: str
    interface: str


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the guard is for, and whose it is."""

    vips: tuple[str, ...]  # addresses, in order
    owner: str  # the comment by which a table is known as ours

    @classmethod
    def of(cls, cluster: Cluster) -> "Guarded":
        """Return what there is to guard in a cluster."""
        addresses = sorted(vip.address for vip in cluster.vips.values())
        return cls(
            tuple(addresses),
            f"guards the virtual IPs of cluster {cluster.name} (equipoise traffic_switcher)",
        )


def stand(guarded: Guarded) -> str:
    """Make our tables anew with every VIP closed, and end handing over.

    Not every kernel has the family `netdev`, so that one is a transaction of its own.
    """
    gone = "".join(_without(family) for family in FAMILIES if family != "netdev")
    return gone + _inet(guarded) + _arp(guarded)


def watch_egress(guarded: Guarded, interfaces: Sequence[str]) -> str:
    """Make the guard of packet sockets anew, on these interfaces."""
    if not interfaces:
        return _without("netdev")
    devices = ", ".join(f'"{interface}"' for interface in interfaces)
    vips = guarded.vips
    return (
        f"{_without('netdev')}{_table('netdev', guarded)}"
        f"{_set('managed4', 'type ipv4_addr', _of(4, vips))}"
        f"{_set('theirs6', f'typeof {_TARGET}', map(_number, _of(6, vips)))}"
        f"{_timed('lease4', 'type ipv4_addr')}{_timed('aimed6', f'typeof {_TARGET}')}"
        "  chain leaving {\n"
        f"    type filter hook egress devices = {{ {devices} }} priority 0; policy accept;\n"
        f"{_silent_arp()}{_silent_advertisements()}"
        "  }\n}\n"
    )


def hand_over(guarded: Guarded, address: str, to: Neighbour, for_us: Duration) -> str:
    """Pass segments of unknown connections on to a neighbour, for so long.

    The connection tracker works for rules that ask it, so there are none at other times.
    """
    family, chain = family_of(address), _chain(guarded, address)
    return (
        f"{_table(family, guarded)}"
        f"  set handing {{ type ipv{_version(address)}_addr; flags timeout; }}\n"
        f"  chain {chain} {{ type filter hook prerouting priority mangle; policy accept; }}\n"
        "}\n"
        f"flush chain {family} {TABLE} {chain}\n"
        f"add rule {family} {TABLE} {chain} {family} daddr {address}"
        f" {family} daddr @handing {_NO_SYN} ct state new,invalid"
        f' dup to {to.address} device "{to.interface}" drop\n'
        + "".join(_anew(family, "handing", address, for_us))
    )


def keep(guarded: Guarded, address: str, *, last: bool) -> str:
    """End handing over; with the last one of its family the table goes, too."""
    family, chain = family_of(address), _chain(guarded, address)
    if last:
        return _without(family)
    return f"flush chain {family} {TABLE} {chain}\ndelete chain {family} {TABLE} {chain}\n"


def look_at(family: str) -> str:
    """Ask for one of our tables."""
    return f"list table {family} {TABLE}\n"


def family_of(address: str) -> str:
    """Return the family of tables, and the word of the language, of an address's version."""
    return "ip" if _version(address) == 4 else "ip6"  # noqa: PLR2004 - there are two versions


def _inet(guarded: Guarded) -> str:
    vips = guarded.vips
    return (
        f"{_table('inet', guarded)}"
        f"{_set('managed4', 'type ipv4_addr', _of(4, vips))}"
        f"{_set('managed6', 'type ipv6_addr', _of(6, vips))}"
        f"{_set('theirs6', f'typeof {_TARGET}', map(_number, _of(6, vips)))}"
        f"{_timed('lease4', 'type ipv4_addr')}{_timed('lease6', 'type ipv6_addr')}"
        f"{_timed('aimed6', f'typeof {_TARGET}')}"
        f"{_timed('drain4', 'type ipv4_addr')}{_timed('drain6', 'type ipv6_addr')}"
        f"{_timed('permit', 'type mark')}"
        f"{_closed(4, 'ip')}{_closed(6, 'ip6')}{_silent(4, 'ip')}{_silent(6, 'ip6')}"
        "  chain arriving {\n"
        "    type filter hook prerouting priority raw; policy accept;\n"
        "    ip daddr @managed4 ip daddr != @lease4 jump closed4\n"
        "    ip6 daddr @managed6 ip6 daddr != @lease6 jump closed6\n"
        f"    icmpv6 type nd-neighbor-solicit {_TARGET} @theirs6 {_TARGET} != @aimed6 drop\n"
        "  }\n"
        "  chain leaving {\n"
        "    type filter hook output priority raw; policy accept;\n"
        "    ip saddr @managed4 ip saddr != @lease4 jump silent4\n"
        "    ip6 saddr @managed6 ip6 saddr != @lease6 jump silent6\n"
        f"{_silent_advertisements()}"
        "  }\n}\n"
    )


def _arp(guarded: Guarded) -> str:
    return (
        f"{_table('arp', guarded)}"
        f"{_set('managed4', 'type ipv4_addr', _of(4, guarded.vips))}"
        f"{_timed('lease4', 'type ipv4_addr')}"
        "  chain leaving {\n"
        "    type filter hook output priority 0; policy accept;\n"
        f"{_silent_arp()}"
        "  }\n}\n"
    )


def _closed(version: int, word: str) -> str:
    return (
        f"  chain closed{version} {{\n"
        f"    {word} daddr @drain{version} {_NO_SYN} accept\n"
        "    fib daddr type local drop\n"
        "    fib daddr . iif oif exists drop\n"
        "  }\n"
    )


def _silent(version: int, word: str) -> str:
    return (
        f"  chain silent{version} {{\n"
        f"    {word} saddr @drain{version} {_NO_SYN} accept\n"
        "    drop\n"
        "  }\n"
    )


def _silent_arp() -> str:
    return "    arp saddr ip @managed4 arp saddr ip != @lease4 drop\n"


def _silent_advertisements() -> str:
    return f"    icmpv6 type nd-neighbor-advert {_TARGET} @theirs6 {_TARGET} != @aimed6 drop\n"


def _table(family: str, guarded: Guarded) -> str:
    return f'table {family} {TABLE} {{\n  comment "{guarded.owner}"\n'


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    return f"  set {name} {{ {kind}; {f'elements = {{ {listed} }};' if listed else ''} }}\n"


def _timed(name: str, kind: str) -> str:
    return f"  set {name} {{ {kind}; flags timeout; timeout {_text(LEASE_LONGEST_US)}; }}\n"


def _without(family: str) -> str:
    return f"add table {family} {TABLE}\ndelete table {family} {TABLE}\n"


def _anew(family: str, name: str, element: str, life_us: Duration) -> list[str]:
    """Delete an element, be it there or not, and add it for so long, if there is anything left."""
    place = f"element {family} {TABLE} {name}"
    lines = [f"add {place} {{ {element} }}\n", f"delete {place} {{ {element} }}\n"]
    if life_us >= TICK_US:
        lines.append(f"add {place} {{ {element} timeout {_text(life_us)} }}\n")
    return lines


def _text(life_us: Duration) -> str:
    """Round down: nothing may live longer than it was meant to."""
    return f"{life_us // MILLISECOND}ms"


def _number(address: str) -> str:
    return hex(int(ip_address(address)))


def _version(address: str) -> int:
    return ip_address(address).version


def _of(version: int, addresses: Iterable[str]) -> list[str]:
    return sorted(address for address in addresses if _version(address) == version)


def _chain(guarded: Guarded, address: str) -> str:
    return f"vip{guarded.vips.index(address)}"
