"""What every process costs while nothing happens: processor time and memory."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from benchmarks.sandboxes import running
from services.sandbox.control import SOCKET, Control

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SETTLE_S = 5  # after the start, which is not idle
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one program costs, with all processes that it started."""

    program: str
    processes: int
    cpu_percent: float  # of one core
    pss_mib: float  # its own memory, and its part of what it shares


def measure(length_s: float, *words: str) -> list[Cost]:
    """Run a sandbox without clients, and measure everything in it for a while."""
    with running("--rate", "0", *words) as folder, Control(folder / SOCKET) as control:
        sleep(SETTLE_S)
        return costs(folder, control, length_s)


def costs(folder: Path, control: Control, length_s: float) -> list[Cost]:
    """Measure everything in a running sandbox for a while."""
    programs = {sight.pid: name for name, sight in control.programs().items() if sight.pid}
    places = processes_of(folder, programs)
    before = {pid: _ticks(pid) for pid in places}
    begin = monotonic()
    sleep(length_s)
    took = monotonic() - begin
    used: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for pid, name in places.items():
        seconds = (_ticks(pid) - before[pid]) / TICKS_PER_S
        used[name].append((100 * seconds / took, pss_mib(pid)))
    return [
        Cost(
            program=name,
            processes=len(used[name]),
            cpu_percent=sum(cpu for cpu, _ in used[name]),
            pss_mib=sum(pss for _, pss in used[name]),
        )
        for name in programs.values()
    ]


def processes_of(folder: Path, programs: Mapping[int, str]) -> dict[int, str]:
    """Return our name of each process's program, by its number out here.

    The sandbox numbers its processes in a namespace of its own; the kernel tells both numbers.
    """
    found: dict[int, str] = {}
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
            environ = (status.parent / "environ").read_bytes()
        except (OSError, ValueError):
            continue  # it ended meanwhile, or is somebody else's
        inner = int(facts.get("NSpid", "0").split()[-1])
        parents[int(facts["Pid"])] = int(facts["PPid"])
        if inner in programs and f"HOME={folder}".encode() in environ.split(b"\0"):
            found[int(facts["Pid"])] = programs[inner]
    return found | {pid: found[top] for pid, top in parents.items() if top in found}


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])  # user and system, after the name: man 5 proc


def pss_mib(pid: int) -> float:
    """Return a process's own memory and its part of what it shares, in MiB; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / KIB
