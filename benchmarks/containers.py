"""How soon evidence of a container's death is there: `python -m benchmarks.containers [--count N]`.

The process in a container is killed from outside its engine, as by a crash. An observer, with the
gate between it and the engine, looks after an instance that goes on answering, so that only the
engine can tell. Two spans: until the engine stamped its `die` event, and from there to evidence on
the bus, which is all our own: gate, listening thread, loop, decision. Needs an engine, root (to
kill a container's process) and busybox; makes one image and one container, and removes them.
"""

import argparse
import asyncio
import io
import os
import shutil
import signal
import statistics
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import Any

import docker

from benchmarks import machine
from benchmarks.parts import table
from shared.cluster import Cluster, Contained
from shared.messages.health import Evidence, Grade, Verdict
from tests.integration.docker.gates import gate
from tests.integration.health_probe.instances import Instance, answers
from tests.integration.health_probe.observation import Observation, one_service

NAME = f"equipoise-bench-{os.getpid()}"
IMAGE = f"{NAME}:1"
SOCKET = Path("/var/run/docker.sock")
COUNT = 100
FOR_A_P99 = 100  # deaths: of fewer, it is the largest
WITHIN_S = 60
NANOSECONDS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Death:
    """When what was known of one death, in nanoseconds of the wall's clock."""

    killed_at: int
    stamped_at: int
    said_at: int

    @property
    def spans_ms(self) -> tuple[float, float, float]:
        """Return what the engine took, what we took, and both."""
        marks = (
            self.stamped_at - self.killed_at,
            self.said_at - self.stamped_at,
            self.said_at - self.killed_at,
        )
        engine, ours, both = (each / NANOSECONDS_PER_MS for each in marks)
        return engine, ours, both


@contextmanager
def image(client: Any) -> Iterator[None]:  # noqa: ANN401 - the library has no types
    """Make an image of one static program."""
    busybox = shutil.which("busybox")
    if busybox is None:
        sys.exit("benchmarks.containers: busybox is not installed (busybox-static)")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(Path(busybox).resolve(), "busybox")
    repository, tag = IMAGE.split(":")
    client.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)
    try:
        yield
    finally:
        client.remove_image(IMAGE, force=True)


@contextmanager
def container(client: Any) -> Iterator[None]:  # noqa: ANN401
    """Make a container that sleeps; removed with the block."""
    host = client.create_host_config(network_mode="none")
    client.create_container(IMAGE, ["/busybox", "sleep", "86400"], name=NAME, host_config=host)
    try:
        yield
    finally:
        client.remove_container(NAME, force=True)


def stamps(client: Any, found: list[int]) -> None:  # noqa: ANN401
    """Note the engine's own stamp of every death."""
    events = client.events(filters={"container": [NAME], "event": ["die"]}, decode=True)
    found.extend(int(event["timeNano"]) for event in events)


def observed(port: int) -> Cluster:
    """Return a cluster whose one instance is said to run in the container."""
    cluster = one_service(port)
    shop = replace(cluster.services["shop"], docker=Contained(container=NAME))
    return replace(cluster, services={"shop": shop})


def healthy(said: Evidence) -> bool:
    """Whether an instance is well again."""
    return said.verdict is Verdict.HEALTHY


def died(said: Evidence) -> bool:
    """Whether an engine's word counts against it."""
    return said.grade is Grade.CONCLUSIVE


async def measure(client: Any, gated: Path, count: int) -> list[Death]:  # noqa: ANN401
    """Kill it again and again."""
    found: list[int] = []
    deaths: list[Death] = []
    threading.Thread(target=stamps, args=(client, found), daemon=True).start()
    async with Instance(answers()) as instance, Observation(observed(instance.port)) as seen:
        seen.shell.ask_engine(gated, "a")
        for number in range(count):
            since = len(seen.said)
            await asyncio.to_thread(client.start, NAME)
            await seen.until(healthy, since=0 if number == 0 else since)
            await seen.until_true(lambda: not any(each.failure for each in seen.shell.checks()))
            state = await asyncio.to_thread(client.inspect_container, NAME)
            since = len(seen.said)
            killed_at = time_ns()
            os.kill(state["State"]["Pid"], signal.SIGKILL)
            await seen.until(died, since=since)
            said_at = time_ns()
            await seen.until_true(lambda number=number: len(found) > number)  # type: ignore[misc]
            deaths.append(Death(killed_at, found[number], said_at))
    return deaths


def report(deaths: Sequence[Death]) -> str:
    """Return the table."""
    rows = []
    words = ("the engine, until it stamped `die`", "ours, from there to evidence", "together")
    for what, spans in zip(
        words, zip(*(each.spans_ms for each in deaths), strict=True), strict=True
    ):
        ordered = sorted(spans)
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        figures = (ordered[0], statistics.median(ordered), p99)
        rows.append((what, *(f"{figure:.1f}" for figure in figures)))
    last = "p99" if len(deaths) >= FOR_A_P99 else "largest"
    return table(("kill to evidence, ms", "min", "median", last), rows)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.containers", allow_abbrev=False)
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="deaths")
    options = parser.parse_args(arguments)
    load = machine.load()
    client = docker.APIClient(base_url=f"unix://{SOCKET}", version="auto", timeout=WITHIN_S)
    with (
        closing(client),
        tempfile.TemporaryDirectory() as folder,
        image(client),
        container(client),
        gate(SOCKET, Path(folder) / "gate.sock", NAME) as gated,
    ):
        deaths = asyncio.run(measure(client, gated, options.count))
        engine = client.version()["Version"]
    print(report(deaths))
    print(
        f"\n{len(deaths)} deaths, Docker {engine}, {machine.description()}, load {load:.1f} before"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
