"""Parts of the benchmarks: each is measured by itself, and remembered until it is measured again.

A part is a JSON file beside the pictures: what it adds to the table of budgets, and its section.
The document is put together from all that there are.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

PICTURES = "benchmarks"  # the folder beside the document
Budget: TypeAlias = tuple[str, str, str, str]  # what, measured, budget, verdict


@dataclass(slots=True, kw_only=True)
class Part:
    """What one part of the benchmarks found."""

    name: str
    budgets: Sequence[Budget]
    section: str
    overlap_ms: float | None = None  # the longest that any VIP had two holders in it
    plays: int = 0  # in which that was observed
    machine: str = ""
    load: float = 0.0  # average, before it began
    took_s: float = 0.0

    def save(self, folder: Path) -> None:
        """Remember it."""
        place = folder / PICTURES / f"{self.name}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def saved(folder: Path, names: Sequence[str]) -> list[Part]:
    """Return what is remembered of these, in this order."""
    places = [folder / PICTURES / f"{name}.json" for name in names]
    return [Part(**json.loads(place.read_text())) for place in places if place.exists()]


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """Return a table; the first columns are words, the others figures."""
    marks = ["---" if column < words else "---:" for column in range(len(heading))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, marks, *rows))


def verdict(what: str, value: float, limit: float, unit: str, *, digits: int = 1) -> Budget:
    """Return a row of the table of budgets."""
    met = "met" if value <= limit else "**missed**"
    return what, f"{value:.{digits}f} {unit}".strip(), f"{limit:g} {unit}".strip(), met
