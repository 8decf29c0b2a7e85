"""What must hold between keys, each with its reason.

A relation names every key that it judges, so that nothing is said about a value which did not
fit the schema in the first place. The first path is where the problem is shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from itertools import chain
from urllib.parse import urlsplit

from shared.cluster import Mode, Protocol
from shared.instant import MILLISECOND
from shared.rules import WEIGHT_MAX
from shared.settings import vip_relations
from shared.settings.complaint import Complaint, error, warning
from shared.settings.container_sections import IdentitySection
from shared.settings.findings import Code, KeyPath
from shared.settings.kinds import did_you_mean, listed, name_complaint, written_duration
from shared.settings.profiles import beating
from shared.settings.schema import (
    INSTANCES_MAX,
    NODES_MAX,
    NODES_MIN,
    SERVERS_MAX,
    SERVICES_MAX,
    WITNESS,
    File,
    ServiceSection,
)
from shared.settings.validation import BELOW

QUIET_HEARTBEAT_US = 50 * MILLISECOND  # below, a busy machine's timers alone look like silence
NODES_WITHOUT_MAJORITY = 2  # when they lose each other, neither is more than half


def complaints(file: File) -> Iterator[Complaint]:
    """Yield every relation that does not hold."""
    return chain(
        _names(file),
        _counts(file),
        _addresses(file),
        _capacities(file),
        _homes(file),
        _ports(file),
        _probes(file),
        _identities(file),
        _containers(file),
        _servers(file),
        _beats(file),
        vip_relations.complaints(file, members(file)),
    )


def _names(file: File) -> Iterator[Complaint]:
    kinds: Mapping[str, Iterable[str]] = {"nodes": file.nodes, "services": file.services}
    for kind, names in kinds.items():
        for name in names:
            if complaint := name_complaint(name):
                yield error(Code.NAME, [(kind, name)], *complaint, at_key=True)
    if WITNESS in file.nodes:
        text = "a node cannot be called 'witness': that is the member which serves no traffic"
        mend = "choose another name, or move its address under 'witness:' at the left margin"
        yield error(Code.NAME, [("nodes", WITNESS)], text, mend, at_key=True)


def _counts(file: File) -> Iterator[Complaint]:
    if not NODES_MIN <= len(file.nodes) <= NODES_MAX:
        text = f"there must be {NODES_MIN} to {NODES_MAX} nodes, got {len(file.nodes)}"
        mend = "one node alone has nobody to take over" if len(file.nodes) < NODES_MIN else ""
        yield error(Code.COUNT, [("nodes",)], text, mend, at_key=True)
    if not 1 <= len(file.services) <= SERVICES_MAX:
        text = f"there must be 1 to {SERVICES_MAX} services, got {len(file.services)}"
        yield error(Code.COUNT, [("services",)], text, "", at_key=True)
    if (instances := len(file.nodes) * len(file.services)) > INSTANCES_MAX:
        text = (
            f"{len(file.services)} services on {len(file.nodes)} nodes are {instances} instances; "
            f"up to {INSTANCES_MAX} has been measured, and of 2,500 consoles are told nothing more"
        )
        mend = "make it several clusters: they can share a bus"
        yield warning(Code.COUNT, [("services",), ("nodes",)], text, mend, at_key=True)
    if file.witness is None and file.vips:
        text = "VIPs without a witness: the bus and the arbiter, which grants them, run on a node"
        mend = "when it is lost, every VIP goes dark: add 'witness:' with a further machine"
        about: list[KeyPath] = [("vips",), ("witness",)]
        yield warning(Code.NO_WITNESS, about, text, mend, at_key=True)
    elif len(file.nodes) == NODES_WITHOUT_MAJORITY and file.witness is None:
        text = "two nodes without a witness: when they lose each other, neither can know why"
        mend = "add 'witness:' with the address of a third machine"
        yield warning(Code.NO_WITNESS, [("nodes",), ("witness",)], text, mend, at_key=True)


def members(file: File) -> dict[KeyPath, tuple[str, str]]:
    """Return the name and address of each member by the path of its address."""
    found: dict[KeyPath, tuple[str, str]] = {
        ("nodes", name, "address"): (name, node.address) for name, node in file.nodes.items()
    }
    if file.witness is not None:
        found[(WITNESS, "address")] = (WITNESS, file.witness.address)
    return found


def _addresses(file: File) -> Iterator[Complaint]:
    first: dict[str, tuple[KeyPath, str]] = {}
    for path, (name, address) in members(file).items():
        if address in first:
            other_path, other = first[address]
            text = f"{other} has the address {address} too"
            mend = f"{name} and {other} must be two machines: each has an address of its own"
            yield error(Code.SAME_ADDRESS, [path, other_path], text, mend)
        first.setdefault(address, (path, name))
    families = {ip_address(address).version: path for path, (_, address) in members(file).items()}
    if len(families) > 1:
        about = [families[6], families[4]]
        text = "some members have IPv4 addresses and some IPv6"
        mend = "a member sends from its own address, which reaches one family: take one for all"
        yield error(Code.FAMILIES, about, text, mend)


def _capacities(file: File) -> Iterator[Complaint]:
    if not file.nodes:
        return
    largest = max(node.capacity for node in file.nodes.values())
    for name, node in file.nodes.items():
        if node.capacity * WEIGHT_MAX < largest:
            text = f"{node.capacity} is less than a hundredth of the largest capacity, {largest}"
            mend = f"weights are 1 to {WEIGHT_MAX}: {name} would get more than its part"
            yield warning(Code.CAPACITIES, [("nodes", name, "capacity"), ("nodes",)], text, mend)


def _homes(file: File) -> Iterator[Complaint]:
    for name, service in file.services.items():
        path: KeyPath = ("services", name, "home")
        if service.home is None:
            continue
        if service.home not in file.nodes:
            known = f"nodes in this file: {', '.join(file.nodes)}"
            near = did_you_mean(service.home, file.nodes)
            mend = f"{near} {known}" if near else known
            yield error(
                Code.HOME, [path, ("nodes",)], f"there is no node named '{service.home}'", mend
            )
        elif service.mode is Mode.BALANCE:
            text = "'home' has no effect with 'mode: balance', where all instances serve"
            mend = "remove it, or write 'mode: mirror'"
            yield warning(
                Code.NO_EFFECT, [path, ("services", name, "mode")], text, mend, at_key=True
            )


def _ports(file: File) -> Iterator[Complaint]:
    listening: dict[int, str] = {}
    for name, service in file.services.items():
        if service.listen in listening:
            other = listening[service.listen]
            about: list[KeyPath] = [("services", name, "listen"), ("services", other, "listen")]
            text = f"{other} listens on port {service.listen} too"
            mend = "a port of the load balancer leads to one service: choose another"
            yield error(Code.PORTS, about, text, mend)
        listening.setdefault(service.listen, name)
    instances: dict[int, str] = {}
    for name, service in file.services.items():
        path: KeyPath = ("services", name, "port")
        if service.port in listening:
            other = listening[service.port]
            text = f"the load balancer listens on port {service.port} for {other}"
            mend = "it and the instances have one address on each node: choose another port"
            yield error(Code.PORTS, [path, ("services", other, "listen")], text, mend)
        if service.port in instances:
            other = instances[service.port]
            text = f"{other} has its instances on port {service.port} too"
            mend = "right only if both are one application; else choose another port"
            yield warning(Code.SHARED_PORT, [path, ("services", other, "port")], text, mend)
        instances.setdefault(service.port, name)


def _probes(file: File) -> Iterator[Complaint]:
    for name, service in file.services.items():
        path: KeyPath = ("services", name, "probe")
        yield from _probe_kind(service, path)
        probe = service.probe
        if probe is None:
            continue
        if probe.timeout is not None and probe.timeout >= probe.every:
            length, every = written_duration(probe.timeout), written_duration(probe.every)
            text = f"the time-out ({length}) is not shorter than 'every' ({every})"
            mend = "a probe that waits delays the next: what hangs is noticed later than 'every'"
            about = [(*path, "timeout"), (*path, "every")]
            yield warning(Code.PROBE_TIMEOUT, about, text, mend)
        if probe.http is None and "expect" in probe.model_fields_set:
            text = "'expect' has no effect without 'http': a TCP probe has no status"
            yield warning(
                Code.NO_EFFECT, [(*path, "expect"), (*path, "http")], text, "remove it", at_key=True
            )


def _probe_kind(service: ServiceSection, path: KeyPath) -> Iterator[Complaint]:
    """Yield what is unclear about how to probe: HTTP services say it, TCP is TCP's default."""
    about: list[KeyPath] = [path, (*path, BELOW), (*path[:-1], "protocol")]
    probe = service.probe
    if probe is not None and probe.http is not None and probe.tcp is not None:
        mend = "an HTTP answer proves the connection too: remove 'tcp'"
        yield error(
            Code.PROBE, [(*path, "tcp"), *about], "'http' or 'tcp', not both", mend, at_key=True
        )
        return
    if service.protocol is Protocol.TCP:
        return
    if probe is None:
        text = "required key 'probe' is missing"
        mend = f"add 'probe: {{http: /healthz}}' under '{path[1]}:', or 'probe: {{tcp: true}}'"
        yield error(Code.MISSING, about, text, mend, at_key=True)
    elif probe.http is None and probe.tcp is None:
        mend = "add 'http: /healthz' (or your path), or 'tcp: true' for a connection only"
        yield error(Code.PROBE, about, "the probe does not say what to ask", mend, at_key=True)


