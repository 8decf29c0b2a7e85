"""Who is measured next, and how long all of it will take: pure.

Machines are faster at some times than at others, so stacks take turns: each is started once a
round, and plays each of its faults a few times. What is measured already is not measured again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from benchmarks.peers.faults import Fault
from benchmarks.peers.places import NODES
from benchmarks.peers.results import Measured
from benchmarks.peers.stacks import Stack

EACH = len(NODES)  # plays of a fault in a turn: one on each node
IDLES = 3  # how often it is measured what a stack costs while nothing happens
IDLE_S = 10.0  # so long each time, with the time until it is idle
START_S, PLAY_S = 8.0, 6.5  # as long as nothing is known
# A fault that cannot be made on a stack, or not proved, is not tried for ever.
PROBLEMS_MAX = 5


@dataclass(frozen=True, slots=True)
class Play:
    """A play that is to be made."""

    fault: Fault
    number: int
    node: str


def wanted(stack: Stack, known: Measured, count: int) -> dict[Fault, int]:
    """Return how often each fault is still to be played."""
    plays = Counter(play.fault for play in known.plays)
    failed = Counter(problem.fault for problem in known.problems)
    return {
        fault: count - plays[fault]
        for fault in stack.faults
        if plays[fault] < count and failed[fault] < PROBLEMS_MAX + plays[fault]
    }


def turn(stack: Stack, known: Measured, count: int) -> list[Play]:
    """Return what a stack plays in its next turn, each time with another fault first.

    One that a stack does not recover from ends its turn, and must not keep it from all others.
    """
    faults = list(wanted(stack, known, count).items())
    first = len(known.turns) % len(faults) if faults else 0
    missing = dict(faults[first:] + faults[:first])
    tried = Counter(play.fault for play in known.plays)
    tried.update(problem.fault for problem in known.problems)
    return [
        Play(fault, number, NODES[number % len(NODES)])
        for step in range(EACH)
        for fault, left in missing.items()
        if step < left
        for number in [tried[fault] + step]
    ]


def seconds(stack: Stack, known: Measured, count: int) -> float:
    """Return how long what is left of a stack will take, by how long it took so far."""
    missing = wanted(stack, known, count)
    if not missing:
        return 0.0
    took = {fault: [play.took_s for play in known.of(fault)] for fault in missing}
    of_all = _mean((play.took_s for play in known.plays), PLAY_S)
    turns = max(-(-left // EACH) for left in missing.values())
    starts = _mean((turn.conditions.start_s for turn in known.turns), START_S)
    idles = max(min(IDLES - len(known.idles), turns), 0)
    plays = sum(left * _mean(took[fault], of_all) for fault, left in missing.items())
    return plays + turns * starts + idles * IDLE_S


def _mean(values: Iterable[float], otherwise: float) -> float:
    found = list(values)
    return fmean(found) if found else otherwise


def outlook(stacks: Iterable[Stack], known: Mapping[str, Measured], count: int) -> str:
    """Say how much is left."""
    chosen = list(stacks)
    left = sum(sum(wanted(each, known[each.name], count).values()) for each in chosen)
    whole = sum(len(each.faults) * count for each in chosen)
    minutes = sum(seconds(each, known[each.name], count) for each in chosen) / 60
    return f"{left} of {whole} plays remain, about {minutes:.0f} minutes"
