"""The chapter on growth: what was measured of one cluster and of many, in tables and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.growth.cluster import Grown
from benchmarks.growth.faults import Decisions
from benchmarks.growth.many import Flocked
from benchmarks.growth.picture import curves
from benchmarks.growth.pieces import Pieces
from benchmarks.parts import PICTURES, Budget, Part, table, verdict
from services.sandbox.drills.figures import figures

NAME = "growth"
COMMAND = "make bench-growth"
KB = 1_000
DECIDED_P99_MS = 50.0  # of a cluster as large as we advise, from outside
ADVISED_NODES = 20
PLAYED = """\
Real are the nats-server, the arbiter's process, and what they say to each other. Played are the
nodes: one process (*crowd*) speaks for all of them, each on a connection of its own, in messages of
the real types and as often as the real programs (20 heartbeats and 20 beats for leases a second, a
picture and a measurement each second, answers to every grant and plan), and another (*listeners*)
hears what every member's console hears. All share this machine's cores, so at the larger sizes
decisions wait for the players too: *late* is the share of the crowd's turns that came half a beat
late or more. A row where it is not near 0 shows the limit of this machine, not of the arbiter.
A decision is timed from outside: an instance's observer says that its port is closed, and a third
party sees the first command on the wire, and that of the last node."""
FIRST = """\
What broke first, and what was done about it. Before, everybody looked after everybody, and said
all of it: of 20 nodes and 20 services the arbiter used half a core, and a decision waited for 50 ms
behind pictures, measurements and situations; at 50 nodes the server wrote 1.2 GB a second, most of
it every node's copy of every plan to every console, and no more was decided. Now, beyond four nodes
an instance is asked by its own node and three others; beyond eight, members beat by UDP to eight
others; beyond 200 instances services take turns in what load balancers count; changes are told
together; a plan is written once for all nodes, repeated as the network allows, and each console
hears it once (decision 35). What still grows with the square of the nodes is what all consoles hear
together of pictures and measurements, and what plans weigh together: rules x nodes."""
MANY = """\
One cluster is real as above (2 nodes, 2 services) and looked at while the others are played,
their arbiters too, by one process (*flock*) that writes what was once made by the real codec, with
new numbers, on three connections for each cluster (a member's programs share one here). Each has
its stream. What breaks first is room for streams: each reserves 256 MB, so the `max_file` of
`nats.conf`, 512 MB, is enough for {fit} clusters, and the next one's stream is refused ("{why}").
Here it was raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """All that was measured."""

    nodes: Sequence[Grown]  # with as many services
    services: Sequence[Grown]  # with as many nodes
    pieces: Sequence[Pieces]
    many: Sequence[Flocked]
    fit: int  # clusters whose streams fit what `nats.conf` gives
    refused: str  # what the next one was told


def growth_part(growth: Growth, pictures: Mapping[str, str]) -> Part:
    """Return what the document says of growth; `pictures` are beside it."""
    links = [f"![{title}]({PICTURES}/{name}.svg)" for name, title in pictures.items()]
    return Part(
        name=NAME,
        budgets=list(_budgets(growth)),
        section="\n\n".join(
            [
                "## How cost grows",
                f"`{COMMAND}`. Processor time is in per cent of one core, while nothing fails.",
                PLAYED,
                "### One cluster, by nodes and services",
                _cost_table([*growth.nodes, *growth.services]),
                _decision_table([*growth.nodes, *growth.services]),
                *links[:2],
                FIRST,
                "### What is large in a large cluster",
                _pieces_table(growth.pieces),
                "### Many clusters on one server",
                MANY.format(fit=growth.fit, why=growth.refused),
                _many_table(growth.many),
                *links[2:],
            ]
        ),
    )


def pictures_of(growth: Growth) -> dict[str, tuple[str, str]]:
    """Return the pictures by name: a title, and the drawing."""
    at = "one cluster, by nodes"
    busy = {
        name: [(float(one.size.nodes), one.percent[name]) for one in growth.nodes]
        for name in ("arbiter", "nats-server")
    }
    waited = {
        "first command, p50": [_middle(one.size.nodes, one.decisions) for one in growth.nodes],
        "first command, largest": [_largest(one.size.nodes, one.decisions) for one in growth.nodes],
    }
    many = {
        name: [(float(one.clusters), one.percent[name]) for one in growth.many]
        for name in ("nats-server", "arbiter")
    }
    titles = {
        "growth-processor": (f"{at}: per cent of a core, nothing failing", busy),
        "growth-decision": (f"{at}: ms from evidence to command", waited),
        "growth-many": ("many clusters on one server: per cent of a core", many),
    }
    return {name: (title, curves(title, series)) for name, (title, series) in titles.items()}


def _middle(at: int, decisions: Decisions) -> tuple[float, float]:
    found = figures(decisions.first_ms)
    return float(at), found.median if found is not None else 0.0


def _largest(at: int, decisions: Decisions) -> tuple[float, float]:
    return float(at), max(decisions.first_ms, default=0.0)


def _budgets(growth: Growth) -> list[Budget]:
    advised = [one for one in growth.nodes if one.size.nodes == ADVISED_NODES]
    found = figures(advised[0].decisions.first_ms) if advised else None
    if found is None:
        return []
    size = advised[0].size
    last = found.maximum if found.p99 is None else found.p99
    which = f"largest of {found.n}" if found.p99 is None else "p99"
    what = f"{size.nodes} nodes, {size.services} services: evidence to command, {which}"
    return [verdict(what, last, DECIDED_P99_MS, "ms")]


def _cost_table(rows: Sequence[Grown]) -> str:
    heading = (
        "nodes",
        "services",
        "arbiter %",
        "arbiter MiB",
        "server %",
        "server MiB",
        "messages/s in / out",
        "kB/s in / out",
        "crowd %",
        "late %",
        "lost",
    )
    return table(heading, [_cost(one) for one in rows], words=2)


def _cost(one: Grown) -> tuple[str, ...]:
    return (
        str(one.size.nodes),
        str(one.size.services),
        f"{one.percent['arbiter']:.1f}",
        f"{one.pss_mib['arbiter']:.0f}",
        f"{one.percent['nats-server']:.1f}",
        f"{one.pss_mib['nats-server']:.0f}",
        f"{one.carried.messages_in} / {one.carried.messages_out}",
        f"{one.carried.bytes_in / KB:.0f} / {one.carried.bytes_out / KB:.0f}",
        f"{one.percent['crowd']:.0f}",
        f"{one.late_percent:.1f}",
        ", ".join(f"{name} {count}" for name, count in one.lost.items()) or "-",
    )


def _decision_table(rows: Sequence[Grown]) -> str:
    heading = (
        "nodes",
        "services",
        "n",
        "first command, ms: p50",
        "p99",
        "max",
        "last node's, ms: p50",
        "p99",
        "max",
        "unanswered",
        "plan, kB",
    )
    cells = [
        (
            str(one.size.nodes),
            str(one.size.services),
            str(len(one.decisions.first_ms)),
            *_three(one.decisions.first_ms),
            *_three(one.decisions.last_ms),
            str(one.decisions.unanswered),
            f"{one.decisions.plan_bytes / KB:.1f}",
        )
        for one in rows
    ]
    return table(heading, cells, words=2)


def _three(values: Sequence[float]) -> tuple[str, str, str]:
    found = figures(values)
    if found is None:
        return "-", "-", "-"
    p99 = "-" if found.p99 is None else f"{found.p99:.1f}"
    return f"{found.median:.1f}", p99, f"{found.maximum:.1f}"


def _pieces_table(rows: Sequence[Pieces]) -> str:
    heading = (
        "nodes",
        "services",
        "file read, ms",
        "core begun, ms",
        "situation, ms",
        "situation, kB",
        "plan, kB",
        "haproxy.cfg, ms",
        "haproxy.cfg, kB",
        "a message may have 1,049 kB",
    )
    cells = [
        (
            str(one.size.nodes),
            str(one.size.services),
            f"{one.load_ms:.0f}",
            f"{one.start_ms:.0f}",
            f"{one.situation_ms:.1f}",
            f"{one.situation_bytes / KB:.0f}",
            f"{one.plan_bytes / KB:.0f}",
            f"{one.render_ms:.0f}",
            f"{one.haproxy_bytes / KB:.0f}",
            "all fit" if one.fits else "**too large**",
        )
        for one in rows
    ]
    return table(heading, cells, words=2)


def _many_table(rows: Sequence[Flocked]) -> str:
    heading = (
        "clusters",
        "connections",
        "streams",
        "server %",
        "server MiB",
        "messages/s in / out",
        "n",
        "first command, ms: p50",
        "p99",
        "max",
        "arbiter %",
        "flock %",
        "late %",
    )
    cells = [
        (
            str(one.clusters),
            str(one.connections),
            f"{one.streams} ({one.stream_ms:.1f} ms each)",
            f"{one.percent['nats-server']:.1f}",
            f"{one.pss_mib['nats-server']:.0f}",
            f"{one.carried.messages_in} / {one.carried.messages_out}",
            str(len(one.decisions.first_ms)),
            *_three(one.decisions.first_ms),
            f"{one.percent['arbiter']:.1f}",
            f"{one.percent['flock']:.0f}",
            f"{one.late_percent:.1f}",
        )
        for one in rows
    ]
    return table(heading, cells)
