"""What two observers saw, and what it proves: planted overlaps are found, and nothing else."""

import pytest

from services.sandbox.observers.judging import (
    BLIND_MAX_US,
    TOGETHER_US,
    Span,
    Watched,
    Window,
    dark,
    elsewhere,
    judge,
    stays,
    total,
)
from services.sandbox.observers.observations import Asked, Look, Observation
from shared.instant import MILLISECOND, Duration, Instant

A, B = "node-a", "node-b"
END = 1_000 * MILLISECOND
WINDOW = Window(begin_at=0, end_at=END, fault_at=0, nodes=(A, B), vips=("web",))


def at(ms: float) -> Instant:
    return round(ms * MILLISECOND)


def look(
    node: str,
    ms: float,
    *,
    open_: bool = False,
    present: bool = True,
    guarded: bool = True,
    events: int = 1,
) -> Look:
    return Look(
        node=node,
        begin_at=at(ms),
        end_at=at(ms) + 200,
        open=frozenset({"web"} if open_ else ()),
        present=frozenset({"web"} if present else ()),
        guarded=guarded,
        events=events,
    )


def looks(node: str, held: tuple[float, float], every_ms: float = 1) -> list[Observation]:
    """Return looks all the time, with the guard open within a span, its end not included."""
    times = [n * every_ms for n in range(round(END / MILLISECOND / every_ms) + 1)]
    return [look(node, ms, open_=held[0] <= ms < held[1]) for ms in times]


def asked(ms: float, *who: str) -> Asked:
    return Asked(vip="web", at=at(ms), answers=tuple((at(ms) + 100, name) for name in who))


def questions(*stretches: tuple[float, float, tuple[str, ...]]) -> list[Observation]:
    """Return a question each 10 ms, answered by those who are named for that time."""
    found: list[Observation] = []
    for n in range(101):
        ms = n * 10.0
        who = next((who for begin, end, who in stretches if begin <= ms < end), ())
        found.append(asked(ms, *who))
    return found


def judged(*observations: list[Observation]) -> Watched:
    return judge([each for some in observations for each in some], WINDOW)


MOVED = questions((0, 300, (A,)), (320, 2_000, (B,)))


def test_a_move_from_one_holder_to_the_next_is_no_overlap() -> None:
    found = judged(looks(A, (0, 300)), looks(B, (310, 2_000)), MOVED)
    assert (found.unobserved, found.overlaps, found.overlap_us) == ((), (), 0)


@pytest.mark.parametrize("length_ms", [3, 20, 500])
def test_two_open_guards_with_the_address_are_an_overlap(length_ms: int) -> None:
    found = judged(looks(A, (0, 300 + length_ms)), looks(B, (300, 2_000)), MOVED)
    (overlap,) = found.overlaps
    assert (overlap.seen_by, overlap.holders) == ("guards", (A, B))
    assert at(length_ms - 2) <= overlap.span.length_us <= at(length_ms)
    assert found.overlap_us == overlap.span.length_us
    assert "node-a and node-b both held web for" in overlap.text


def test_an_open_guard_without_the_address_holds_nothing() -> None:
    b = [look(B, ms, open_=True, present=False) for ms in range(1_001)]
    assert judged(looks(A, (0, 2_000)), list(b), questions((0, 2_000, (A,)))).overlap_us == 0


def test_an_address_without_a_guard_is_held_though_no_lease_is_open() -> None:
    b: list[Observation] = [look(B, ms, guarded=ms < 500) for ms in range(1_001)]
    found = judged(looks(A, (0, 2_000)), b, questions((0, 2_000, (A,))))
    assert found.overlap_us is not None
    assert found.overlap_us == pytest.approx(500 * MILLISECOND, abs=2 * MILLISECOND)


def test_what_may_have_ended_between_two_looks_is_not_claimed() -> None:
    # B was seen open once, and A was not seen open after that.
    a: list[Observation] = [look(A, n * 50.0, open_=n < 6) for n in range(21)]
    b: list[Observation] = [look(B, n * 50.0 + 1, open_=n >= 5) for n in range(21)]
    found = judged(a, b, MOVED)
    assert found.overlap_us == 0


def test_one_question_that_two_answer_is_an_overlap() -> None:
    wire = questions((0, 300, (A,)), (300, 301, (A, B)), (301, 2_000, (B,)))
    found = judged(looks(A, (0, 300)), looks(B, (310, 2_000)), wire)
    assert found.overlap_us == 100
    assert {overlap.seen_by for overlap in found.overlaps} == {"wire"}


