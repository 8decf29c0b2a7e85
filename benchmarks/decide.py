"""What one decision costs, at 2 and at 100 nodes: the pure core alone, without the bus."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

from services.arbiter.core import Past, decide, start
from services.arbiter.core.state import Order, State, Tick
from shared.instant import MILLISECOND, SECOND
from shared.messages.health import Evidence, Grade, Picture, Sign, Verdict
from tests.unit.arbiter.play import cluster_of, evidence, service

SIZES = ((2, 2), (100, 20), (100, 200))  # nodes, services
DECISIONS = 2_000
TICKS = 500
BEGIN_AT = 1_000 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure."""

    what: str
    nodes: int
    services: int
    n: int
    p50_us: float
    p99_us: float


def rows() -> Sequence[Row]:
    """Measure conclusive decisions and ticks at every size."""
    return [row for nodes, services in SIZES for row in _of(nodes, services)]


def _of(nodes: int, services: int) -> list[Row]:
    state = _informed(nodes, services)
    node = list(state.cluster.nodes)[1]
    proofs = iter([_refused(node, 10 + k) for k in range(DECISIONS)])

    def conclusive() -> None:
        _, actions = decide(state, next(proofs), BEGIN_AT + 10 * MILLISECOND)
        assert isinstance(actions[0], Order)

    now = BEGIN_AT + 20 * MILLISECOND

    def tick() -> None:
        decide(state, Tick(wall_us=now), now)

    sizes = {"nodes": nodes, "services": services}
    return [
        _timed("conclusive evidence to command", conclusive, DECISIONS, sizes),
        _timed("tick, all well", tick, TICKS, sizes),
    ]


def _informed(nodes: int, services: int) -> State:
    """Return the state of an arbiter that has heard two observers say that all is well."""
    cluster = cluster_of(*(service(f"s{k}") for k in range(services)), nodes=nodes)
    state, _ = start(cluster, "witness", Past(plans=(), incidents={}), BEGIN_AT)
    for observer in list(cluster.nodes)[:2]:
        seen = tuple(
            evidence(observer, name, node, sequence=1)
            for name in cluster.services
            for node in cluster.nodes
        )
        picture = Picture(observer=observer, boot_id="b", sequence=1, evidence=seen)
        state, _ = decide(state, picture, BEGIN_AT + MILLISECOND)
    state, _ = decide(state, Tick(wall_us=BEGIN_AT), BEGIN_AT + 2 * MILLISECOND)
    return state


def _refused(node: str, sequence: int) -> Evidence:
    return evidence(
        node,
        "s1",
        node,
        verdict=Verdict.UNHEALTHY,
        grade=Grade.CONCLUSIVE,
        sign=Sign.REFUSED,
        sequence=sequence,
    )


def _timed(what: str, once: Callable[[], None], n: int, sizes: dict[str, int]) -> Row:
    gc.collect()
    taken = []
    for _ in range(n):
        began = perf_counter_ns()
        once()
        taken.append((perf_counter_ns() - began) / 1_000)
    taken.sort()
    return Row(what=what, n=n, p50_us=taken[n // 2], p99_us=taken[n * 99 // 100], **sizes)


if __name__ == "__main__":
    for row in rows():
        print(
            f"{row.what:32} {row.nodes:4} nodes {row.services:3} services  n={row.n}"
            f"  p50 {row.p50_us:8.1f} us  p99 {row.p99_us:8.1f} us"
        )
