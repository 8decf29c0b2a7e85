"""What was measured of a stack, remembered until it is measured again: docs/benchmarks/peers.json.

The file has every play, so that whoever doubts a median can look at what it is the median of.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.idle import Cost
from benchmarks.parts import PICTURES
from benchmarks.peers.faults import Fault
from benchmarks.peers.play import Played
from benchmarks.peers.stacks import Stack

FILE = "peers.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One stack, and under which conditions."""

    stack: Stack
    machine: str
    keepalived: str  # its version
    load: float  # average, before it began
    took_s: float
    rate: int
    count: int
    plays: Sequence[Played]
    idle_s: float
    costs: Sequence[Cost]

    def of(self, fault: Fault) -> list[Played]:
        """Return the plays of a fault."""
        return [play for play in self.plays if play.fault is fault]

    def save(self, folder: Path) -> None:
        """Remember it beside what is remembered of others."""
        known = {each.stack: each for each in remembered(folder)} | {self.stack: self}
        place = folder / PICTURES / FILE
        place.parent.mkdir(parents=True, exist_ok=True)
        ordered = [asdict(known[stack]) for stack in Stack if stack in known]
        place.write_text(json.dumps(ordered, indent=1) + "\n")


def remembered(folder: Path) -> list[Measured]:
    """Return what is remembered, in the order of stacks."""
    place = folder / PICTURES / FILE
    return [_read(each) for each in json.loads(place.read_text())] if place.exists() else []


def _read(fields: dict[str, Any]) -> Measured:
    plays = [
        Played(**{**play, "stack": Stack(play["stack"]), "fault": Fault(play["fault"])})
        for play in fields["plays"]
    ]
    costs = [Cost(**cost) for cost in fields["costs"]]
    stack = Stack(fields["stack"])
    return Measured(**{**fields, "stack": stack, "plays": plays, "costs": costs})


def version(keepalived: str) -> str:
    """Ask keepalived."""
    said = subprocess.run([keepalived, "--version"], capture_output=True, text=True, check=True)
    return (said.stderr or said.stdout).split()[1]
