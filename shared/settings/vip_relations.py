"""What must hold of VIPs and leases, each with its reason.

Which networks the nodes' interfaces are in, this file cannot know: the switchers say so when they
start. What it can know is judged here.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from itertools import chain
from urllib.parse import urlsplit

from shared.cluster import LEASE_LONGEST_US
from shared.instant import MILLISECOND, Duration
from shared.settings.complaint import Complaint, error, warning
from shared.settings.findings import Code, KeyPath
from shared.settings.kinds import did_you_mean, name_complaint, written_duration
from shared.settings.profiles import beating
from shared.settings.schema import VIPS_MAX, WITNESS, File

BEATS_PER_LEASE = 4  # a lease of so many beats survives that all but one of them are lost
ALL: KeyPath = ("vips",)


def complaints(file: File, members: Mapping[KeyPath, tuple[str, str]]) -> Iterator[Complaint]:
    """Yield what does not hold; members are their names and addresses by path."""
    return chain(
        _names(file),
        _addresses(file, members),
        _prefixes(file),
        _homes(file),
        _services(file),
        _bus(file),
        _leases(file),
    )


def _interface(address: str) -> IPv4Interface | IPv6Interface:
    return ip_interface(address)


def _names(file: File) -> Iterator[Complaint]:
    if len(file.vips) > VIPS_MAX:
        text = f"there must be at most {VIPS_MAX} VIPs, got {len(file.vips)}"
        mend = "each is in every beat of every node"
        yield error(Code.COUNT, [ALL], text, mend, at_key=True)
    taken = dict.fromkeys(file.services, "service") | dict.fromkeys(file.nodes, "node")
    for name in file.vips:
        path: KeyPath = ("vips", name)
        if complaint := name_complaint(name):
            yield error(Code.NAME, [path], *complaint, at_key=True)
        elif name == WITNESS:
            text = "a VIP cannot be called 'witness', which is a member's name"
            yield error(Code.TAKEN_NAME, [path], text, "choose another name", at_key=True)
        elif name in taken:
            text = f"there is a {taken[name]} named '{name}' too"
            mend = f"'equipoise why {name}' must mean one of them: choose another name"
            about: list[KeyPath] = [path, (f"{taken[name]}s",)]
            yield error(Code.TAKEN_NAME, about, text, mend, at_key=True)


def _addresses(file: File, members: Mapping[KeyPath, tuple[str, str]]) -> Iterator[Complaint]:
    owners = {address: (path, name) for path, (name, address) in members.items()}
    first: dict[str, tuple[KeyPath, str]] = {}
    for name, vip in file.vips.items():
        path: KeyPath = ("vips", name, "address")
        address = str(_interface(vip.address).ip)
        if address in owners:
            other_path, other = owners[address]
            text = f"{address} is {other}'s own address"
            mend = "a VIP moves from node to node, a machine keeps its own: take a free address"
            yield error(Code.SAME_ADDRESS, [path, other_path], text, mend)
        if address in first:
            other_path, other = first[address]
            text = f"the VIP {other} has the address {address} too"
            mend = "an address has one holder: give each VIP its own, or remove one of the two"
            yield error(Code.SAME_ADDRESS, [path, other_path], text, mend)
        first.setdefault(address, (path, name))


def _prefixes(file: File) -> Iterator[Complaint]:
    seen: list[tuple[str, IPv4Interface | IPv6Interface]] = []
    for name, vip in file.vips.items():
        path: KeyPath = ("vips", name, "address")
        mine = _interface(vip.address)
        network = mine.network
        if network.num_addresses == 1 and vip.interface is None:
            text = f"a prefix of {network.prefixlen} is this address alone, which no interface has"
            mend = "write the prefix of the clients' network, or add 'interface:'"
            yield error(Code.VIP_ADDRESS, [path, ("vips", name, "interface")], text, mend)
        for other, theirs in seen:
            one_family = theirs.version == mine.version
            if one_family and network != theirs.network and network.overlaps(theirs.network):
                text = f"{network} and the network of {other}, {theirs.network}, overlap"
                mend = "one of the two prefixes is probably not that of the clients' network"
                about: list[KeyPath] = [path, ("vips", other, "address")]
                yield warning(Code.PREFIXES, about, text, mend)
                break
        seen.append((name, mine))


def _homes(file: File) -> Iterator[Complaint]:
    for name, vip in file.vips.items():
        if vip.home not in file.nodes:
            known = f"nodes in this file: {', '.join(file.nodes)}"
            near = did_you_mean(vip.home, file.nodes)
            mend = f"{near} {known}" if near else known
            text = f"there is no node named '{vip.home}'"
            yield error(Code.HOME, [("vips", name, "home"), ("nodes",)], text, mend)
    homes = {vip.home for vip in file.vips.values()}
    if len(file.vips) > 1 and len(homes) == 1 and homes <= set(file.nodes):
        (home,) = homes
        text = f"all {len(file.vips)} VIPs are at home on {home}: the other nodes get no clients"
        mend = "give each node one, so that all of them work and a loss costs only a part"
        yield warning(Code.ONE_HOME, [ALL, ("nodes",)], text, mend, at_key=True)


def _services(file: File) -> Iterator[Complaint]:
    for name, service in file.services.items():
        for index, vip in enumerate(service.vips):
            path: KeyPath = ("services", name, "vips", index)
            if vip in service.vips[:index]:
                yield error(Code.LIST, [path], f"{vip} is listed twice", "remove one")
            elif vip not in file.vips:
                known = f"VIPs in this file: {', '.join(file.vips) or 'none'}"
                near = did_you_mean(vip, file.vips)
                mend = f"{near} {known}" if near else known
                yield error(Code.VIP, [path, ALL], f"there is no VIP named '{vip}'", mend)
    for name in _unused(file):
        text = "no service is reached through this VIP: all of them list others"
        mend = "add it to the 'vips' of a service, or remove it"
        yield warning(Code.UNUSED_VIP, [("vips", name), ("services",)], text, mend, at_key=True)


def _unused(file: File) -> list[str]:
    if any("vips" not in service.model_fields_set for service in file.services.values()):
        return []
    used = {vip for service in file.services.values() for vip in service.vips}
    mistyped = not used <= set(file.vips)
    return [] if mistyped else [name for name in file.vips if name not in used]


def _bus(file: File) -> Iterator[Complaint]:
    vips = {str(_interface(vip.address).ip): name for name, vip in file.vips.items()}
    for index, server in enumerate(file.bus.servers):
        name = vips.get(str(urlsplit(server).hostname))
        if name is not None:
            about: list[KeyPath] = [("bus", "servers", index), ("vips", name, "address")]
            text = f"the bus cannot be reached through the VIP {name}: its lease is granted over it"
            mend = "write the address of the machine that the server runs on"
            yield error(Code.BUS_ON_VIP, about, text, mend)


def _leases(file: File) -> Iterator[Complaint]:
    """Yield leases that would end while nothing but a few beats were lost."""
    every_us, lease_us = beating(file.heartbeat)
    path: KeyPath = ("heartbeat", "every")
    lease_path: KeyPath = ("heartbeat", "lease")
    every, needed_us = written_duration(every_us), BEATS_PER_LEASE * every_us
    why = "a node whose beats are late or lost would drop its VIPs"
    if lease_us is None and file.vips and needed_us > LEASE_LONGEST_US:
        longest = written_duration(LEASE_LONGEST_US)
        text = (
            f"{BEATS_PER_LEASE} x every ({every}) is more than the longest lease, {longest}: {why}"
        )
        mend = f"write 'every: {written_duration(LEASE_LONGEST_US // BEATS_PER_LEASE)}' or less"
        yield error(Code.LEASE, [path, lease_path, ALL], text, mend)
    if lease_us is None or lease_us >= needed_us:
        return
    text = (
        f"lease ({written_duration(lease_us)}) must be at least {BEATS_PER_LEASE} x "
        f"heartbeat.every ({every}): {why}"
    )
    mend = f"write 'every: {_whole_milliseconds(lease_us // BEATS_PER_LEASE)}' or less"
    if needed_us <= LEASE_LONGEST_US:
        mend += f", 'lease: {written_duration(needed_us)}' or more, or 'lease: auto'"
    first = lease_path if "lease" in file.heartbeat.model_fields_set else path
    yield error(Code.LEASE, [first, path, lease_path], text, mend)


def _whole_milliseconds(length_us: Duration) -> str:
    return written_duration(length_us // MILLISECOND * MILLISECOND)
