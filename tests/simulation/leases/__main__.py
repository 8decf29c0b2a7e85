"""Runs seeds: `python -m tests.simulation.leases --seeds 1000 [--from N] [--replay SEED]`."""

import argparse
import sys
import time
from collections import Counter

from tests.simulation.leases.run import COMMAND, Outcome, simulated

SHOWN_MAX = 5  # failures in full


def main() -> int:
    """Run what is asked for; the exit code says whether all seeds held."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument("--replay", type=int, help="run this seed only, and show its last second")
    chosen = parser.parse_args()
    if chosen.replay is not None:
        outcome = simulated(chosen.replay)
        print(outcome.told())
        print(outcome.failure or f"seed {chosen.replay} holds; trace {outcome.trace}")
        return 1 if outcome.failure else 0
    return _all(range(chosen.first, chosen.first + chosen.seeds))


def _all(seeds: range) -> int:
    began = time.monotonic()
    faults: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    failed: list[Outcome] = []
    simulated_us = 0
    for count, seed in enumerate(seeds, 1):
        outcome = simulated(seed)
        faults += outcome.world.record.faults
        counts += outcome.world.record.counts
        simulated_us += outcome.world.agenda.now
        if outcome.failure:
            failed.append(outcome)
            shown = outcome.told() if len(failed) <= SHOWN_MAX else outcome.failure
            print(f"{shown}\n", flush=True)
        if sys.stderr.isatty() or count % 100 == 0:
            rate = count / (time.monotonic() - began)
            told = f"{count} of {len(seeds)} seeds, {len(failed)} failed, {rate:.1f}/s"
            print(told, file=sys.stderr)
    hours = simulated_us / 3_600_000_000
    print(f"{len(seeds)} seeds, {hours:.1f} simulated hours, {len(failed)} failed")
    for name, counted in (("injected", faults), ("happened", counts)):
        print(f"{name}: " + ", ".join(f"{what} {n}" for what, n in sorted(counted.items())))
    for outcome in failed:
        print(f"replay with: {COMMAND} --replay {outcome.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