def _identities(file: File) -> Iterator[Complaint]:
    for name, service in file.services.items():
        asks_http = service.probe is not None and service.probe.http is not None
        if service.identity is None:
            continue
        yield from _identity_kind(service.identity, ("services", name, "identity"))
        if service.identity.http is None or service.protocol is Protocol.HTTP or asks_http:
            continue
        about: list[KeyPath] = [
            ("services", name, key) for key in ("identity", "protocol", "probe")
        ]
        text = "the identity is asked over HTTP, but the service and its probe speak TCP"
        mend = "right only if the instances answer HTTP on their port too"
        yield warning(Code.IDENTITY, about, text, mend, at_key=True)


def _identity_kind(identity: IdentitySection, path: KeyPath) -> Iterator[Complaint]:
    """Yield what is unclear about what an identity consists of."""
    about: list[KeyPath] = [path, (*path, BELOW)]
    if identity.http is None and identity.image is None:
        mend = "add 'http: /version' (or your path), or 'image: true'"
        yield error(Code.MISSING, about, "the identity does not say what to ask", mend, at_key=True)
    elif identity.http is None and identity.header is not None:
        text = "'header' has no effect without 'http': nothing is asked that has headers"
        about = [(*path, "header"), (*path, "http")]
        yield warning(Code.NO_EFFECT, about, text, "remove it", at_key=True)


