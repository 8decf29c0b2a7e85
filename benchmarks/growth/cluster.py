"""One cluster of a size: what it costs while nothing fails, and what a failure takes."""

import asyncio
import json
from dataclasses import dataclass, field
from time import sleep

from benchmarks.growth import spent
from benchmarks.growth.faults import Decisions, Injector, targets_of
from benchmarks.growth.scene import Scene, Size, scene
from services.sandbox.configuration import BUS_PORT
from shared.cluster import Cluster
from shared.urgency import hurry

ARBITER = "services.arbiter"
CROWD = "benchmarks.growth.crowd"
LISTENERS = "benchmarks.growth.listeners"
LOOKS = "looks_for_the_plan_in_force"  # an arbiter, and waits until a switcher has answered
SETTLE_S = 2.5  # who is there, is known after a lease and two pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """For how long each size is looked at."""

    rest_s: float = 5.0
    failures: int = 100
    failing_s: float = 40.0


@dataclass(slots=True, kw_only=True)
class Grown:
    """What was measured of one size."""

    size: Size
    percent: dict[str, float]  # of a core, by process, nothing failing
    pss_mib: dict[str, float]
    carried: spent.Carried  # a second, nothing failing
    decisions: Decisions
    late_percent: float  # of the crowd's turns, by half a beat or more: then it is the limit
    lost: dict[str, int] = field(default_factory=dict)  # what the arbiter said that it lost


def measure(size: Size, effort: Effort) -> Grown:
    """Play a cluster of a size, and measure it."""
    with scene() as stage:
        cluster = stage.configure(size).cluster
        # First what needs a processor to come up: the crowd leaves little.
        arbiter = stage.start(ARBITER)
        stage.until(ARBITER, arbiter, LOOKS)
        listeners = stage.start(LISTENERS, stage.address, str(BUS_PORT), str(stage.configured))
        stage.until(LISTENERS, listeners)
        crowd = stage.start(CROWD, str(stage.configured), stage.url)
        stage.until(CROWD, crowd)
        stage.until(ARBITER, arbiter)
        sleep(SETTLE_S)
        pids = {
            "arbiter": arbiter.pid,
            "nats-server": stage.server.pid,
            "crowd": crowd.pid,
            "listeners": listeners.pid,
        }
        watch, before = spent.Watch(pids), spent.carried(stage.counted_at)
        sleep(effort.rest_s)
        percent = watch.percent()
        carried = spent.carried(stage.counted_at).since(before, watch.seconds)
        decisions = asyncio.run(fail(stage, cluster, effort))
        pss_mib = {name: spent.pss_mib(pid) for name, pid in pids.items()}
        crowd.terminate()
        crowd.wait()
        return Grown(
            size=size,
            percent=percent,
            pss_mib=pss_mib,
            carried=carried,
            decisions=decisions,
            late_percent=_late_percent(stage),
            lost=stage.errors(ARBITER),
        )


async def fail(stage: Scene, cluster: Cluster, effort: Effort) -> Decisions:
    """Let instances fail, and take the time of the decisions."""
    hurry()  # what waits for a processor here would look like a slow decision
    injector = Injector(cluster)
    await injector.begin(stage.url)
    try:
        await injector.run(targets_of(cluster), effort.failures, effort.failing_s)
    finally:
        await injector.close()
    return injector.decisions


def _late_percent(stage: Scene) -> float:
    last = stage.log_of(CROWD).read_text().splitlines()[-1]
    return float(json.loads(last)["late_percent"])
