"""A real Docker engine behaves as the fake one, and what only a real one can show.

Runs where an engine answers, and makes containers there.

The socket is that of DOCKER_HOST (unix://…) or /var/run/docker.sock. The containers' image is made
of one static busybox, so that nothing is pulled.
"""

import asyncio
import io
import json
import os
import shutil
import socket as sockets
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound, NotFound

from services.arbiter.core.situation import alarms
from services.health_probe.core import container
from services.health_probe.core.container import Phase
from tests.integration.docker.behaviour import EngineBehaviour
from tests.integration.docker.gates import HOSTILE, REFUSALS, gate, get, hostile, said
from tests.integration.docker.grounds import NAME, OTHER, WITHIN_S, Ear, listening
from tests.integration.docker.relays import relay
from tests.unit.arbiter.play import Play

SOCKET = Path(os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock")
BUSYBOX = shutil.which("busybox")
IMAGE = f"{NAME}:stand-in"
SECRET = "tops3cret"
SLEEPS = ("/busybox", "sleep", "600")
TENTH_S = 100_000_000  # in nanoseconds, as the engine counts
MEMORY = "8m"


def _answers() -> bool:
    try:
        with sockets.socket(sockets.AF_UNIX) as trial:
            trial.settimeout(2)
            trial.connect(str(SOCKET))
    except OSError:
        return False
    return True


pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not _answers(), reason=f"no Docker engine answers at {SOCKET}"),
    pytest.mark.skipif(BUSYBOX is None, reason="busybox is not installed (busybox-static)"),
]


@dataclass
class RealContainers:
    """Containers that sleep, unless told otherwise."""

    client: Any

    def run(
        self, name: str, command: tuple[str, ...] = SLEEPS, *, check: Any = None, **more: Any
    ) -> None:
        self.client.create_container(
            IMAGE,
            list(command),
            name=name,
            environment={"POSTGRES_PASSWORD": SECRET},
            labels={"com.example.token": SECRET},
            healthcheck=check,
            host_config=self.client.create_host_config(network_mode="none", **more),
        )
        self.client.start(name)

    def start(self, name: str) -> None:
        self.client.start(name)

    def kill(self, name: str) -> None:
        self.client.kill(name)
        self.client.wait(name, timeout=20)

    def pause(self, name: str) -> None:
        self.client.pause(name)

    def unpause(self, name: str) -> None:
        self.client.unpause(name)

    def remove(self, name: str) -> None:
        self.client.remove_container(name, force=True)

    def put(self, name: str, file: str) -> None:
        """Put an empty file at the root of one."""
        self.client.put_archive(name, "/", _packed({file: b""}))

    def process(self, name: str) -> tuple[int, str]:
        """Return which process runs in one, and since when."""
        state = self.client.inspect_container(name)["State"]
        return state["Pid"], state["StartedAt"]

    def clear(self) -> None:
        for name in (NAME, OTHER):
            try:
                self.remove(name)
            except NotFound:
                continue


