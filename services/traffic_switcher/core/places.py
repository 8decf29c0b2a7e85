"""Where a VIP would be on this node: judged from its links and addresses, as the kernel has them.

interface   the one that the configuration names, or the one that has the subnet: names may
            change (a container that is connected again has another one), the subnet does not
ours        addresses of ours carry a mark: a protocol number where the kernel keeps one
            (Linux 5.18), a label for IPv4; on older kernels an IPv6 address of ours is known
            by what nobody else gives a single address: /128, without duplicate detection,
            and ending within the time that we give
stranger    the same address without our mark: it is never touched, and the VIP cannot be
            taken while it is there
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

from shared.cluster import VirtualIp

# Free in the kernel's list of address protocols, and not one of those that daemons are known by.
PROTOCOL = 233
LABEL_END = ":eqp"
LABEL_MAX = 15  # characters that the kernel keeps
NODAD = 0x02
VALID_MAX_S = 60  # we never give longer, so that what ends later is not ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a VIP would be on this node, now."""

    interface: str = ""  # "" none has its subnet
    carrier: bool = False
    ours: bool = False  # the address is there, and we put it there
    beside: str = ""  # an address that this machine has there beside it; "" none
    unfit: str = ""  # why it cannot be taken: no interface, no carrier, a stranger holds it
    advice: str = ""  # what a person should mend though it works: others answer ARP for it too


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface."""

    index: int
    name: str
    carrier: bool = True  # it is up, and so is what it is plugged into
    answers_arp: bool = False  # also for addresses of other interfaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """An address that is on this machine."""

    index: int  # of its interface
    address: str
    prefix: int
    ours: bool = False


def is_six(address: str) -> bool:
    """Return whether an address is one of IPv6."""
    return ":" in address


def label_of(interface: str) -> str:
    """Return the label that marks an IPv4 address of ours."""
    return interface[: LABEL_MAX - len(LABEL_END)] + LABEL_END


def is_ours(present: Present, *, protocol: int | None, label: str, flags: int, ends_s: int) -> bool:
    """Return whether an address has our mark; the last two matter where there is none."""
    if protocol is not None or present.prefix not in (32, 128):
        return protocol == PROTOCOL
    if label:
        return label.endswith(LABEL_END)
    return is_six(present.address) and bool(flags & NODAD) and ends_s <= VALID_MAX_S


def places(
    vips: Iterable[VirtualIp], links: Collection[Link], presents: Collection[Present]
) -> Mapping[str, Place]:
    """Return every VIP's place, by its address."""
    return {vip.address: _place(vip, links, presents) for vip in vips}


def _place(vip: VirtualIp, links: Collection[Link], presents: Collection[Present]) -> Place:
    there = [p for p in presents if p.address == vip.address]
    link = _link(vip, links, presents)
    if link is None:
        return Place(unfit=_nowhere(vip))
    return Place(
        interface=link.name,
        carrier=link.carrier,
        ours=any(p.ours and p.index == link.index for p in there),
        beside=_beside(vip, link, presents),
        unfit=_unfit(link, there, links),
        advice=_advice(vip, link, links),
    )


def _unfit(link: Link, there: Iterable[Present], links: Iterable[Link]) -> str:
    for present in there:
        if not present.ours:
            return _stranger(present, links)
    if not link.carrier:
        return f"{link.name} has no carrier: mend its cable, its switch port, or the bridge"
    return ""


def _link(vip: VirtualIp, links: Collection[Link], presents: Collection[Present]) -> Link | None:
    """Return the named interface, or the best that has the subnet: in use, with carrier, first."""
    if vip.interface is not None:
        return next((link for link in links if link.name == vip.interface), None)
    with_subnet = {p.index for p in presents if _is_beside(p, vip)}
    used = {p.index for p in presents if p.ours and p.address == vip.address}
    able = (link for link in links if link.index in with_subnet)
    return min(able, key=lambda k: (not k.carrier, k.index not in used, k.index), default=None)


def _is_beside(present: Present, vip: VirtualIp) -> bool:
    """Whether an address of the machine's own is in the VIP's subnet."""
    subnet = ip_interface(f"{vip.address}/{vip.prefix}").network
    return (
        not present.ours
        and present.prefix == vip.prefix
        and ip_interface(f"{present.address}/{present.prefix}").network == subnet
    )


def _beside(vip: VirtualIp, link: Link, presents: Iterable[Present]) -> str:
    found = (p.address for p in presents if p.index == link.index and _is_beside(p, vip))
    return min(found, key=ip_address, default="")


def _nowhere(vip: VirtualIp) -> str:
    if vip.interface is not None:
        text = "plug it in, or mend the name, or leave it out: the subnet is enough"
        return f"there is no interface {vip.interface} here, which vips.{vip.name} names: {text}"
    subnet = ip_interface(f"{vip.address}/{vip.prefix}").network
    text = f"give one an address in it, or name one in vips.{vip.name}.interface"
    return f"no interface here has an address in {subnet}: {text}"


def _stranger(present: Present, links: Iterable[Link]) -> str:
    name = next((link.name for link in links if link.index == present.index), "?")
    at = f"{present.address}/{present.prefix}"
    return (
        f"{at} is on {name} already, and not put there by Equipoise: remove it"
        f" (ip address delete {at} dev {name}), or choose another address for the VIP"
    )


def _advice(vip: VirtualIp, link: Link, links: Iterable[Link]) -> str:
    if is_six(vip.address):
        return ""
    others = sorted(k.name for k in links if k.answers_arp and k.index != link.index)
    if not others:
        return ""
    return (
        f"{', '.join(others)} would answer ARP for {vip.address} of {link.name} as well, which"
        " matters if both are plugged into the same network:"
        " sysctl -w net.ipv4.conf.all.arp_ignore=1"
    )