def _containers(file: File) -> Iterator[Complaint]:
    socket: KeyPath = ("docker", "socket")
    for name, service in file.services.items():
        path: KeyPath = ("services", name, "docker")
        image: KeyPath = ("services", name, "identity", "image")
        if service.docker is not None and file.docker.socket is None:
            text = "no engine can be asked about the container: 'docker.socket' is not set"
            mend = "add 'docker: {socket: /run/equipoise-docker/docker.sock}'; see docs/docker.md"
            yield error(Code.ENGINE, [path, (*path, BELOW), socket], text, mend, at_key=True)
        if service.docker is None and service.identity is not None and service.identity.image:
            text = "the image of which container? 'docker' is not set for this service"
            mend = f"add 'docker: {{container: {name}}}' under '{name}:', or remove 'image'"
            yield error(Code.ENGINE, [image, path], text, mend, at_key=True)
    if file.docker.socket is not None and not any(s.docker for s in file.services.values()):
        text = "no service names a container, so no engine is asked"
        mend = "add 'docker: {container: NAME}' to a service, or remove it"
        yield warning(Code.NO_EFFECT, [socket, ("services", BELOW)], text, mend, at_key=True)


def _servers(file: File) -> Iterator[Complaint]:
    path: KeyPath = ("bus", "servers")
    servers = file.bus.servers
    if "servers" not in file.bus.model_fields_set:
        return
    if not 1 <= len(servers) <= SERVERS_MAX:
        text = f"there must be 1 to {SERVERS_MAX} servers, got {len(servers)}"
        yield error(Code.LIST, [path], text, "remove the key for the default")
    for index, server in enumerate(servers):
        if server in servers[:index]:
            yield error(Code.LIST, [(*path, index)], f"{server} is listed twice", "remove one")
    yield from _server_ports(file)


def _server_ports(file: File) -> Iterator[Complaint]:
    """Yield services that would listen where a bus server of the same machine does."""
    addresses = {node.address: name for name, node in file.nodes.items()}
    for index, server in enumerate(file.bus.servers):
        parts = urlsplit(server)
        node = addresses.get(str(parts.hostname))
        if node is None:
            continue
        for name, service in file.services.items():
            for key, port in (("listen", service.listen), ("port", service.port)):
                if port == parts.port:
                    text = f"the bus server of {node} listens on port {port}"
                    about: list[KeyPath] = [("services", name, key), ("bus", "servers", index)]
                    yield error(Code.PORTS, about, text, "choose another port")


def _beats(file: File) -> Iterator[Complaint]:
    heartbeat = file.heartbeat
    every_us, _ = beating(heartbeat)
    if every_us < QUIET_HEARTBEAT_US:
        by = "every" if "every" in heartbeat.model_fields_set else "profile"
        text = f"beats every {written_duration(every_us)} need quiet machines"
        mend = "below 50ms, a machine that is merely busy can look silent: watch for false alarms"
        yield warning(Code.FAST_HEARTBEAT, [("heartbeat", by)], text, mend)
    for name, service in file.services.items():
        for key, port in (("listen", service.listen), ("port", service.port)):
            if port == heartbeat.port:
                text = f"port {port} is the heartbeat's too (UDP)"
                mend = "both work, but firewall rules and people confuse them: choose another"
                about: list[KeyPath] = [("services", name, key), ("heartbeat", "port")]
                yield warning(Code.NEAR_PORT, about, text, mend)


def named_members(file: File) -> str:
    """Return the members as a sentence lists them."""
    return listed([name for name, _ in members(file).values()], "or")
