"""Takes each rule out in turn, looks for two holders, and writes docs/lease-rules.md.

`python -m tests.simulation.leases.without [--seeds 1000] [--any 500] [--control 3000]`
"""

import argparse
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from shared.instant import milliseconds
from tests.simulation.leases.removals import REMOVALS, Removal, taken_out
from tests.simulation.leases.run import Outcome, simulated

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "lease-rules.md"
HEAD = """# What each rule of the lease protocol is worth

[The protocol](vip-safety.md) says that a virtual IP never has two holders. Here one part of it
after the other was taken out of the real sources, at the line that is named, and the simulation of
`tests/simulation/leases` was asked to find two holders. A rule without which nothing breaks would
be a rule that nobody needs, or a simulation that sees nothing.

*Directed* is weather in which the faults that bring it out blow hard; *any* is the weather of
`python -m tests.simulation.leases`. Numbers are seeds until two guards were open for one address
at the same instant; *overlap* is for how long they were, in the directed seed. The page is written
by `python -m tests.simulation.leases.without`; `make test` finds each of them again.

| rule | taken out | in | directed | any | overlap | how |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """How a search ended."""

    tried: int
    found: Outcome | None


def hunt(removal: Removal, seeds: Iterable[int], *, directed: bool) -> Hunt:
    """Run seeds without a rule until two nodes hold one address."""
    tried = 0
    with taken_out(removal):
        for tried, seed in enumerate(seeds, 1):
            outcome = simulated(seed, removal.storm if directed else None)
            if outcome.overlap is not None:
                return Hunt(tried=tried, found=outcome)
    return Hunt(tried=tried, found=None)


def main() -> int:
    """Write the page; the exit code says whether all was as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.leases.without")
    parser.add_argument("--seeds", type=int, default=1_000, help="directed, for each, at most")
    parser.add_argument("--any", type=int, default=500, dest="anywhere", help="in any weather")
    parser.add_argument("--control", type=int, default=3_000, help="with all rules in")
    parser.add_argument("--only", default="", help="rules whose words contain this; no page")
    chosen = parser.parse_args()
    rows = []
    complete = True
    for removal in REMOVALS:
        if chosen.only in str(removal):
            row, is_found = _row(removal, chosen.seeds, chosen.anywhere)
            rows.append(row)
            complete &= is_found
            print(row, flush=True)
    if chosen.only:
        return 0 if complete else 1
    row, is_sound = _control(chosen.control)
    print(row)
    PAGE.write_text(HEAD + "\n".join((*rows, row)) + "\n")
    return 0 if complete and is_sound else 1


def _row(removal: Removal, seeds_max: int, anywhere_max: int) -> tuple[str, bool]:
    directed = hunt(removal, range(seeds_max), directed=True)
    anywhere = hunt(removal, range(anywhere_max), directed=False)
    overlap = directed.found.overlap if directed.found is not None else None
    lasted = "none found" if overlap is None else f"{milliseconds(overlap.lasted_us):.3f} ms"
    place = _place(removal)
    cells = (
        str(removal.rule),
        removal.part,
        place,
        _tried(directed),
        _tried(anywhere),
        lasted,
        removal.example,
    )
    return f"| {' | '.join(cells)} |", directed.found is not None


def _tried(found: Hunt) -> str:
    return str(found.tried) if found.found is not None else f"none in {found.tried}"


def _place(removal: Removal) -> str:
    """Return file and line of what is taken out, as it is now."""
    module, name = removal.place.split(":")
    function = getattr(import_module(module), name)
    lines, first = inspect.getsourcelines(function)
    ahead = "".join(lines)
    wanted = removal.correct.split("\n", 1)[0]
    line = first + ahead[: ahead.index(wanted)].count("\n")
    path = Path(inspect.getfile(function)).relative_to(ROOT)
    return f"`{path}:{line}`"


def _control(seeds: int) -> tuple[str, bool]:
    outcomes = [outcome for outcome in map(simulated, range(seeds)) if outcome.failure]
    for outcome in outcomes[:3]:
        print(outcome.told())
    found = f"{len(outcomes)} in {seeds}" if outcomes else f"none in {seeds}"
    return f"| none | nothing | | | {found} | none | |", not outcomes


if __name__ == "__main__":
    sys.exit(main())
