"""`make bench-peers`: compare Equipoise with others on the same faults.

It goes in rounds: each starts every stack once, and plays each of its faults on each node. Every
play is kept at once, so that it can be interrupted at any time and goes on where it stood. What was
measured of another commit, machine or rate is added to only with `--continue`, which the documents
then say, or put away with `--anew`.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

from benchmarks import idle, machine
from benchmarks.__main__ import write
from benchmarks.peers import rounds, tables
from benchmarks.peers.play import Player, VoidError
from benchmarks.peers.results import Conditions, Measured, Problem, Writer, commit, read
from benchmarks.peers.rounds import Play
from benchmarks.peers.stacks import STACKS, Stack, stack
from benchmarks.sandboxes import ROOT, running
from services.sandbox.control import SOCKET, Control
from services.sandbox.drills.scene import Scene
from services.sandbox.supervisor import Stage
from shared.clock import SystemClock
from shared.errors import ConfigError, EquipoiseError
from shared.instant import SECOND

COUNT = 20  # plays of each fault on each stack
RATE = 1_000  # requests/s
SEED = 1
IDLE_S = 8.0
SETTLE_S = 2.0  # until what clients left behind is over
LOAD = "client/load"


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"peers: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What was asked for."""

    stacks: Sequence[Stack]
    count: int
    conditions: Conditions
    folder: Path
    end: float | None  # the moment after which no play is begun

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.end is not None and monotonic() >= self.end

    @property
    def tried(self) -> int:
        """How many plays were made, measurements or not."""
        return sum(len(each.plays) + len(each.problems) for each in self.known().values())

    def known(self) -> Mapping[str, Measured]:
        """Return what is measured so far."""
        return {each.name: read(self.folder, each.name) for each in self.stacks}


def go(task: Task, rounds_max: int | None) -> None:
    """Go round until all is measured, or as long as was asked for."""
    number, before = 0, -1
    while not task.is_over and number != rounds_max:
        if task.tried == before:
            say("a whole round brought nothing new: that is all there will be")
            return
        before = task.tried
        chosen = [
            each
            for each in task.stacks
            if _is_here(each, task.folder)
            and rounds.turn(each, read(task.folder, each.name), task.count)
        ]
        if not chosen:
            return
        number += 1
        for each in chosen:
            if not task.is_over:
                say(f"round {number}, {each.name}: {_outlook(task)}")
                measure(each, task)


def _outlook(task: Task) -> str:
    here = [each for each in task.stacks if each.missing is None]
    return rounds.outlook(here, task.known(), task.count)


def _is_here(stack: Stack, folder: Path) -> bool:
    """Return whether all that a stack needs is on this machine; if not, it is said and kept."""
    if stack.missing is not None and read(folder, stack.name).skipped != stack.missing:
        say(f"{stack.name} is skipped: {stack.missing}")
        Writer(folder, stack.name).skipped(stack.missing)
    return stack.missing is None


def measure(stack: Stack, task: Task) -> None:
    """Start a stack once, and play what is its turn."""
    known, writer = read(task.folder, stack.name), Writer(task.folder, stack.name)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    conditions = replace(task.conditions, began=began, load=machine.load(), versions=stack.versions)
    begin = monotonic()
    with tempfile.TemporaryDirectory(prefix="eq-") as made:
        files = Path(made)
        words = ("--rate", str(conditions.rate), *stack.options(files))
        try:
            with running(*words) as folder:
                conditions = replace(conditions, start_s=monotonic() - begin)
                plays = rounds.turn(stack, known, task.count)
                asyncio.run(_play(stack, task, conditions, (folder, files), plays))
                if len(known.idles) < rounds.IDLES and not task.is_over:
                    writer.idle(_costs(folder))
        except (EquipoiseError, OSError) as problem:
            say(f"{stack.name} is given up for this round: {problem}")
    say(f"{stack.name}: {monotonic() - begin:.0f} s")


