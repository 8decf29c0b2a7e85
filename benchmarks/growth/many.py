"""Many clusters on one server: what it costs, and what a decision takes in one of them.

The one that is looked at is real in the same parts as in `cluster`: a real arbiter, a played crowd.
All others are played, their arbiters too (`flock`): what is measured of them is the server.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep

from benchmarks.growth import spent
from benchmarks.growth.cluster import ARBITER, CROWD, LOOKS, SETTLE_S, Effort, fail
from benchmarks.growth.faults import Decisions
from benchmarks.growth.lines import Line, speaker
from benchmarks.growth.scene import Scene, Size, scene
from services.sandbox.configuration import BUS_PORT
from shared.bus.stream import Reply, Stream
from shared.bus.wire import ROOT
from shared.errors import BusError

FLOCK = "benchmarks.growth.flock"
SIZE = Size(2, 2)
STREAMS_WITHIN_S = 60.0
ASKED_WITHIN_S = 5.0
STORE_MB = 1_000_000  # what a thousand clusters' streams may grow to together
REFUSED = "insufficient storage"


@dataclass(slots=True, kw_only=True)
class Flocked:
    """What was measured with so many clusters on the server."""

    clusters: int
    connections: int
    streams: int  # that the server has
    stream_ms: float  # that making one took
    percent: dict[str, float]
    pss_mib: dict[str, float]
    carried: spent.Carried
    decisions: Decisions
    late_percent: float
    lost: dict[str, int] = field(default_factory=dict)


class _Courier:
    """Asks JetStream on a line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def request(self, subject: str, payload: bytes) -> Reply:
        """Return the one answer."""
        answer = await self._line.client.request(subject, payload, ASKED_WITHIN_S)
        return Reply(answer.headers or {}, answer.data)

    async def batch(self, subject: str, payload: bytes) -> list[Reply]:
        """Return no batches: nothing is read here."""
        raise BusError(f"{subject} is not asked here ({len(payload)} octets)")


async def make_streams(server: str, names: Sequence[str]) -> tuple[int, str]:
    """Make each cluster's stream as its programs do; return how many, and why no more."""
    line = Line(speaker("flock", "flock", "streams"))
    await line.connect(server)
    end = monotonic() + STREAMS_WITHIN_S
    try:
        for made, name in enumerate(names):
            if monotonic() > end:
                return made, "it took too long"
            try:
                await Stream(name, f"{ROOT}.{name}.", _Courier(line)).ensure()
            except BusError as error:
                return made, str(error)
    finally:
        await line.close()
    return len(names), ""


def measure(clusters: int, effort: Effort) -> Flocked:
    """Play so many clusters, and measure the server and one of them."""
    with scene(store_mb=STORE_MB) as stage:
        others = clusters - 1
        begun = monotonic()
        names = [f"flock-{number:04}" for number in range(others)]
        streams, _ = asyncio.run(make_streams(stage.url, names))
        stream_ms = 1_000 * (monotonic() - begun) / max(streams, 1)
        cluster = stage.configure(SIZE).cluster
        arbiter = stage.start(ARBITER)
        stage.until(ARBITER, arbiter, LOOKS)
        flock = stage.start(FLOCK, stage.address, str(BUS_PORT), str(others))
        stage.until(FLOCK, flock)
        crowd = stage.start(CROWD, str(stage.configured), stage.url)
        stage.until(CROWD, crowd)
        stage.until(ARBITER, arbiter)
        sleep(SETTLE_S)
        pids = {"arbiter": arbiter.pid, "nats-server": stage.server.pid, "flock": flock.pid}
        watch, before = spent.Watch(pids), spent.carried(stage.counted_at)
        sleep(effort.rest_s)
        percent = watch.percent()
        carried = spent.carried(stage.counted_at).since(before, watch.seconds)
        decisions = asyncio.run(fail(stage, cluster, effort))
        pss_mib = {name: spent.pss_mib(pid) for name, pid in pids.items()}
        connections = spent.connections(stage.counted_at)
        flock.terminate()
        flock.wait()
        return Flocked(
            clusters=clusters,
            connections=connections,
            streams=streams + 1,
            stream_ms=stream_ms,
            percent=percent,
            pss_mib=pss_mib,
            carried=carried,
            decisions=decisions,
            late_percent=_late_percent(stage),
            lost=stage.errors(ARBITER),
        )


def _late_percent(stage: Scene) -> float:
    last = stage.log_of(FLOCK).read_text().splitlines()[-1]
    return float(json.loads(last)["late_percent"])


def streams_of(store_mb: int, wanted: int) -> tuple[int, str]:
    """Return how many clusters' streams fit a server with so much room, and why no more."""
    with scene(store_mb=store_mb) as stage:
        names = [f"flock-{number:04}" for number in range(wanted)]
        return asyncio.run(make_streams(stage.url, names))
