"""The cluster of docker-compose.yml on an engine: brought up, asked, and taken down again.

The file is used as it stands. By its own variables the containers get the same cluster file with
shorter hold-downs (the sandbox's: drills play the same things again and again), and free ports.
"""

import ipaddress
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml

from services.sandbox.drills.console import Console
from services.sandbox.network import WITNESS
from services.sandbox.parts import CLIENT_PLAN
from shared.cluster import Cluster
from shared.settings import load

ROOT = Path(__file__).parents[2]
PROJECT = "equipoise-test"
LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
VERSION = "test"  # of the image: a tag that nobody else uses
CONFIGURED = "deploy/compose/equipoise.yaml"
CLUSTER_FILE = "equipoise.yaml"
CLIENT = "client"
# What users get is longer, so that nothing swings; its length is no matter of the engine's.
POLICY = {
    "after": {"service": "1s", "node": "1s"},
    "ramp": "1s",
    "drain": "1s",
    "moves": "1000 per 10m",
    "forget": "100ms",
}
COMPOSE_WITHIN_S = 120
LOG_LINES = 40

Inspected = Mapping[str, Any]


class ComposeError(Exception):
    """The cluster cannot be brought up here; the text says why."""


@dataclass(eq=False, slots=True, kw_only=True)
class Composed:
    """One cluster, known to compose by its project's name."""

    folder: Path  # of this run: what we write beside the compose file, and what we see
    environ: Mapping[str, str]  # in which `docker` finds the engine
    engine: docker.APIClient
    cluster: Cluster
    ports: Mapping[str, int]

    @classmethod
    def prepare(cls, folder: Path, environ: Mapping[str, str], *, rate: int = 200) -> "Composed":
        """Write what it needs into a folder."""
        content = yaml.safe_load((ROOT / CONFIGURED).read_text())
        content["policy"] = {**content.get("policy", {}), **POLICY}
        for service in content["services"].values():
            service["identity"]["every"] = "1s"
        (folder / CLUSTER_FILE).write_text(yaml.safe_dump(content, sort_keys=False))
        shutil.copy(ROOT / "deploy/compose/client.json", folder / CLIENT_PLAN)
        report = load.examine(folder / CLUSTER_FILE, {})
        assert report.settings is not None, report.text()
        ports = {"CONSOLE_PORT": free_port(), "JAEGER_PORT": free_port()}
        engine = docker.APIClient(base_url=environ.get("DOCKER_HOST"), version="auto", timeout=60)
        told = {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "EQUIPOISE_VERSION": VERSION,
            "EQUIPOISE_FILE": str(folder / CLUSTER_FILE),
            "CLIENT_RATE": str(rate),
            **{name: str(port) for name, port in ports.items()},
        }
        return cls(
            folder=folder,
            environ={**environ, **told},
            engine=engine,
            cluster=report.settings.cluster,
            ports=ports,
        )

    def _services(self) -> Mapping[str, Inspected]:
        """Return what the compose file says, as compose reads it."""
        said = self._run("config", "--format", "json")
        found: Mapping[str, Inspected] = json.loads(said)["services"]
        return found

    def urgent(self) -> frozenset[str]:
        """Return those that the compose file wants to be run before others."""
        services = self._services()
        return frozenset(x for x, said in services.items() if "rtprio" in said.get("ulimits", {}))

    def compose(self, *words: str) -> str:
        """Let compose do something, with the client as part of the cluster."""
        return self._run("--profile", "demo", *words)

    def restart_all(self) -> str:
        """Let compose restart all but the client, which goes on asking."""
        return self._run("restart", "--timeout", "5")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            ("docker", "compose", "--env-file", os.devnull, *words),
            cwd=ROOT,
            env=dict(self.environ),
            capture_output=True,
            timeout=COMPOSE_WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace")[-3_000:]
            raise ComposeError(
                f"docker compose {' '.join(words)} ended with {done.returncode}:\n{said}"
            )
        return done.stdout.decode()

    def containers(self) -> dict[str, str]:
        """Return the ids of the containers there are, by the name of their service."""
        found = self.engine.containers(all=True, filters={"label": f"{LABEL}={PROJECT}"})
        return {each["Labels"][SERVICE_LABEL]: each["Id"] for each in found}

    def inspect(self, service: str) -> Inspected:
        """Return what the engine knows of a container."""
        found: Inspected = self.engine.inspect_container(self.containers()[service])
        return found

    def pid(self, service: str) -> int:
        """Return the first process of a container; 0 where it does not run."""
        return int(self.inspect(service)["State"]["Pid"])

    def tie(self) -> None:
        """Put the sockets of all members, and the client's records, where drills look for them."""
        for member in (*self.cluster.nodes, WITNESS):
            mounted = self.engine.inspect_volume(f"{PROJECT}_{member}-run")["Mountpoint"]
            link(self.folder / member, Path(mounted))
        link(self.folder / "requests.bin", Path(f"/proc/{self.pid(CLIENT)}/root/tmp/requests.bin"))

    def console(self) -> Console:
        """Return the witness's console: no drill hits it, but for the moment of its own turn."""
        return Console(self.folder / WITNESS / "api.sock")

    def logs(self, since: int) -> Iterator[tuple[str, str]]:
        """Tell what each container said since a moment (seconds since 1970)."""
        for service, found in sorted(self.containers().items()):
            with suppress(docker.errors.APIError):
                said = self.engine.logs(found, since=since, timestamps=False)
                yield service, said.decode("utf-8", "replace")

    def close(self) -> None:
        """Let go of the engine."""
        self.engine.close()


def link(name: Path, to: Path) -> None:
    """Make a symbolic link, in place of one that may be there."""
    new = name.with_name(f"{name.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(to)
    new.replace(name)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def remove(environ: Mapping[str, str]) -> None:
    """Take away whatever carries the project's label, of this run or of one that was killed."""
    label = f"label={LABEL}={PROJECT}"

    def ids(*listing: str) -> Sequence[str]:
        asked = ("docker", *listing, "--quiet", "--filter", label)
        done = subprocess.run(asked, env=dict(environ), capture_output=True, check=False)
        return done.stdout.decode().split()

    # What is paused cannot be killed by every engine.
    for listing, ending in (
        (("ps", "--filter", "status=paused"), ("unpause",)),
        (("ps", "--all"), ("rm", "--force", "--volumes")),
        (("network", "ls"), ("network", "rm")),
        (("volume", "ls"), ("volume", "rm", "--force")),
    ):
        if found := ids(*listing):
            subprocess.run(
                ("docker", *ending, *found), env=dict(environ), capture_output=True, check=False
            )


def taken(environ: Mapping[str, str]) -> str | None:
    """Say who has the addresses that the compose file wants; None: nobody."""
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    wanted = ipaddress.ip_network(file["networks"]["cluster"]["ipam"]["config"][0]["subnet"])
    engine = docker.APIClient(base_url=environ.get("DOCKER_HOST"), version="auto")
    try:
        for network in engine.networks():
            for each in (network["IPAM"] or {}).get("Config") or ():
                found = ipaddress.ip_network(each["Subnet"], strict=False)
                if found.version == wanted.version and found.overlaps(wanted):
                    return f"the engine's network {network['Name']} has {found}"
    finally:
        engine.close()
    return None


def raises_limits(environ: Mapping[str, str], image: str) -> bool:
    """Whether this engine may start a container with a higher priority than usual."""
    command = ("docker", "run", "--rm", "--network=none", "--ulimit=rtprio=1", "--entrypoint=true")
    done = subprocess.run((*command, image), env=dict(environ), capture_output=True, check=False)
    return done.returncode == 0
