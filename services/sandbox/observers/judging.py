"""What observations mean: pure.

*Held* is a VIP by a node from the first to the last of its looks in a row that show it held:
certainly so long. What two nodes certainly held at once is an *overlap*. The edges
are cut off by what lies between two looks, which is about a millisecond while it matters: the
observer looks at every node at each event of any, and without pause while two seem to hold.

*Answered* is a VIP by whoever answers for it, from one answer to the next if they are less than
`TOGETHER_US` apart. What two answered for at once is an overlap, and so is a question that two
answered. A move there and back takes longer than that, so it is none.

*Dark* is a VIP from a question that nobody answered until the next answer.

Zero is a claim, too: it needs looks at every node and questions for every VIP all the time, and
events and answers at all. Else nothing is claimed, and it is said what was missing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby, pairwise
from typing import NamedTuple

from services.sandbox.observers.observations import Asked, Look, Observation
from shared.instant import MILLISECOND, Duration, Instant

# Shorter than any lease, so than any stay: nobody moves there and back within it.
TOGETHER_US: Duration = 100 * MILLISECOND
# An observer that was blind for longer may have missed something, and a machine that starves it
# so long measures its own exhaustion.
BLIND_MAX_US: Duration = 250 * MILLISECOND
FOR_EVER: Instant = 2**63 - 1


class Span(NamedTuple):
    """From one instant to another."""

    begin_at: Instant
    end_at: Instant

    @property
    def length_us(self) -> Duration:
        """How long it is."""
        return self.end_at - self.begin_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two who held the same VIP at the same time."""

    vip: str
    span: Span
    seen_by: str  # "guards" or "wire"
    holders: tuple[str, str]

    @property
    def text(self) -> str:
        """Say it."""
        length = f"{self.span.length_us / MILLISECOND:.1f} ms"
        how = "held" if self.seen_by == "guards" else "answered for"
        return f"{self.holders[0]} and {self.holders[1]} both {how} {self.vip} for {length}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What happened to the VIPs in a stretch of time."""

    unobserved: tuple[str, ...]  # why nothing is claimed; empty: all was observed
    overlaps: tuple[Overlap, ...]
    dark: Mapping[str, tuple[Span, ...]]  # by VIP
    elsewhere_us: Mapping[str, Duration | None]  # after the fault, until another node answered
    moved_at: Mapping[str, tuple[Instant, ...]] = field(default_factory=dict)  # by VIP

    @property
    def dark_us(self) -> Mapping[str, Duration]:
        """How long nobody answered for each VIP."""
        return self.dark_within(Span(0, FOR_EVER))

    def dark_within(self, stretch: Span) -> Mapping[str, Duration]:
        """How long nobody answered for each VIP in a stretch of time."""
        return {vip: total(common(spans, [stretch])) for vip, spans in self.dark.items()}

    @property
    def overlap_us(self) -> Duration | None:
        """The longest that any VIP had two holders, by either pair of eyes; None: not observed."""
        found = max((total for total in self._totals().values()), default=0)
        return None if self.unobserved and not found else found

    def _totals(self) -> dict[tuple[str, str], Duration]:
        kinds = {(overlap.vip, overlap.seen_by) for overlap in self.overlaps}
        return {
            kind: total(x.span for x in self.overlaps if (x.vip, x.seen_by) == kind)
            for kind in kinds
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is judged: from when until when, and a fault within."""

    begin_at: Instant
    end_at: Instant
    fault_at: Instant
    nodes: tuple[str, ...]
    vips: tuple[str, ...]


def judge(observations: Iterable[Observation], window: Window) -> Watched:
    """Say what the observers saw."""
    looks: list[Look] = []
    asked: list[Asked] = []
    for each in observations:
        match each:
            case Look() if window.begin_at <= each.begin_at <= window.end_at:
                looks.append(each)
            case Asked() if window.begin_at <= each.at <= window.end_at:
                asked.append(each)
            case _:
                continue
    asked.sort(key=lambda question: question.at)
    by_vip = {vip: [x for x in asked if x.vip == vip] for vip in window.vips}
    by_node = {node: [x for x in looks if x.node == node] for node in window.nodes}
    return Watched(
        unobserved=(*blind_guards(by_node, window), *blind_wire(by_vip, window)),
        overlaps=(*overlaps_of_guards(by_node, window.vips), *overlaps_on_wire(by_vip)),
        dark={vip: tuple(dark(questions)) for vip, questions in by_vip.items()},
        elsewhere_us={
            vip: elsewhere(questions, window.fault_at) for vip, questions in by_vip.items()
        },
        moved_at={vip: moves(questions) for vip, questions in by_vip.items()},
    )


def overlaps_of_guards(
    by_node: Mapping[str, Sequence[Look]], vips: Iterable[str]
) -> Iterator[Overlap]:
    """Find what two nodes certainly held at once."""
    for vip in vips:
        held = {node: list(held_spans(looks, vip)) for node, looks in by_node.items()}
        yield from _shared(vip, held, "guards")


def held_spans(looks: Iterable[Look], vip: str) -> Iterator[Span]:
    """Return when a node certainly held a VIP."""
    for holds, run in groupby(looks, lambda look: vip in look.holds):
        if holds:
            first, *rest = run
            if rest:
                yield Span(first.end_at, rest[-1].begin_at)


def overlaps_on_wire(by_vip: Mapping[str, Sequence[Asked]]) -> Iterator[Overlap]:
    """Find what two answered for at once."""
    for vip, questions in by_vip.items():
        answered: dict[str, list[Instant]] = {}
        for question in questions:
            for at, who in question.answers:
                answered.setdefault(who, []).append(at)
        yield from _shared(vip, {who: stays(times) for who, times in answered.items()}, "wire")
        for question in questions:
            for one, other in combinations(sorted({who for _, who in question.answers}), 2):
                last_at = max(at for at, _ in question.answers)
                span = Span(question.at, max(last_at, question.at + 1))
                yield Overlap(vip=vip, span=span, seen_by="wire", holders=(one, other))


def stays(times: Iterable[Instant]) -> list[Span]:
    """Return the spans in which somebody answered again and again."""
    found: list[Span] = []
    for at in sorted(times):
        if found and at - found[-1].end_at < TOGETHER_US:
            found[-1] = Span(found[-1].begin_at, at)
        else:
            found.append(Span(at, at))
    return found


def _shared(vip: str, held: Mapping[str, Sequence[Span]], seen_by: str) -> Iterator[Overlap]:
    for one, other in combinations(sorted(held), 2):
        for span in common(held[one], held[other]):
            yield Overlap(vip=vip, span=span, seen_by=seen_by, holders=(one, other))


def common(some: Iterable[Span], others: Sequence[Span]) -> Iterator[Span]:
    """Return where two sets of spans lie over each other."""
    for one in some:
        for other in others:
            span = Span(max(one.begin_at, other.begin_at), min(one.end_at, other.end_at))
            if span.length_us > 0:
                yield span


def total(spans: Iterable[Span]) -> Duration:
    """Return how long spans are together, without counting anything twice."""
    sum_us, end_at = 0, 0
    for span in sorted(spans):
        sum_us += max(span.end_at - max(span.begin_at, end_at), 0)
        end_at = max(end_at, span.end_at)
    return sum_us


def dark(questions: Iterable[Asked]) -> Iterator[Span]:
    """Return when nobody answered for a VIP."""
    since: Instant | None = None
    last_at: Instant = 0
    for question in questions:
        last_at = question.at
        if question.answers and since is not None:
            yield Span(since, max(min(at for at, _ in question.answers), since))
            since = None
        elif not question.answers and since is None:
            since = question.at
    if since is not None:
        yield Span(since, last_at)


def elsewhere(questions: Iterable[Asked], fault_at: Instant) -> Duration | None:
    """Return how long after the fault another one answered than who answered before it."""
    answers = sorted(answer for question in questions for answer in question.answers)
    before = [who for at, who in answers if at < fault_at]
    after = (at - fault_at for at, who in answers if at >= fault_at and who != before[-1])
    return next(after, None) if before else None


def moves(questions: Iterable[Asked]) -> tuple[Instant, ...]:
    """Return when another one answered than who answered before."""
    answers = sorted(answer for question in questions for answer in question.answers)
    return tuple(at for (_, one), (at, other) in pairwise(answers) if one != other)


def blind_guards(by_node: Mapping[str, Sequence[Look]], window: Window) -> Iterator[str]:
    """Say where nobody looked at a node's guard for too long, and if the kernel told nothing."""
    for node, looks in by_node.items():
        gap_us = longest_gap([look.end_at for look in looks], window)
        if gap_us > BLIND_MAX_US:
            yield f"nobody looked at {node} for {gap_us / MILLISECOND:.0f} ms"
    if window.vips and not any(look.events for looks in by_node.values() for look in looks):
        yield "no node's kernel told of any change of a lease or an address"


def blind_wire(by_vip: Mapping[str, Sequence[Asked]], window: Window) -> Iterator[str]:
    """Say which VIPs were not asked for all the time, or never answered."""
    for vip, questions in by_vip.items():
        gap_us = longest_gap([question.at for question in questions], window)
        if gap_us > BLIND_MAX_US:
            yield f"nobody asked for {vip} for {gap_us / MILLISECOND:.0f} ms"
        elif not any(question.answers for question in questions):
            yield f"nobody ever answered for {vip}"


def longest_gap(instants: Sequence[Instant], window: Window) -> Duration:
    """Return the longest time without an observation, from the window's begin to its end."""
    times = [window.begin_at, *sorted(instants), window.end_at]
    return max(after - before for before, after in pairwise(times))
