"""A real Docker engine behaves as the fake one; runs where one answers, and makes containers there.

The socket is that of DOCKER_HOST (unix://…) or /var/run/docker.sock. The containers' image is made
of one static busybox, so that nothing is pulled.
"""

import io
import os
import shutil
import socket as sockets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound

from tests.integration.docker.behaviour import EngineBehaviour
from tests.integration.docker.gates import gate
from tests.integration.docker.grounds import NAME, OTHER

SOCKET = Path(os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock")
BUSYBOX = shutil.which("busybox")
IMAGE = f"{NAME}:stand-in"


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
    """Containers that sleep."""

    client: Any

    def run(self, name: str) -> None:
        self.client.create_container(IMAGE, ["/busybox", "sleep", "600"], name=name)
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

    def clear(self) -> None:
        for name in (NAME, OTHER):
            try:
                self.client.remove_container(name, force=True)
            except NotFound:
                continue


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    assert BUSYBOX is not None
    found = docker.APIClient(base_url=f"unix://{SOCKET}", version="auto", timeout=60)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(Path(BUSYBOX).resolve(), "busybox")
    repository, tag = IMAGE.split(":")
    found.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)
    yield found
    found.remove_image(IMAGE, force=True)
    found.close()


@pytest.fixture
def containers(client: Any) -> Iterator[RealContainers]:
    found = RealContainers(client)
    found.clear()
    yield found
    found.clear()


@pytest.fixture
def socket() -> Path:
    return SOCKET


class TestARealEngine(EngineBehaviour):
    """As every engine."""


class TestARealEngineBehindTheGate(EngineBehaviour):
    """As every engine."""

    @pytest.fixture
    def socket(self, tmp_path: Path) -> Iterator[Path]:
        with gate(SOCKET, tmp_path / "gate.sock", NAME, "no-such-container") as place:
            yield place
