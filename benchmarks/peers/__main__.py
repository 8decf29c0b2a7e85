"""`python -m benchmarks.peers`: compare Equipoise with others on the same faults.

It writes docs/benchmarks/peers.json and its picture, and the table of docs/comparison.md. `--only`
measures some stacks and keeps what is remembered of the others; `--to` writes elsewhere, as
`--count 1` should. It needs keepalived, which nothing else does.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from benchmarks import idle, machine
from benchmarks.peers.faults import Fault
from benchmarks.peers.measured import Measured, version
from benchmarks.peers.play import Played, Player
from benchmarks.peers.stacks import NODES, Stack, keepalived, options
from benchmarks.peers.tables import write
from benchmarks.sandboxes import ROOT, running
from services.sandbox.drills.scene import Scene
from shared.clock import SystemClock
from shared.errors import EquipoiseError

COUNT = 6  # plays of each fault: on each node the half
RATE = 500  # requests/s
IDLE_S = 8.0


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"peers: {text}", file=sys.stderr, flush=True)


async def played(stack: Stack, folder: Path, count: int) -> list[Played]:
    """Play every fault so often on one stack, the faults in turn."""
    scene = await Scene.open(folder, SystemClock())
    player, found = Player(stack=stack, scene=scene), []
    try:
        for number in range(count):
            for fault in Fault:
                play = await player.play(fault, NODES[number % len(NODES)])
                say(
                    f"{stack}, {fault} on {play.node}: {play.safe_failed} of {play.safe_sent} "
                    f"failed, slowest {play.slowest_ms:.0f} ms, dark {play.dark_ms}, "
                    f"held twice {play.held_twice_ms}, restored {play.restored_ms}, "
                    f"client {play.client_late_ms:.0f} ms late"
                )
                found.append(play)
    except EquipoiseError as problem:
        say(f"{stack} is given up: {problem}")
    finally:
        scene.close()
    return found


def measure(stack: Stack, count: int, rate: int, idle_s: float) -> Measured:
    """Measure one stack: what faults cost, and what it costs while nothing happens."""
    load, begin = machine.load(), monotonic()
    with tempfile.TemporaryDirectory(prefix="eq-") as made:
        words = options(stack, Path(made))
        with running("--rate", str(rate), *words) as folder:
            plays = asyncio.run(played(stack, folder, count))
        costs = idle.measure(idle_s, *words)
    return Measured(
        stack=stack,
        machine=machine.description(),
        keepalived=version(keepalived()),
        load=load,
        took_s=monotonic() - begin,
        rate=rate,
        count=count,
        plays=plays,
        idle_s=idle_s,
        costs=costs,
    )


def main(arguments: Sequence[str]) -> int:
    """Compare."""
    parser = argparse.ArgumentParser(prog="benchmarks.peers", allow_abbrev=False)
    parser.add_argument("--count", type=int, default=COUNT, help=f"of plays (default: {COUNT})")
    parser.add_argument("--rate", type=int, default=RATE, help=f"requests/s (default: {RATE})")
    parser.add_argument("--only", action="append", choices=[x.value for x in Stack], metavar="NAME")
    parser.add_argument("--to", type=Path, metavar="DIR", default=ROOT / "docs")
    parser.add_argument("--table", action="store_true", help="only write what is remembered anew")
    chosen = parser.parse_args(arguments)
    try:
        keepalived()
        for name in [] if chosen.table else chosen.only or list(Stack):
            measured = measure(Stack(name), chosen.count, chosen.rate, IDLE_S)
            measured.save(chosen.to)
    except EquipoiseError as problem:
        print(f"peers: {problem}", file=sys.stderr)
        return problem.exit_code
    say(f"{write(chosen.to)} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
