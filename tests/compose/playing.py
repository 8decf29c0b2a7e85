"""Plays drills on the composed cluster, and fetches what Jaeger has of them."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.sandbox.drills.catalogue.drill import Aim, Drill
from services.sandbox.drills.catalogue.restarts import until_as_before
from services.sandbox.drills.play import PATIENCE, Play
from services.sandbox.drills.report import DrillResult
from services.sandbox.drills.scene import Clients, Observers, Scene
from services.sandbox.errors import DrillError
from services.sandbox.records import RecordReader
from shared.api import IncidentView
from shared.clock import Clock, SystemClock
from shared.instant import SECOND, Duration
from tests.compose.cluster import Composed
from tests.compose.containers import PREFERRED, URGENT, Containers, prefer, prefer_none
from tests.compose.seeing import Seeing
from tests.fakes.nobody import Nobody

SERVING_WITHIN_US: Duration = 90 * SECOND
TRACED_WITHIN_US: Duration = 30 * SECOND
LOOK_EVERY_S = 0.25
# Of a time in which processes waited for a processor for longer than this, a lost request says
# nothing of a failover: it is played again. What must never be is never excused.
STARVED_PERCENT = 70
PLAYS_MAX = 3
PRESSURE = Path("/proc/pressure/cpu")

Trace = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The cluster that is up, with all that looks at it."""

    composed: Composed
    containers: Containers
    seeing: Seeing
    clock: Clock

    def scene(self) -> Scene:
        """Return what drills act on and see."""
        folder = self.composed.folder
        cluster = self.composed.cluster
        return Scene(
            folder=folder,
            control=self.containers,
            console=self.composed.console(),
            clients=Clients(reader=RecordReader(folder / "requests.bin"), clock=self.clock),
            observers=Observers(reader=self.seeing.reader(), clock=self.clock, cluster=cluster),
            cluster=cluster,
            clock=self.clock,
            journals=self.seeing.journals,
        )

    def play(self, drill: Drill, aim: Aim) -> DrillResult:
        """Play one drill, once the cluster is fit for it; again if the machine had no time."""
        plays_left = PLAYS_MAX
        while True:
            waited_us, begin_at = waited(), self.clock.now()
            played = asyncio.run(self._play(drill, aim))
            plays_left -= 1
            took_us = self.clock.now() - begin_at
            starved = 100 * (waited() - waited_us) >= STARVED_PERCENT * took_us
            if played["ok"] or must_never_be(played) or not starved or not plays_left:
                return played

    async def _play(self, drill: Drill, aim: Aim) -> DrillResult:
        scene = self.scene()
        try:
            if why := await until_as_before(scene, "the drill before"):
                raise DrillError(why)
            scene.drop()
            play = Play(
                scene=scene,
                drill=drill,
                aim=aim,
                audience=Nobody(),
                patience=PATIENCE,
                findings=[],
            )
            return await play.run()
        finally:
            scene.clients.reader.close()
            scene.observers.reader.close()

    def until_serving(self) -> Duration:
        """Wait until the cluster says that it serves, with all it has; return how long it took."""
        return asyncio.run(self._until_serving())

    async def _until_serving(self) -> Duration:
        begin_at = self.clock.now()
        why = "nothing is known yet"
        while self.clock.now() < begin_at + SERVING_WITHIN_US:
            try:
                status = await self.composed.console().status()
            except DrillError as problem:
                why = str(problem)
            else:
                why = "; ".join([status["headline"], *(vip["sentence"] for vip in status["vips"])])
                held = all(vip["state"] == "held" and not vip["away"] for vip in status["vips"])
                if status["verdict"] == "serving" and status["vips"] and held:
                    return self.clock.now() - begin_at
            await self.clock.sleep(SECOND // 20)
        raise AssertionError(f"it does not serve within {SERVING_WITHIN_US // SECOND} s: {why}")

    def incident(self, name: str) -> IncidentView:
        """Return an incident in full."""
        return asyncio.run(self.composed.console().incident(name))

    def trace(self, incident: str, services: set[str]) -> Trace:
        """Return an incident's trace, as Jaeger has it, once all of these had a part in it."""
        trace_id = self.incident(incident)["trace_id"]
        port = self.composed.ports["JAEGER_PORT"]
        place = f"http://127.0.0.1:{port}/api/traces/{trace_id}"
        give_up_at = self.clock.now() + TRACED_WITHIN_US
        found: Trace = {"spans": [], "processes": {}}
        while self.clock.now() < give_up_at:
            try:
                with urllib.request.urlopen(place, timeout=5) as answer:
                    (found,) = json.load(answer)["data"]
            except (urllib.error.URLError, ConnectionError):  # nothing of it has come yet
                pass
            if services <= who_spoke(found) and not orphans(found):
                return found
            threading.Event().wait(LOOK_EVERY_S)
        raise AssertionError(
            f"the trace {trace_id} has spans of {sorted(who_spoke(found))}, not of all of "
            f"{sorted(services)}; without a parent in it: {orphans(found)}"
        )


def must_never_be(played: DrillResult) -> bool:
    """Whether a play showed what no starved machine explains."""
    requests = played["requests"]
    return bool(played["vip_overlap_ms"] or requests["doubled"] or requests["lost"])


def waited() -> Duration:
    """Return how long some process has waited for a processor, since the machine began."""
    try:
        return int(PRESSURE.read_text().split("total=")[1].split()[0])
    except (OSError, IndexError):  # this kernel does not count it: nothing is excused
        return 0


def who_spoke(trace: Trace) -> set[str]:
    """Return the services that recorded a span of a trace."""
    return {process["serviceName"] for process in trace["processes"].values()}


def orphans(trace: Trace) -> list[str]:
    """Return the spans whose parent is missing, but for the incident itself."""
    known = {span["spanID"] for span in trace["spans"]}
    return [
        span["operationName"]
        for span in trace["spans"]
        if any(reference["spanID"] not in known for reference in span["references"])
    ]


@contextmanager
def running(folder: Path, environ: Mapping[str, str], *, rate: int = 200) -> Iterator[Running]:
    """Bring the cluster up, with everything that looks at it; take it down in the end."""
    clock = SystemClock()
    composed = Composed.prepare(folder, environ, rate=rate)
    seeing = Seeing(composed=composed)
    urgent = composed.urgent()

    def started(service: str) -> None:
        seeing.note(service)
        # What is measured is the cluster, and not what else this machine does meanwhile.
        prefer(composed.pid(service), URGENT if service in urgent else PREFERRED)

    containers = Containers(composed=composed, clock=clock, started=started)
    found = Running(composed=composed, containers=containers, seeing=seeing, clock=clock)
    try:
        containers.watch()
        composed.compose("up", "--detach")
        composed.tie()
        seeing.begin()
        yield found
    finally:
        containers.close()
        seeing.end()
        composed.compose("down", "--volumes", "--timeout", "5")
        composed.close()
        prefer_none()
