"""All sizes, one after the other: what `make bench-growth` measures."""

import sys
from pathlib import Path

from benchmarks.growth import cluster, many, pieces
from benchmarks.growth.chapter import Growth, growth_part, pictures_of
from benchmarks.growth.cluster import Effort, Grown
from benchmarks.growth.many import Flocked
from benchmarks.growth.scene import Size
from benchmarks.parts import PICTURES, Part

NODES, SERVICES = (2, 5, 10, 20, 50, 100), (2, 20, 50, 100, 200)
OTHER_SERVICES, OTHER_NODES = 20, 10  # while the other one grows
CLUSTERS = (1, 10, 100, 300, 1_000)
LARGEST = Size(100, 200)  # that the configuration allows
STREAMS_MB, STREAMS_TRIED = 512, 8  # what `nats.conf` gives; more than fit
QUICK = Effort(rest_s=2.0, failures=5, failing_s=5.0)
QUICK_MAX = 20  # nodes, services, or clusters, of a quick look


def part(folder: Path, *, quick: bool) -> Part:
    """Measure all of it, draw it, and return what the document says."""
    growth = measure(QUICK, QUICK_MAX) if quick else measure(Effort())
    drawn = pictures_of(growth)
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for name, (_, picture) in drawn.items():
        (folder / PICTURES / f"{name}.svg").write_text(picture)
    return growth_part(growth, {name: title for name, (title, _) in drawn.items()})


def measure(effort: Effort, most: int = sys.maxsize) -> Growth:
    """Measure every size up to the largest."""
    nodes = [Size(count, OTHER_SERVICES) for count in NODES if count <= most]
    services = [Size(OTHER_NODES, count) for count in SERVICES if count <= most]
    fit, refused = many.streams_of(STREAMS_MB, STREAMS_TRIED)
    return Growth(
        nodes=[_grown(size, effort) for size in nodes],
        services=[_grown(size, effort) for size in services if size not in nodes],
        pieces=[pieces.measure(size) for size in dict.fromkeys((*nodes, *services, LARGEST))],
        many=[_flocked(count, effort) for count in CLUSTERS if count <= most],
        fit=fit,
        refused=refused.rpartition(": ")[2],
    )


def _grown(size: Size, effort: Effort) -> Grown:
    _say(f"{size.nodes} nodes, {size.services} services")
    return cluster.measure(size, effort)


def _flocked(count: int, effort: Effort) -> Flocked:
    _say(f"{count} clusters")
    return many.measure(count, effort)


def _say(text: str) -> None:
    print(f"bench: growth: {text}", file=sys.stderr, flush=True)
