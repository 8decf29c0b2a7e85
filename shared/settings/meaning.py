"""What a valid file means: the cluster as cores hold it, and the hash of that meaning."""

import hashlib
import json
from dataclasses import asdict, replace
from ipaddress import ip_address, ip_interface

from shared.cluster import (
    Cluster,
    Contained,
    HeartbeatSettings,
    Identity,
    Mode,
    Node,
    Policy,
    Probe,
    Service,
    VirtualIp,
)
from shared.settings.profiles import beating
from shared.settings.schema import (
    WITNESS,
    BusSection,
    File,
    ProbeSection,
    ServiceSection,
    VipSection,
)

BUS_PORT = 4222  # the port that NATS servers have unless told otherwise
HASH_LENGTH = 16  # hex digits; as the digest of rules


def completed(file: File) -> File:
    """Return the file with those defaults written out that follow from its other keys."""
    bus = file.bus
    if not bus.servers:
        host = file.witness or next(iter(file.nodes.values()))
        bus = BusSection(servers=[_server(host.address)])
    services = {name: _completed(file, service) for name, service in file.services.items()}
    every_us, lease_us = beating(file.heartbeat)
    heartbeat = file.heartbeat.model_copy(update={"every": every_us, "lease": lease_us})
    return file.model_copy(update={"bus": bus, "services": services, "heartbeat": heartbeat})


def _completed(file: File, service: ServiceSection) -> ServiceSection:
    probe = service.probe or ProbeSection()
    if probe.http is None:
        probe = probe.model_copy(update={"tcp": True})
    mirrored = service.mode is Mode.MIRROR
    home = (service.home or next(iter(file.nodes))) if mirrored else None
    listed = set(service.vips if "vips" in service.model_fields_set else file.vips)
    vips = [name for name in file.vips if name in listed]
    return service.model_copy(update={"probe": probe, "home": home, "vips": vips})


def _server(address: str) -> str:
    host = f"[{address}]" if ip_address(address).version == 6 else address  # noqa: PLR2004
    return f"nats://{host}:{BUS_PORT}"


def cluster_of(file: File) -> Cluster:
    """Return the cluster that a completed file describes."""
    nodes = {
        name: Node(name=name, address=node.address, capacity=node.capacity)
        for name, node in file.nodes.items()
    }
    witness = None
    if file.witness is not None:
        witness = Node(name=WITNESS, address=file.witness.address)
    primary = next(iter(nodes))
    cluster = Cluster(
        name=file.cluster,
        nodes=nodes,
        witness=witness,
        services={
            name: _service(name, section, primary) for name, section in file.services.items()
        },
        heartbeat=HeartbeatSettings(
            every_us=file.heartbeat.every,
            port=file.heartbeat.port,
            lease_us=file.heartbeat.lease,
        ),
        policy=_policy(file),
        bus_servers=tuple(file.bus.servers),
        configuration="",
        vips={name: _vip(name, section) for name, section in file.vips.items()},
    )
    return replace(cluster, configuration=_hash(cluster))


def _vip(name: str, section: VipSection) -> VirtualIp:
    interface = ip_interface(section.address)
    return VirtualIp(
        name=name,
        address=str(interface.ip),
        prefix=interface.network.prefixlen,
        home=section.home,
        interface=section.interface,
    )


def _service(name: str, section: ServiceSection, primary: str) -> Service:
    assert section.probe is not None
    identity, docker = section.identity, section.docker
    return Service(
        name=name,
        mode=section.mode,
        protocol=section.protocol,
        listen=section.listen,
        port=section.port,
        home=section.home or primary,
        limit_per_s=section.limit,
        probe=_probe(section.probe),
        identity=None
        if identity is None
        else Identity(
            path=identity.http,
            header=identity.header,
            every_us=identity.every,
            image=identity.image is True,
        ),
        vips=tuple(section.vips),
        docker=None
        if docker is None
        else Contained(container=docker.container, unhealthy=docker.unhealthy),
    )


def _probe(section: ProbeSection) -> Probe:
    return Probe(
        path=section.http,
        expect=section.expect,
        every_us=section.every,
        timeout_us=section.timeout,
        fall=section.fall,
        rise=section.rise,
    )


def _policy(file: File) -> Policy:
    policy = file.policy
    moves_max, moves_window_us = policy.moves
    return Policy(
        failback=policy.failback,
        after_us=policy.after.service,
        forget_us=policy.forget,
        ramp_us=policy.ramp,
        drain_us=policy.drain,
        moves_max=moves_max,
        moves_window_us=moves_window_us,
        override_max_us=policy.maintenance,
        node_after_us=policy.after.node,
    )


def _hash(cluster: Cluster) -> str:
    """Return equal hashes for equal meanings; the order of nodes decides ties, so it counts."""
    meaning = asdict(cluster)
    meaning["nodes"] = list(meaning["nodes"].values())
    text = json.dumps(meaning, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
