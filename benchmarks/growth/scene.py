"""The scene of a measurement: a configuration of any size, a real server, a real arbiter."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import yaml

from benchmarks.sandboxes import ROOT
from services.sandbox.configuration import BUS_PORT, bus_file
from shared.settings import Settings
from shared.settings.load import load
from shared.urgency import PRIORITY
from tests.integration.nats_server import program as nats_server

HTTP_PORT = 8222  # where the server tells what it counted
READY_WITHIN_S = 60
VIPS_MAX = 8  # of a cluster here; more are not what nodes are added for
FILE = "equipoise.yaml"
KEY = "a key that is long enough\n"
ERRORS = ("events_dropped", "messages_lost", "message_rejected", "message_too_large")
ENDS_WITHIN_S = 5


@dataclass(frozen=True, slots=True)
class Size:
    """How large a cluster is."""

    nodes: int
    services: int

    @property
    def instances(self) -> int:
        """How many there are."""
        return self.nodes * self.services


def node_name(number: int) -> str:
    """Return a node's name."""
    return f"node-{number:03}"


def cluster_file(size: Size, server: str, name: str = "growth") -> str:
    """Return equipoise.yaml: as a person would write it, but what failed returns at once."""
    nodes = {
        node_name(k): {"address": f"10.77.{k // 200}.{k % 200 + 11}"} for k in range(size.nodes)
    }
    vips = {
        f"vip-{k}": {"address": f"10.77.9.{k + 1}/16", "home": node_name(k)}
        for k in range(min(size.nodes, VIPS_MAX))
    }
    services = {
        f"service-{k:03}": {
            "mode": "balance",
            "listen": 10_000 + k,
            "port": 20_000 + k,
            "protocol": "http",
            "probe": {"http": "/healthz"},
        }
        for k in range(size.services)
    }
    content = {
        "version": 1,
        "cluster": name,
        "key": "equipoise.key",
        "nodes": nodes,
        "witness": {"address": "127.0.0.1"},
        "bus": {"servers": [server]},
        "vips": vips,
        "services": services,
        "policy": {
            "after": {"service": "100ms", "node": "100ms"},
            "ramp": "0s",
            "drain": "0s",
            "moves": "1000 per 10m",
            "forget": "100ms",
        },
    }
    return yaml.safe_dump(content, sort_keys=False)


@dataclass(slots=True)
class Scene:
    """A folder, a server in it, and the programs that were started."""

    folder: Path
    address: str
    server: subprocess.Popen[bytes]
    programs: list[subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self.address}:{BUS_PORT}"

    @property
    def counted_at(self) -> str:
        """Where the server tells what it counted."""
        return f"http://{self.address}:{HTTP_PORT}"

    @property
    def configured(self) -> Path:
        """Where the configuration is."""
        return self.folder / FILE

    def configure(self, size: Size) -> Settings:
        """Write the configuration of a cluster, and read it as the arbiter will."""
        key = self.folder / "equipoise.key"
        key.write_text(KEY)
        key.chmod(0o600)
        self.configured.write_text(cluster_file(size, self.url))
        return load(self.configured, {"EQUIPOISE_NODE": "witness"})

    def start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a program of ours as the witness's, its log in the folder."""
        environ = {
            **os.environ,
            "EQUIPOISE_CONFIG": str(self.configured),
            "EQUIPOISE_NODE": "witness",
            "EQUIPOISE_RUN_DIR": str(self.folder),
            "EQUIPOISE_STATE_DIR": str(self.folder / "state"),
            "EQUIPOISE_LOG_FORMAT": "json",
            "EQUIPOISE_LOG_LEVEL": "info",
        }
        with self.log_of(module).open("ab") as log:
            program = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.programs.append(program)
        return program

    def log_of(self, module: str) -> Path:
        """Return where a program's log is."""
        return self.folder / f"{module.rpartition('.')[2]}.log"

    def until(self, module: str, program: subprocess.Popen[bytes], event: str = "ready") -> None:
        """Wait for a kind of line in a program's log; as supervisors do, for that it is ready."""
        begin = monotonic()
        while f'"{event}"' not in self.log_of(module).read_text():
            late = monotonic() - begin > READY_WITHIN_S
            if late or program.poll() is not None:
                raise RuntimeError(
                    f"{module} does not say {event}:\n{self.log_of(module).read_text()}"
                )
            sleep(0.02)

    def errors(self, module: str) -> dict[str, int]:
        """Return what a program's log says was lost, by the kind of line."""
        text = self.log_of(module).read_text()
        found = {name: text.count(f'"{name}"') for name in ERRORS}
        return {name: count for name, count in found.items() if count}


@contextmanager
def in_a_folder(configuration: str) -> Iterator[Path]:
    """Put a configuration, with a key, where it can be read for a moment."""
    with tempfile.TemporaryDirectory(prefix="eq-growth-") as made:
        key = Path(made) / "equipoise.key"
        key.write_text(KEY)
        key.chmod(0o600)
        place = Path(made) / FILE
        place.write_text(configuration)
        yield place


@contextmanager
def scene(*, store_mb: int = 512) -> Iterator[Scene]:
    """Start a server as the sandbox does, on a loopback address of our own; end all with it."""
    folder = Path(tempfile.mkdtemp(prefix="eq-growth-"))
    address = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
    configured = bus_file(folder / "store", address).replace("512MB", f"{store_mb}MB")
    place = folder / "nats.conf"
    place.write_text(f'{configured}http: "{address}:{HTTP_PORT}"\n')
    with (folder / "nats.log").open("ab") as log:
        command = [str(nats_server()), "--config", str(place)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    with suppress(PermissionError):  # the rank of those who wait for it, as in the sandbox
        os.sched_setscheduler(server.pid, os.SCHED_RR, os.sched_param(PRIORITY))
    made = Scene(folder, address, server, [])
    try:
        begin = monotonic()
        while b"Server is ready" not in (folder / "nats.log").read_bytes():
            if server.poll() is not None or monotonic() - begin > READY_WITHIN_S:
                raise RuntimeError(f"no server:\n{(folder / 'nats.log').read_text()}")
            sleep(0.02)
        yield made
    finally:
        for each in (*reversed(made.programs), server):
            _end(each)
        shutil.rmtree(folder, ignore_errors=True)


def _end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    try:
        program.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
