"""The keys of `equipoise.yaml`, version 1: what is possible, what is the default, what it means.

Everything that describes the file is made from these models: the JSON Schema for editors and
the reference in `docs/configuration.md`. What must hold between keys is in `relations`.
A key exists here when code obeys it.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeAlias, get_args

from pydantic import ConfigDict, Field
from pydantic.fields import FieldInfo

from shared.cluster import FailbackMode, Mode, Protocol
from shared.instant import Duration
from shared.settings import address_kinds, kinds
from shared.settings.container_sections import ContainedSection, DockerSection, IdentitySection
from shared.settings.findings import KeyPath
from shared.settings.kinds import NAME_MAX, NAME_PATTERN, PORT_MAX
from shared.settings.section import (
    FILLED,
    Section,
    defaulting,
    optional,
    schema_of_section,
    sectioned,
)

VERSION = 1
NODES_MIN = 2  # a single node has nobody to take over
NODES_MAX = 100  # as far as it has been measured
SERVICES_MAX = 200  # as far as it has been measured
INSTANCES_MAX = 2_000  # services x nodes: of 2,500 a situation is larger than the bus carries
VIPS_MAX = 64  # every beat reports and every grant names all of them
SERVERS_MAX = 9  # more servers make a NATS cluster's votes slower, not safer
CAPACITY_MAX = 10_000
WITNESS = "witness"  # the witness's name among the members

SCHEMA_FILE = "equipoise.schema.json"
MODELINE = f"# yaml-language-server: $schema=./{SCHEMA_FILE}"  # VS Code, Neovim, Helix, Zed
LEASES = kinds.duration(
    "100ms",
    "1s",
    why="the VIPs of a node that is lost, or of an arbiter that is, stay dark for so long; and a "
    "shorter one does not survive a busy machine",
)

MODELINE_JETBRAINS = f"# $schema: ./{SCHEMA_FILE}"


class Profile(StrEnum):
    """How beats and leases are set where nothing is written out."""

    DEFAULT = "default"
    FAST = "fast"


class NodeSection(Section):
    """A machine that serves traffic."""

    address: Annotated[str, address_kinds.address()] = Field(
        description="How the other members reach the node: for beats, probes and requests.",
        examples=["10.0.0.11"],
    )
    capacity: Annotated[int, kinds.whole(1, CAPACITY_MAX)] = defaulting(
        "100",
        "What the node can take, beside the others: twice the number is twice the "
        "weight, and twice what a takeover may load it with.",
    )


class VipSection(Section):
    """An address that clients use, and that moves to another node when its holder is lost."""

    address: Annotated[str, address_kinds.network_address()] = Field(
        description="The address, and the prefix of the clients' network that it lies in. No "
        "machine may have it: it is held by one node at a time.",
        examples=["10.0.0.100/24"],
    )
    home: Annotated[str, kinds.name()] = Field(
        description="The node that holds it when all is well.", examples=["node-a"]
    )
    interface: Annotated[str | None, address_kinds.interface()] = optional(
        "The interface that gets the address, on every node. Default: the one that has an "
        "address in the same network, whatever it is called.",
        example="eth0",
    )


class WitnessSection(Section):
    """A further machine that votes and hosts the bus, but serves no traffic."""

    address: Annotated[str, address_kinds.address()] = Field(
        description="How the nodes reach the witness.", examples=["10.0.0.13"]
    )


class BusSection(Section):
    """Where the NATS servers are."""

    servers: list[Annotated[str, kinds.url(("nats",), "nats://10.0.0.13:4222")]] = Field(
        default=[],
        validate_default=False,
        description="All NATS servers. Default: port 4222 of the witness; without a witness, "
        "of the first node.",
        examples=[["nats://10.0.0.13:4222"]],
        json_schema_extra={"minItems": 1, "maxItems": SERVERS_MAX, "uniqueItems": True},
    )


def _schema_of_probe(schema: dict[str, Any]) -> None:
    """Tell editors that a probe is of one kind."""
    schema_of_section(schema)
    schema["not"] = {"required": ["http", "tcp"]}


class ProbeSection(Section):
    """How an instance is asked whether it works: by HTTP, or by a TCP connection."""

    model_config = ConfigDict(json_schema_extra=_schema_of_probe)

    http: Annotated[str | None, kinds.http_path()] = optional(
        "Ask this path of the instance.",
        example="/healthz",
    )
    tcp: Annotated[bool | None, kinds.yes()] = optional(
        "A TCP connection is proof enough. The default for services with `protocol: tcp`.",
        example=True,
    )
    expect: Annotated[tuple[tuple[int, int], ...], kinds.statuses()] = defaulting(
        "200-299", "The HTTP status codes that mean it works."
    )
    every: Annotated[Duration, kinds.duration("20ms", "1h")] = defaulting(
        "100ms", "How often each member asks."
    )
    timeout: Annotated[Duration | None, kinds.automatic_or(kinds.duration("10ms", "1m"))] = (
        defaulting(
            "auto",
            "How long an answer may take. `auto` follows the instance's normal answers, "
            "between 50ms and 1s.",
        )
    )
    fall: Annotated[int, kinds.whole(1, 100)] = defaulting(
        "2",
        "So many suspicious answers in a row (time-outs, wrong status) mean down. "
        "Conclusive evidence (refused, reset) counts at once.",
    )
    rise: Annotated[int, kinds.whole(1, 100)] = defaulting(
        "3", "So many good answers in a row mean up."
    )


def _schema_of_service(schema: dict[str, Any]) -> None:
    """Tell editors when a probe must say what it asks."""
    kinds = {"properties": {"probe": {"anyOf": [{"required": ["http"]}, {"required": ["tcp"]}]}}}
    schema["if"] = {"properties": {"protocol": {"const": "tcp"}}, "required": ["protocol"]}
    schema["else"] = {"required": ["probe"], **kinds}


class ServiceSection(Section):
    """A load-balanced application, with one instance on every node."""

    model_config = ConfigDict(json_schema_extra=_schema_of_service)

    mode: Annotated[Mode, kinds.choice(Mode)] = defaulting(
        "balance",
        "`balance`: all instances serve, by their nodes' capacities. `mirror`: the "
        "home node's instance serves, the others stand by.",
    )
    home: Annotated[str | None, kinds.name()] = optional(
        "With `mode: mirror`, the node whose instance serves. Default: the first node.",
        example="node-a",
    )
    protocol: Annotated[Protocol, kinds.choice(Protocol)] = defaulting(
        "http", "What the load balancer speaks."
    )
    listen: Annotated[int, kinds.whole(1, PORT_MAX, "a port")] = Field(
        description="The port of the load balancers: where clients reach the service.",
        examples=[80],
    )
    vips: list[Annotated[str, kinds.name()]] = Field(
        default=[],
        validate_default=False,
        description="The VIPs through which clients reach the service. Default: all. On each "
        "node's own address it is reached in any case.",
        examples=[["web"]],
        json_schema_extra={"maxItems": VIPS_MAX, "uniqueItems": True},
    )
    port: Annotated[int, kinds.whole(1, PORT_MAX, "a port")] = Field(
        description="The port of the instances, on each node's address.", examples=[8080]
    )
    limit: Annotated[int | None, kinds.rate()] = optional(
        "What one instance takes on a node of capacity 100. Default: nothing is "
        "assumed, and nothing is said about loads that a takeover could not bear.",
        example="600/s",
    )
    probe: Annotated[ProbeSection | None, FILLED] = optional(
        "How instances are asked whether they work. Needed with `protocol: http`.",
        example={"http": "/healthz"},
    )
    identity: Annotated[IdentitySection | None, FILLED] = optional(
        "How matching services are recognised. Default: services of one name match.",
        example={"http": "/version"},
    )
    docker: Annotated[ContainedSection | None, FILLED] = optional(
        "The container that an instance runs in: its death is known from the engine too. "
        "Default: no engine is asked.",
        example={"container": "shop-{node}"},
    )


class HeartbeatSection(Section):
    """How members say that they are alive, and for how long that lets them hold a VIP."""

    profile: Annotated[Profile, kinds.choice(Profile)] = defaulting(
        "default",
        "`fast`: beats every 20ms and a lease of 120ms, for machines and networks that are "
        "never late. What is written out beside it wins.",
    )
    every: Annotated[Duration, kinds.duration("10ms", "10s")] = defaulting(
        "50ms", "How often a member says so."
    )
    lease: Annotated[Duration | None, kinds.automatic_or(LEASES)] = defaulting(
        "auto",
        "For how long a node may hold its VIPs after a beat: so long they stay dark when it is "
        "lost in silence. `auto` follows the gaps between its beats and between their answers, "
        "from 200ms to 1s.",
    )
    port: Annotated[int, kinds.whole(1, PORT_MAX, "a port")] = defaulting(
        "8643", "The UDP port of beats, on every member."
    )


class AfterSection(Section):
    """How long something must have been well before it is trusted again."""

    service: Annotated[Duration, kinds.duration("100ms", "24h")] = defaulting(
        "10s",
        "An instance; doubled for each relapse, up to 10m.",
    )
    node: Annotated[Duration, kinds.duration("100ms", "24h")] = defaulting(
        "30s",
        "A node, before its VIPs come home one after the other; doubled likewise.",
    )


class PolicySection(Section):
    """The thresholds that decisions are made by."""

    failback: Annotated[FailbackMode, kinds.choice(FailbackMode)] = defaulting(
        "automatic", "Who brings back what has recovered."
    )
    after: Annotated[AfterSection, FILLED] = sectioned(
        "How long it must be well before a failback begins."
    )
    forget: Annotated[Duration, kinds.duration("100ms", "168h")] = defaulting(
        "1h", "A failure that comes later than this after the last one is no relapse of it."
    )
    ramp: Annotated[Duration, kinds.duration("0s", "1h")] = defaulting(
        "10s",
        "How long a returning weight climbs from 1 % to full; it is taken back when errors rise.",
    )
    drain: Annotated[Duration, kinds.duration("0s", "1h")] = defaulting(
        "30s", "How long open connections may finish before they are closed."
    )
    moves: Annotated[tuple[int, Duration], kinds.moves()] = defaulting(
        "6 per 10m",
        "So many automatic moves of one target in so long; then only advice, until "
        "a person acts or the time is over.",
    )
    maintenance: Annotated[Duration, kinds.duration("1m", "168h")] = defaulting(
        "4h", "No maintenance, and no other order of a person, lasts longer."
    )


class LogSection(Section):
    """How programs write their logs."""

    format: Annotated[str, kinds.choice(("auto", "text", "json"))] = defaulting(
        "auto", "`auto` is text on a terminal and JSON otherwise."
    )
    level: Annotated[str, kinds.choice(("debug", "info", "warning", "error"))] = defaulting(
        "info", "The least important entries that are written."
    )


class TelemetrySection(Section):
    """Where traces go, and how logs look."""

    otlp: Annotated[str | None, kinds.url(("http", "https"), "http://127.0.0.1:4318")] = optional(
        "Where traces are sent by OTLP over HTTP. Default: nowhere, at no cost.",
        example="http://127.0.0.1:4318",
    )
    trace_ui: Annotated[
        str | None,
        kinds.url(
            ("http", "https"),
            "http://127.0.0.1:16686/trace/{trace_id}",
            must_hold="{trace_id}",
        ),
    ] = optional(
        "The page of a trace, for links.",
        example="http://127.0.0.1:16686/trace/{trace_id}",
    )
    log: Annotated[LogSection, FILLED] = sectioned("The programs' logs.")


def _named(minimum: int, maximum: int) -> dict[str, Any]:
    return {
        "minProperties": minimum,
        "maxProperties": maximum,
        "propertyNames": {"pattern": NAME_PATTERN, "maxLength": NAME_MAX},
    }


class File(Section):
    """The whole file: a cluster of nodes, and the services that they share."""

    version: Annotated[int, kinds.whole(VERSION, VERSION)] = Field(
        description="Of this file's format.",
        examples=[VERSION],
        json_schema_extra={"const": VERSION},
    )
    cluster: Annotated[str, kinds.name()] = Field(
        description="The cluster's name. Messages of clusters with another name are ignored.",
        examples=["shop"],
    )
    key: Annotated[str, kinds.file_path()] = Field(
        description="The file with the cluster's key, the same on every member: 16 bytes or "
        "more, not readable by everyone. A relative path begins where this file is.",
        examples=["cluster.key"],
    )
    nodes: Annotated[dict[str, Annotated[NodeSection, FILLED]], FILLED] = Field(
        description=f"The machines that serve, {NODES_MIN} to {NODES_MAX}, by name. The first is "
        "the primary: it wins ties; beyond that they are equals.",
        examples=[{"node-a": {"address": "10.0.0.11"}, "node-b": {"address": "10.0.0.12"}}],
        json_schema_extra=_named(NODES_MIN, NODES_MAX),
    )
    witness: Annotated[WitnessSection | None, FILLED] = optional(
        "A further machine that votes and hosts the bus, but serves no traffic.",
        example={"address": "10.0.0.13"},
    )
    bus: Annotated[BusSection, FILLED] = sectioned("The NATS servers.")
    docker: Annotated[DockerSection, FILLED] = sectioned(
        "Where a node asks Docker's engine about the containers of its instances."
    )
    vips: Annotated[dict[str, Annotated[VipSection, FILLED]], FILLED] = Field(
        default={},
        validate_default=False,
        description="The addresses that clients use, by name; each is held by one node at a "
        f"time. {VIPS_MAX} at most.",
        examples=[{"web": {"address": "10.0.0.100/24", "home": "node-a"}}],
        json_schema_extra=_named(0, VIPS_MAX),
    )
    services: Annotated[dict[str, Annotated[ServiceSection, FILLED]], FILLED] = Field(
        description=f"What the nodes serve, 1 to {SERVICES_MAX}, by name.",
        examples=[{"shop": {"listen": 80, "port": 8080, "probe": {"http": "/healthz"}}}],
        json_schema_extra=_named(1, SERVICES_MAX),
    )
    heartbeat: Annotated[HeartbeatSection, FILLED] = sectioned(
        "How members say that they are alive, and for how long that lets them hold a VIP."
    )
    policy: Annotated[PolicySection, FILLED] = sectioned(
        "The thresholds that decisions are made by."
    )
    telemetry: Annotated[TelemetrySection, FILLED] = sectioned(
        "Where traces go, and how logs look."
    )


SectionType: TypeAlias = type[Section]


def fields(section: SectionType) -> Mapping[str, FieldInfo]:
    """Return the fields of a section by their keys in the file."""
    return {str(f.alias): f for f in section.model_fields.values()}


def section_of(field: FieldInfo) -> tuple[SectionType | None, bool]:
    """Return the section behind a key, and whether it is one of many by name."""
    found = tuple(_sections(field.annotation))
    many = getattr(field.annotation, "__origin__", None) is dict
    return (found[0] if found else None), many


def _sections(annotation: object) -> Iterator[SectionType]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


def field_at(path: KeyPath) -> FieldInfo | None:
    """Return the field that a path of the file leads to; None for names and unknown keys."""
    section: SectionType | None = File
    field: FieldInfo | None = None
    named = False
    for part in path:
        if named:
            named, field = False, None
            continue
        field = fields(section).get(str(part)) if section is not None else None
        if field is None:
            return None
        section, named = section_of(field)
    return field


def section_at(path: KeyPath) -> SectionType | None:
    """Return the section whose keys a mapping at a path may have; None where names stand."""
    section: SectionType | None = File
    named = False
    for part in path:
        if named:
            named = False
            continue
        field = fields(section).get(str(part)) if section is not None else None
        if field is None:
            return None
        section, named = section_of(field)
    return None if named else section