def _packed(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _make_image(client: Any, version: str) -> None:
    """Give the tag to an image that differs by its version."""
    assert BUSYBOX is not None
    files = {"busybox": Path(BUSYBOX).resolve().read_bytes(), "version": version.encode()}
    repository, tag = IMAGE.split(":")
    client.import_image_from_data(_packed(files), repository=repository, tag=tag)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    found = docker.APIClient(base_url=f"unix://{SOCKET}", version="auto", timeout=60)
    _make_image(found, "1")
    first = found.inspect_image(IMAGE)["Id"]
    yield found
    found.remove_image(IMAGE, force=True)
    with suppress(ImageNotFound):  # a test may have given its tag to another
        found.remove_image(first, force=True)
    found.close()


@pytest.fixture
def containers(client: Any) -> Iterator[RealContainers]:
    found = RealContainers(client)
    found.clear()
    yield found
    found.clear()


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("gate") / "gate.sock"
    with gate(SOCKET, place, NAME, "no-such-container") as found:
        yield found


@pytest.fixture
def socket() -> Path:
    return SOCKET


class TestARealEngine(EngineBehaviour):
    """As every engine."""


class TestARealEngineBehindTheGate(EngineBehaviour):
    """As every engine."""

    @pytest.fixture
    def socket(self, gated: Path) -> Path:
        return gated


def test_its_own_health_check_is_told_and_its_mending_too(
    containers: RealContainers, gated: Path
) -> None:
    async def play() -> None:
        with listening(gated) as ear:
            await ear.until(lambda: ear.newest.unhealthy)
            assert f"container {NAME} is unhealthy by its own check" in ear.newest.detail
            await asyncio.to_thread(containers.put, NAME, "well")
            await ear.until(lambda: ear.newest.phase is Phase.RUNNING and not ear.newest.unhealthy)

    test = ["CMD", "/busybox", "test", "-e", "/well"]
    check = {"test": test, "interval": TENTH_S, "timeout": 100 * TENTH_S, "retries": 2}
    containers.run(NAME, check=check)
    asyncio.run(play())


def test_a_loop_of_restarts_is_told_with_their_number(
    containers: RealContainers, gated: Path
) -> None:
    def counted(ear: Ear) -> bool:
        return any(
            each.phase is Phase.STOPPED and (each.restarts or 0) >= 1 for each in ear.containers
        )

    async def play() -> None:
        with listening(gated) as ear:
            await ear.until(lambda: counted(ear))
            stopped = next(
                each for each in ear.containers if each.phase is Phase.STOPPED and each.restarts
            )
            words = container.outcome(stopped).detail
            assert "exit code 3" in words
            assert f"restarted {stopped.restarts} times by the engine" in words

    containers.run(NAME, ("/busybox", "sh", "-c", "exit 3"), restart_policy={"Name": "always"})
    asyncio.run(play())


def test_a_death_for_want_of_memory_is_told_as_such(
    containers: RealContainers, gated: Path
) -> None:
    async def play() -> None:
        with listening(gated) as ear:
            await ear.until(lambda: "ran out of memory" in ear.newest.detail)
            assert ear.newest.phase is Phase.STOPPED
            assert "exit code 137 (SIGKILL)" in ear.newest.detail

    containers.run(NAME, ("/busybox", "tail", "/dev/zero"), mem_limit=MEMORY, memswap_limit=MEMORY)
    asyncio.run(play())


def test_one_made_anew_under_its_name_is_known_again_and_two_images_of_a_tag_do_not_match(
    containers: RealContainers, gated: Path
) -> None:
    images: list[str] = []

    async def play() -> None:
        with listening(gated) as ear:
            await ear.until_phase(Phase.RUNNING)
            images.append(str(ear.newest.image))
            await asyncio.to_thread(containers.remove, NAME)
            await ear.until(lambda: "there is no container named" in ear.newest.trouble)
            assert ear.newest.phase is Phase.UNKNOWN  # what is gone proves nothing
            await asyncio.to_thread(_make_image, containers.client, "2")
            await asyncio.to_thread(containers.run, NAME)
            await ear.until_phase(Phase.RUNNING)
            images.append(str(ear.newest.image))

    containers.run(NAME)
    asyncio.run(play())
    old, new = images
    assert old != new
    stage = Play()
    stage.identities = {("shop", "node-a"): old, ("shop", "node-b"): new}
    stage.pass_by(2_000_000)
    words = f"shop does not match: node-a has {old}, node-b has {new}"
    assert words in alarms(stage.state, stage.now)


def test_an_engine_that_is_away_leaves_nothing_known_and_is_not_stormed(
    containers: RealContainers, tmp_path: Path
) -> None:
    async def play() -> None:
        with (
            relay(tmp_path / "engine.sock", SOCKET) as between,
            gate(between.path, tmp_path / "gate.sock") as place,
            listening(place) as ear,
        ):
            await ear.until_phase(Phase.RUNNING)
            await ear.until(lambda: ear.troubles == [""])
            came, loop = between.came, asyncio.get_running_loop()
            since = loop.time()
            between.cut()
            await ear.until(lambda: "502" in ear.troubles[-1])
            await ear.until_phase(Phase.UNKNOWN)
            await ear.until(lambda: between.came >= came + 3)  # it goes on trying
            # Two threads, each of them once a second, each with a question or two.
            assert between.came - came <= 4 * (loop.time() - since + 2)
            between.join()
            await ear.until(lambda: ear.troubles[-1] == "")
            await ear.until_phase(Phase.RUNNING)
            assert all(each.phase is not Phase.STOPPED for each in ear.containers)

    containers.run(NAME)
    asyncio.run(play())


def test_the_oldest_and_the_newest_version_of_the_interface_say_the_same(
    containers: RealContainers, gated: Path
) -> None:
    containers.run(NAME)
    versions = _content(said(gated, get("/version")))
    found = [
        container.seen(NAME, _content(said(gated, get(f"/v{version}/containers/{NAME}/json"))))
        for version in (versions["MinAPIVersion"], versions["ApiVersion"])
    ]
    assert found[0] == found[1]
    assert found[0].phase is Phase.RUNNING


def test_nothing_hostile_moves_a_container_and_no_secret_of_it_is_told(
    containers: RealContainers, gated: Path
) -> None:
    containers.run(NAME)
    containers.run(OTHER)
    before = [containers.process(name) for name in (NAME, OTHER)]
    for what in HOSTILE:
        assert said(gated, hostile(what))[:12] in REFUSALS, what
    assert [containers.process(name) for name in (NAME, OTHER)] == before
    look = said(gated, get(f"/containers/{NAME}/json"))
    assert b'"running"' in look
    assert SECRET in json.dumps(containers.client.inspect_container(NAME))  # it was there to tell
    assert SECRET.encode() not in look


def test_events_tell_no_label_and_no_other_container(
    containers: RealContainers, gated: Path
) -> None:
    containers.run(NAME)
    containers.run(OTHER)
    with sockets.socket(sockets.AF_UNIX) as ear:
        ear.settimeout(WITHIN_S)
        ear.connect(str(gated))
        ear.sendall(get("/events"))
        heard = ear.recv(65_536)  # its head: from here on events come
        containers.kill(OTHER)
        containers.pause(NAME)
        while b'"pause"' not in heard:
            part = ear.recv(65_536)
            assert part, heard
            heard += part
    assert SECRET.encode() not in heard
    assert OTHER.encode() not in heard


def _content(answer: bytes) -> dict[str, Any]:
    found = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert isinstance(found, dict)
    return found
