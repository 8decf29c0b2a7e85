"""What a person can ask of the sandbox, as one value that crosses from launcher to inner."""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from services.sandbox.drills.names import Name
from shared.errors import ConfigError

NODES_MIN = 2  # one node has nothing to fail over to
NODES_MAX = 10  # clusters have 2 to 10 nodes, and each costs about ten processes here
RATE_MAX = 10_000  # requests/s; one client process does not keep a schedule beyond it
CAPACITY_MAX = 10_000
REPEAT_MAX = 10_000  # half a day of drills
NAME_MAX = 20  # it is part of the paths of unix sockets, which are short
NAME = re.compile(rf"[a-z][a-z0-9-]{{0,{NAME_MAX - 1}}}")


class Extent(StrEnum):
    """How much of the cluster runs."""

    EVERYTHING = "everything"
    INFRASTRUCTURE = "infrastructure"  # no service of ours: HAProxy balances by itself


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class Profile(StrEnum):
    """How soon silence is acted on: what `heartbeat.profile` of equipoise.yaml says."""

    DEFAULT = "default"
    FAST = "fast"


class Weak(StrEnum):
    """A safety that is taken out, to prove that its lack is seen."""

    NO_GUARD = "no-guard"  # the kernel is told nothing of leases
    NO_LEASE_WAIT = "no-lease-wait"  # VIPs are given away before the old lease has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A sandbox as it was asked for."""

    name: str | None = None  # None: the first free one of sandbox, sandbox-2, …
    nodes: int = 2
    capacities: tuple[int, ...] = ()  # of the nodes in order; those not named have 100
    rate: int = 200
    haproxy: Path | None = None  # None: the one from the wheel
    otlp: str | None = None
    keep_logs: Path | None = None
    ipv6: bool = False
    extent: Extent = Extent.EVERYTHING
    profile: Profile = Profile.DEFAULT
    weak: Weak | None = None
    guests: Path | None = None  # what takes care of the nodes where Equipoise does not
    drills: tuple[Name, ...] = ()
    once: bool = False  # play drills (all, if none is named), and end
    repeat: int = 1
    output: Output = Output.TABLE

    @property
    def plays(self) -> tuple[Name, ...]:
        """The drills to play."""
        return tuple(Name) if self.once and not self.drills else self.drills

    def __post_init__(self) -> None:
        wrong = [text for right, text in self._judgements() if not right]
        if wrong:
            raise ConfigError("; ".join(wrong))

    def _judgements(self) -> Iterator[tuple[bool, str]]:
        """Return what must hold, each with what is said if it does not."""
        yield (
            self.name is None or NAME.fullmatch(self.name) is not None,
            (
                f"--name is {self.name!r}; it must have {NAME_MAX} characters at most, "
                "of a-z, 0-9 and '-', and begin with a letter"
            ),
        )
        yield (
            NODES_MIN <= self.nodes <= NODES_MAX,
            f"--nodes is {self.nodes}; it must be from {NODES_MIN} to {NODES_MAX}",
        )
        yield (
            len(self.capacities) <= self.nodes,
            f"--capacities names {len(self.capacities)} nodes; there are {self.nodes}",
        )
        yield (
            all(1 <= capacity <= CAPACITY_MAX for capacity in self.capacities),
            f"--capacities must be from 1 to {CAPACITY_MAX} each",
        )
        yield (
            0 <= self.rate <= RATE_MAX,
            f"--rate is {self.rate}; it must be from 0 (no load) to {RATE_MAX} requests/s",
        )
        yield (
            self.otlp is None or _is_plain_http(self.otlp),
            (
                f"--otlp is {self.otlp!r}; it must be http://HOST:PORT, because the sandbox relays "
                "bytes and so cannot stand in for a host with a certificate"
            ),
        )
        yield (
            1 <= self.repeat <= REPEAT_MAX,
            f"--repeat is {self.repeat}; it must be from 1 to {REPEAT_MAX}",
        )
        yield (
            bool(self.plays) or (self.repeat == 1 and self.output is Output.TABLE),
            "--repeat and -o are about drills; name some with --drill, or all with --once",
        )
        yield (
            self.guests is None or self.extent is Extent.INFRASTRUCTURE,
            "--guests take Equipoise's place: they need --only infrastructure",
        )
        yield (
            not self.plays or (self.rate > 0 and self.extent is Extent.EVERYTHING),
            "drills need the whole cluster and clients: no --only, and a --rate of 1 or more",
        )


def _is_plain_http(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is no number
        return False


def _whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; wrong usage ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="equipoise sandbox",
        description="Run a whole cluster on this machine, from real parts, until Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument("--name", help="of the sandbox and its cluster (default: sandbox)")
    parser.add_argument("--nodes", type=int, default=2, help="how many (default: 2)")
    parser.add_argument(
        "--capacities",
        type=_whole_numbers,
        default=(),
        metavar="N,N…",
        help="of the nodes, in order (default: 100 each)",
    )
    parser.add_argument(
        "--rate", type=int, default=200, help="requests/s of the client; 0 for none (default: 200)"
    )
    parser.add_argument(
        "--haproxy",
        type=Path,
        metavar="PATH",
        help="another HAProxy than the wheel's, such as /usr/sbin/haproxy",
    )
    parser.add_argument(
        "--otlp", metavar="URL", help="where traces go, such as http://127.0.0.1:4318"
    )
    parser.add_argument(
        "--keep-logs", type=Path, metavar="DIR", help="copy every process's log there at the end"
    )
    parser.add_argument(
        "--only",
        dest="extent",
        choices=[Extent.INFRASTRUCTURE.value],
        default=Extent.EVERYTHING.value,
        help="nats-server, HAProxy, demo services and client, without Equipoise",
    )
    parser.add_argument(
        "--guests",
        type=Path,
        metavar="FILE",
        help="with --only: others that take care of the nodes (see services/sandbox/guests.py)",
    )
    parser.add_argument(
        "--ipv6", action="store_true", help="a third virtual IP, with an IPv6 address"
    )
    parser.add_argument(
        "--profile",
        choices=[each.value for each in Profile],
        default=Profile.DEFAULT.value,
        help="how soon silence is acted on (default: default)",
    )
    parser.add_argument("--weak", choices=[each.value for each in Weak], help=argparse.SUPPRESS)
    _add_drills(parser)
    found = parser.parse_args(arguments)
    typed = {
        "extent": Extent(found.extent),
        "profile": Profile(found.profile),
        "weak": Weak(found.weak) if found.weak else None,
        "output": Output(found.output),
        "drills": tuple(Name(name) for name in found.drills),
    }
    try:
        return Options(**{**vars(found), **typed})
    except ConfigError as problem:
        parser.error(str(problem))


def _add_drills(parser: argparse.ArgumentParser) -> None:
    drills = parser.add_argument_group("drills: failures made on purpose, each proved and measured")
    drills.add_argument(
        "--drill",
        dest="drills",
        action="append",
        default=[],
        choices=[name.value for name in Name],
        metavar="NAME",
        help=f"play one (several times: several): {', '.join(Name)}",
    )
    drills.add_argument(
        "--once",
        action="store_true",
        help="end after the drills (all, if none is named); exit code 0 only if nothing was lost",
    )
    drills.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="play each drill so often (default: 1)"
    )
    drills.add_argument(
        "-o",
        "--output",
        choices=[output.value for output in Output],
        default=Output.TABLE.value,
        help="how results are printed; with json, talk goes to standard error",
    )