async def _play(
    stack: Stack,
    task: Task,
    conditions: Conditions,
    folders: tuple[Path, Path],
    plays: Sequence[Play],
) -> None:
    """Play what is a stack's turn, and keep each play at once."""
    begin, writer = monotonic(), Writer(task.folder, stack.name)
    scene = await Scene.open(folders[0], SystemClock())
    player = Player(stack=stack, scene=scene, folder=folders[1], seed=conditions.seed)
    try:
        await player.until_fit()
        start_s = conditions.start_s + monotonic() - begin
        writer.turn(replace(conditions, start_s=round(start_s, 1), load=round(conditions.load, 2)))
        for play in plays:
            if task.is_over:
                return
            try:
                seen = await player.play(play)
            except VoidError as problem:
                say(f"{stack.name}, {play.fault} on {play.node} is no measurement: {problem}")
                writer.problem(Problem(fault=play.fault, node=play.node, why=str(problem)))
                continue
            writer.play(seen)
            say(f"{stack.name}, {tables.sentence(seen)}")
    finally:
        scene.close()


def _costs(folder: Path) -> list[idle.Cost]:
    """Send the clients away, and measure what is left."""
    with Control(folder / SOCKET) as control:
        control.hold(LOAD)
        control.send(LOAD, "TERM")
        control.until_stage(LOAD, Stage.HELD, 10 * SECOND)
        sleep(SETTLE_S)
        return idle.costs(folder, control, IDLE_S)


def agree(task: Task, *, goes_on: bool) -> None:
    """Refuse to add to what was measured under other conditions, unless that is wanted."""
    for name, known in task.known().items():
        for turn in known.turns:
            if turn.plays and turn.conditions.key != task.conditions.key and not goes_on:
                before, now = turn.conditions.key, task.conditions.key
                raise ConfigError(
                    f"{name} was measured under other conditions: {before}, now {now}; "
                    "--continue adds to it all the same, --anew puts away what is there"
                )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.peers", allow_abbrev=False)
    parser.add_argument(
        "--count", type=int, default=COUNT, help=f"plays of each fault (default: {COUNT})"
    )
    parser.add_argument("--rate", type=int, default=RATE, help=f"requests/s (default: {RATE})")
    parser.add_argument(
        "--seed", type=int, default=SEED, help=f"of the moments of faults (default: {SEED})"
    )
    names = [each.name for each in STACKS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="a stack")
    parser.add_argument("--rounds", type=int, metavar="N", help="end after so many")
    parser.add_argument("--minutes", type=float, metavar="N", help="begin no play after so long")
    parser.add_argument(
        "--continue",
        dest="goes_on",
        action="store_true",
        help="add to what was measured of another commit, machine or rate",
    )
    parser.add_argument("--anew", action="store_true", help="put away what was measured")
    parser.add_argument("--to", type=Path, metavar="DIR", default=ROOT / "docs")
    parser.add_argument("--table", action="store_true", help="only write what is known anew")
    parser.add_argument("--list", action="store_true", help="say what is left, and end")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Compare."""
    chosen = parse(arguments)
    stacks = [stack(name) for name in chosen.only] if chosen.only else STACKS
    conditions = Conditions(
        commit=commit(),
        machine=machine.description(),
        rate=chosen.rate,
        seed=chosen.seed,
        began="",
        load=0.0,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the sandbox must end, too
    end = None if chosen.minutes is None else monotonic() + 60 * chosen.minutes
    task = Task(stacks=stacks, count=chosen.count, conditions=conditions, folder=chosen.to, end=end)
    try:
        if chosen.anew:
            for each in stacks:
                Writer(task.folder, each.name).forget()
        say(f"commit {conditions.commit}, seed {conditions.seed}: {_outlook(task)}")
        if not chosen.table and not chosen.list:
            agree(task, goes_on=chosen.goes_on)
            with suppress(KeyboardInterrupt):
                go(task, chosen.rounds)
    except EquipoiseError as problem:
        print(f"peers: {problem}", file=sys.stderr)
        return problem.exit_code
    if not chosen.list:
        write(chosen.to)
        say(f"{tables.write(chosen.to)} is written; {_outlook(task)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