def test_answers_of_the_old_one_after_the_new_one_began_are_an_overlap() -> None:
    turns = [asked(300 + 10 * n, A if n % 2 else B) for n in range(11)]
    wire = [*questions((0, 300, (A,)))[:30], *turns, *questions((0, 2_000, (B,)))[41:]]
    found = judged(looks(A, (0, 300)), looks(B, (310, 2_000)), list(wire))
    assert found.overlap_us == 90 * MILLISECOND
    assert all("both answered for web" in overlap.text for overlap in found.overlaps)


def test_a_stranger_who_answers_is_an_overlap() -> None:
    wire = questions((0, 500, (A,)), (500, 600, (A, "02:00:de:ad:be:ef")), (600, 2_000, (A,)))
    found = judged(looks(A, (0, 2_000)), looks(B, (0, 0)), wire)
    assert found.overlap_us is not None
    assert found.overlap_us >= 90 * MILLISECOND


def test_there_and_back_again_is_no_overlap() -> None:
    wire = questions((0, 300, (A,)), (300, 450, (B,)), (450, 2_000, (A,)))
    a: list[Observation] = [look(A, ms, open_=not 299 <= ms < 449) for ms in range(1_001)]
    found = judged(a, looks(B, (301, 447)), wire)
    assert (found.overlaps, found.overlap_us) == ((), 0)


def test_the_longer_of_both_observers_counts() -> None:
    wire = questions((0, 300, (A,)), (300, 400, (A, B)), (400, 2_000, (B,)))
    found = judged(looks(A, (0, 700)), looks(B, (300, 2_000)), wire)
    assert found.overlap_us is not None
    assert found.overlap_us >= 398 * MILLISECOND


QUIET = questions((0, 2_000, (A,)))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([QUIET], "nobody looked at node-a for 1000 ms"),
        ([looks(A, (0, 2_000)), QUIET], "nobody looked at node-b for 1000 ms"),
        ([looks(A, (0, 2_000)), looks(B, (0, 0))], "nobody asked for web for 1000 ms"),
        ([looks(A, (0, 2_000)), looks(B, (0, 0)), questions()], "nobody ever answered for web"),
        (
            [[look(node, n, events=0) for node in (A, B) for n in range(1_001)], QUIET],
            "no node's kernel told of any change",
        ),
        ([looks(A, (0, 2_000))[:700], looks(B, (0, 0)), QUIET], "nobody looked at node-a for 3"),
    ],
)
def test_who_did_not_look_claims_nothing(seen: list[list[Observation]], said: str) -> None:
    found = judged(*seen)
    assert any(said in text for text in found.unobserved), found.unobserved
    assert found.overlap_us is None


def test_what_was_seen_counts_even_where_not_all_was() -> None:
    found = judged(looks(A, (0, 700)), looks(B, (300, 2_000))[:700], MOVED)
    assert found.unobserved
    assert found.overlap_us is not None
    assert found.overlap_us > 300 * MILLISECOND


def test_a_short_blindness_is_forgiven() -> None:
    allowed = round(BLIND_MAX_US / MILLISECOND) - 10
    a = [x for x in looks(A, (0, 2_000)) if not (isinstance(x, Look) and 0 < x.begin_at < allowed)]
    assert judged(a, looks(B, (0, 0)), QUIET).unobserved == ()


def test_darkness_runs_from_an_unanswered_question_to_the_next_answer() -> None:
    found = judged(looks(A, (0, 300)), looks(B, (400, 2_000)), MOVED)
    assert found.dark_us == {"web": 20 * MILLISECOND + 100}


def test_what_stays_dark_is_dark_to_the_end() -> None:
    spans = list(dark([asked(0, A), asked(10), asked(20)]))
    assert spans == [Span(at(10), at(20))]


def test_who_answers_elsewhere_is_told_from_the_fault_on() -> None:
    wire = [x for x in MOVED if isinstance(x, Asked)]
    assert elsewhere(wire, at(305)) == 15 * MILLISECOND + 100
    assert elsewhere(wire, at(500)) is None  # it stayed where it was
    assert elsewhere([], at(0)) is None


def test_answers_that_are_close_belong_together() -> None:
    edge: Duration = TOGETHER_US
    assert stays([0, edge - 1, 2 * edge - 1]) == [
        Span(0, edge - 1),
        Span(2 * edge - 1, 2 * edge - 1),
    ]


def test_nothing_is_counted_twice() -> None:
    assert total([Span(0, 10), Span(5, 15), Span(20, 30), Span(22, 25)]) == 25
