"""What excuses a request that failed, and what does not."""

from dataclasses import replace

from services.sandbox.drills.judgement import EDGE_US, Excuse, Toll
from services.sandbox.observers.judging import Span
from services.sandbox.records import Method, Record, Result
from shared.instant import MILLISECOND
from tests.unit.sandbox.drilling import watched

FAULT_AT = 1_000 * MILLISECOND
DARK = {"web": (Span(1_010 * MILLISECOND, 1_320 * MILLISECOND),)}


def failed(due_ms: int, took_ms: int, place: str = "web", method: Method = Method.GET) -> Record:
    return Record(
        scheduled_at=due_ms * MILLISECOND,
        latency_us=took_ms * MILLISECOND,
        late_us=0,
        method=method,
        place=place,
        service="shop",
        result=Result.TIMED_OUT,
        answered_by=None,
        kept=False,
        retried=False,
    )


def excuse(toll: Toll, covered_ms: int = 1_305) -> Excuse:
    covered_at = covered_ms * MILLISECOND
    return Excuse(toll=toll, fault_at=FAULT_AT, covered_at=covered_at, dark=DARK)


def test_where_nothing_may_be_lost_nothing_is_excused() -> None:
    assert excuse(Toll.NOTHING).excused([failed(1_100, 50)]) == 0


def test_what_was_under_way_while_its_vip_was_dark_is_excused() -> None:
    asked = [
        failed(900, 2_000),  # on its way when it began
        failed(1_100, 50),
        failed(1_315, 2_000),
    ]
    assert excuse(Toll.DARKNESS).excused(asked) == 3


def test_what_failed_before_or_after_the_darkness_or_at_another_vip_is_not_excused() -> None:
    edge_ms = EDGE_US // MILLISECOND
    asked = [
        failed(900, 109 - edge_ms),
        failed(1_321 + edge_ms, 50),
        failed(1_100, 50, place="api"),
    ]
    assert excuse(Toll.DARKNESS).excused(asked) == 0


def test_until_all_was_taken_over_a_lost_node_may_cost_requests_at_any_vip() -> None:
    found = excuse(Toll.TAKEOVER, covered_ms=1_500)
    assert found.excused([failed(990, 20, place="api"), failed(1_499, 50, place="api")]) == 2
    assert found.excused([failed(1_501, 50, place="api"), failed(900, 99, place="api")]) == 0


def test_what_was_under_way_when_its_vip_moved_in_no_time_is_excused() -> None:
    moved = replace(watched(dark_ms=0), moved_at={"web": (2_000 * MILLISECOND,)})
    found = Excuse.of(Toll.DARKNESS, Span(FAULT_AT, FAULT_AT), None, moved)
    asked = [failed(1_995, 50), failed(1_995, 50, place="api"), failed(2_021, 50)]
    assert [found.excused([each]) for each in asked] == [1, 0, 0]


def test_a_post_that_failed_needs_no_excuse() -> None:
    assert excuse(Toll.TAKEOVER).excused([failed(1_100, 50, method=Method.POST)]) == 0


def test_a_fault_is_made_up_for_when_vips_answer_elsewhere_and_rules_are_switched() -> None:
    def covered_ms(switched_ms: int | None, lasted_ms: int = 3_000) -> int:
        switched = None if switched_ms is None else switched_ms * MILLISECOND
        lasted = Span(FAULT_AT, FAULT_AT + lasted_ms * MILLISECOND)
        found = Excuse.of(Toll.TAKEOVER, lasted, switched, watched())
        return (found.covered_at - FAULT_AT) // MILLISECOND

    assert [covered_ms(None), covered_ms(200), covered_ms(400)] == [305, 305, 400]
    assert covered_ms(200, lasted_ms=300) == 200  # what moved later moved for another reason
    unseen = Excuse.of(Toll.TAKEOVER, Span(FAULT_AT, FAULT_AT), None, None)
    assert unseen.covered_at == FAULT_AT
