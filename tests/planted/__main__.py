"""Writes docs/planted-bugs.md: `python -m tests.planted` (takes some minutes)."""

import sys
from pathlib import Path

from tests.planted.bugs import BUGS
from tests.planted.hunt import simulate, try_test
from tests.planted.planting import Bug

SEEDS_MAX = 40
PAGE = Path(__file__).parents[2] / "docs" / "planted-bugs.md"
HEAD = f"""# Planted bugs

Each of these rules was broken in the real code, and found again. *Directed* is weather that has
the faults which bring the bug out, *any* is the weather of `make simulate`; the numbers are seeds
until it was found, at most {SEEDS_MAX} were tried. This page is written by
`python -m tests.planted`; `make test` repeats the quick half of it.

| planted | in | caught by | directed | any |
|---|---|---|---|---|
"""


def main() -> int:
    """Hunt every bug; the exit code says whether all were found."""
    rows = []
    missed = 0
    for bug in BUGS:
        row, is_found = _row(bug)
        missed += not is_found
        rows.append(row)
        print(row, file=sys.stderr)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(HEAD + "\n".join(rows) + "\n")
    return 1 if missed else 0


def _row(bug: Bug) -> tuple[str, bool]:
    anywhere = simulate(bug, range(SEEDS_MAX), None)
    place = bug.place.replace(":", ".")
    if ":" in bug.caught_by:
        catch = try_test(bug)
        by, directed = f"`{bug.caught_by.split(':')[1]}`", "-"
    else:
        catch = simulate(bug, range(SEEDS_MAX), bug.storm)
        by, directed = catch.by, str(catch.seeds) if catch.by else f"none of {catch.seeds}"
    seeds = str(anywhere.seeds) if anywhere.by else f"none of {anywhere.seeds}"
    return f"| {bug} | `{place}` | {by or 'nobody'} | {directed} | {seeds} |", bool(catch.by)


if __name__ == "__main__":
    sys.exit(main())
