"""What was measured, play by play: a file of JSON lines for each stack in docs/benchmarks/peers.

A *turn* is a stack that was started once: on which machine, of which commit. What follows it in
the file belongs to it. Every line is written when it is known, so that whoever is interrupted loses
no more than the play under way, and goes on from there.

    {"turn": …}    begun
    {"play": …}    a fault, played once
    {"error": …}   a play that is no measurement, and why
    {"idle": …}    what its programs cost while nothing happened
    {"skipped": …} it could not be started, and why
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.idle import Cost
from benchmarks.parts import PICTURES
from benchmarks.peers.faults import Fault
from benchmarks.sandboxes import ROOT

FOLDER = "peers"
MEASURED = ("benchmarks", "services", "shared", "pyproject.toml", "requirements.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What was seen of one play; times in milliseconds."""

    fault: Fault
    node: str
    number: int  # of the stack's plays of this fault: the seed and it say the moment
    waited_ms: float  # before the fault, drawn
    load: float  # of the machine, when it began
    took_s: float
    coped: bool  # clients noticed nothing any more while the fault lasted
    lasted_ms: float
    safe_sent: int
    safe_failed: int  # of those that were due before the fault's end
    posts_sent: int
    posts_failed: int  # likewise
    posts_repeated: int
    slowest_ms: float
    outage_ms: float
    dark_ms: float | None  # of the VIP that fared worst; None where none is to move
    after_failed: int  # requests of both kinds that were due after the fault's end
    after_dark_ms: float | None
    held_twice_ms: float | None  # by two kernels' word; None: not observed
    answered_twice_ms: float | None  # by two, on the clients' network
    restored_ms: float | None  # after the fault's end; None: not in time
    client_late_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A play that is no measurement."""

    fault: Fault
    node: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which a turn was measured."""

    commit: str
    machine: str
    rate: int
    seed: int
    began: str  # UTC
    load: float
    versions: Mapping[str, str] = field(default_factory=dict)  # of others' programs
    start_s: float = 0.0  # until it was fit

    @property
    def key(self) -> tuple[str, str, int]:
        """What must be the same for figures to be one measurement."""
        return self.commit, self.machine, self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A stack that was started once, and what came of it."""

    conditions: Conditions
    plays: list[Played] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    idles: list[Sequence[Cost]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Measured:
    """All that is known of one stack."""

    turns: list[Turn] = field(default_factory=list)
    skipped: str | None = None  # why it could not be started, when it was last tried

    @property
    def plays(self) -> list[Played]:
        """Every play of every turn."""
        return [play for turn in self.turns for play in turn.plays]

    @property
    def problems(self) -> list[Problem]:
        """Every play that is no measurement."""
        return [problem for turn in self.turns for problem in turn.problems]

    @property
    def idles(self) -> list[Sequence[Cost]]:
        """What its programs cost, each time that it was measured."""
        return [costs for turn in self.turns for costs in turn.idles]

    def of(self, fault: Fault) -> list[Played]:
        """Return the plays of a fault."""
        return [play for play in self.plays if play.fault is fault]


class Writer:
    """Appends to the file of one stack: each line is whole or not there."""

    def __init__(self, folder: Path, name: str) -> None:
        self._place = place(folder, name)
        self._place.parent.mkdir(parents=True, exist_ok=True)

    def turn(self, conditions: Conditions) -> None:
        """Begin a turn."""
        self._add("turn", asdict(conditions))

    def play(self, played: Played) -> None:
        """Keep a play."""
        rounded = {
            key: round(value, 1) if isinstance(value, float) else value
            for key, value in asdict(played).items()
        }
        self._add("play", rounded)

    def problem(self, problem: Problem) -> None:
        """Keep a play that is no measurement."""
        self._add("error", asdict(problem))

    def idle(self, costs: Sequence[Cost]) -> None:
        """Keep what its programs cost."""
        self._add(
            "idle",
            [[x.program, x.processes, round(x.cpu_percent, 2), round(x.pss_mib, 1)] for x in costs],
        )

    def skipped(self, why: str) -> None:
        """Say why it could not be started."""
        self._add("skipped", why)

    def forget(self) -> None:
        """Begin anew."""
        self._place.unlink(missing_ok=True)

    def _add(self, kind: str, content: object) -> None:
        line = json.dumps({kind: content}, ensure_ascii=False, separators=(",", ":")) + "\n"
        file = os.open(self._place, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        try:
            _cut_torn(file)
            os.write(file, line.encode())
        finally:
            os.close(file)


def _cut_torn(file: int) -> None:
    """Take off what a writer that was interrupted left behind its last whole line."""
    size = os.fstat(file).st_size
    content = os.pread(file, size, 0)
    os.ftruncate(file, content.rfind(b"\n") + 1)


def place(folder: Path, name: str) -> Path:
    """Return where the file of a stack is, beside the documents."""
    return folder / PICTURES / FOLDER / f"{name}.jsonl"


def read(folder: Path, name: str) -> Measured:
    """Return what is known of a stack."""
    found, path = Measured(), place(folder, name)
    if not path.exists():
        return found
    text, _, _ = path.read_text().rpartition("\n")
    for line in text.splitlines():
        ((kind, content),) = json.loads(line).items()
        _take(found, kind, content)
    return found


def _take(found: Measured, kind: str, content: Any) -> None:  # noqa: ANN401 - as JSON has it
    match kind:
        case "turn":
            found.skipped = None
            found.turns.append(Turn(conditions=Conditions(**content)))
        case "play":
            found.turns[-1].plays.append(Played(**{**content, "fault": Fault(content["fault"])}))
        case "error":
            fault = Fault(content["fault"])
            found.turns[-1].problems.append(Problem(**{**content, "fault": fault}))
        case "idle":
            found.turns[-1].idles.append(list(_costs(content)))
        case "skipped":
            found.skipped = content
        case _:
            raise AssertionError(f"a line of kind {kind}")


def _costs(rows: Sequence[Sequence[Any]]) -> Iterator[Cost]:
    for program, processes, cpu, pss in rows:
        yield Cost(program=program, processes=processes, cpu_percent=cpu, pss_mib=pss)


def commit() -> str:
    """Return the commit that last touched what is measured; `+` where that was changed since."""
    last = _git("log", "-1", "--format=%h", "--", *MEASURED)
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED)
    return f"{last or 'unknown'}{'+' if changed else ''}"


def _git(*words: str) -> str:
    """Ask git; nothing where it knows nothing, as in a copy without history."""
    asked = subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    return asked.stdout.strip()
