"""What grows without a bus: the plan and a situation, the file, haproxy.cfg, an arbiter's start."""

import json
from dataclasses import dataclass
from pathlib import PurePath
from time import perf_counter

from benchmarks.growth.scene import Size, cluster_file, in_a_folder
from services.arbiter.core import Past, start
from services.arbiter.core.situation import situation
from services.traffic_switcher.core.haproxy_file import Place, render, token_of
from shared.instant import SECOND
from shared.messages.codec import SIZE_MAX, to_plain
from shared.messages.table import Message
from shared.rules import original
from shared.settings.load import load

PLACE = Place(socket=PurePath("/run/equipoise/haproxy.sock"), token=token_of(b"key"))
NOW = 1_000 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What belongs to a cluster of one size."""

    size: Size
    load_ms: float  # reading and checking the file
    start_ms: float  # of the arbiter's core
    situation_ms: float  # making one
    plan_bytes: int
    situation_bytes: int
    render_ms: float
    haproxy_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the bus carries its largest messages."""
        return max(self.plan_bytes, self.situation_bytes) < SIZE_MAX


def measure(size: Size) -> Pieces:
    """Make them once, and time it."""
    with in_a_folder(cluster_file(size, "nats://127.0.0.1:4222")) as place:
        begun = perf_counter()
        cluster = load(place, {"EQUIPOISE_NODE": "witness"}).cluster
        loaded = perf_counter()
    state, _ = start(cluster, "witness", Past(plans=(), incidents={}), NOW)
    started = perf_counter()
    seen = situation(state, NOW)
    situated = perf_counter()
    text = render(cluster, cluster.primary, PLACE, original(cluster), frozenset())
    rendered = perf_counter()
    return Pieces(
        size=size,
        load_ms=(loaded - begun) * 1_000,
        start_ms=(started - loaded) * 1_000,
        situation_ms=(situated - started) * 1_000,
        plan_bytes=_octets(state.command),
        situation_bytes=_octets(seen),
        render_ms=(rendered - situated) * 1_000,
        haproxy_bytes=len(text),
    )


def _octets(message: Message) -> int:
    return len(json.dumps(to_plain(message), separators=(",", ":")))
