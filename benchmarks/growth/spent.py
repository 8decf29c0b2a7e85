"""What processes spend, and what a nats-server carries, from outside."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.request import urlopen

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB = 1024
COUNTED_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Carried:
    """What a server has carried so far."""

    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int

    def since(self, before: "Carried", seconds: float) -> "Carried":
        """Return what it carried in a second."""
        return Carried(
            *(
                round((getattr(self, name) - getattr(before, name)) / seconds)
                for name in Carried.__slots__
            )
        )


def _counted(counted_at: str) -> dict[str, int]:
    with urlopen(f"{counted_at}/varz", timeout=COUNTED_WITHIN_S) as answer:
        found: dict[str, int] = json.loads(answer.read())
    return found


def connections(counted_at: str) -> int:
    """Return how many connections a server has."""
    return _counted(counted_at)["connections"]


def carried(counted_at: str) -> Carried:
    """Ask a server what it has carried."""
    found = _counted(counted_at)
    return Carried(found["in_msgs"], found["out_msgs"], found["in_bytes"], found["out_bytes"])


def busy_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S  # user and system: man 5 proc


def pss_mib(pid: int) -> float:
    """Return a process's own memory, and its part of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / KIB
    return 0.0


class Watch:
    """Watches some processes from now on."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._begun = monotonic()
        self._before = {name: busy_s(pid) for name, pid in pids.items()}

    @property
    def seconds(self) -> float:
        """For how long it has watched."""
        return monotonic() - self._begun

    def percent(self) -> dict[str, float]:
        """Return the share of a core that each has used."""
        return {
            name: 100 * (busy_s(pid) - self._before[name]) / self.seconds
            for name, pid in self._pids.items()
        }
