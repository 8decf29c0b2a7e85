"""What is counted as failed, as an outage, and as work done twice."""

from services.sandbox.audit import (
    PATIENCE_US,
    audit_orders,
    distribution,
    outage_us,
    summarise,
    within,
)
from services.sandbox.records import Method, Record, Result
from shared.instant import MILLISECOND, SECOND


def request(
    due_ms: int,
    result: Result = Result.OK,
    *,
    took_ms: int = 1,
    by: str | None = "node-a",
    unsafe: bool = False,
) -> Record:
    return Record(
        scheduled_at=due_ms * MILLISECOND,
        latency_us=took_ms * MILLISECOND,
        late_us=0,
        method=Method.POST if unsafe else Method.GET,
        place="node-a",
        service="shop",
        result=result,
        answered_by=by if result is Result.OK else None,
        kept=False,
        retried=False,
    )


def test_a_window_has_those_that_were_due_in_it_in_order() -> None:
    records = [request(30), request(10), request(20), request(40)]
    seen = within(records, 10 * MILLISECOND, 40 * MILLISECOND)
    assert [one.scheduled_at for one in seen] == [10_000, 20_000, 30_000]


def test_failures_of_safe_and_unsafe_requests_are_told_apart() -> None:
    seen = summarise(
        [
            request(0),
            request(1, Result.STATUS),
            request(2, Result.RESET, unsafe=True),
            request(3, took_ms=80),
            request(4, took_ms=900, unsafe=True),
        ]
    )
    assert (seen.sent, seen.failed, seen.safe_sent, seen.safe_failed) == (5, 2, 3, 1)
    assert seen.slowest_us == 80 * MILLISECOND
    assert seen.results == {"ok": 3, "reset": 1, "status": 1}


def test_nothing_bad_is_no_outage() -> None:
    assert outage_us([]) == 0
    assert outage_us([request(ms, took_ms=PATIENCE_US // MILLISECOND) for ms in range(100)]) == 0


def test_an_outage_lasts_from_the_first_bad_request_to_the_end_of_the_last() -> None:
    records = [request(ms) for ms in range(0, 1000, 10)]
    records[20:30] = [request(ms, Result.REFUSED) for ms in range(200, 300, 10)]
    assert outage_us(records) == 91 * MILLISECOND


def test_good_answers_of_another_target_do_not_cut_an_outage_in_two() -> None:
    records = [
        request(ms, Result.OK if ms % 20 else Result.REFUSED, took_ms=1) for ms in range(0, 500, 10)
    ]
    assert outage_us(records) == 481 * MILLISECOND


def test_waiting_too_long_is_an_outage_even_if_an_answer_comes() -> None:
    assert outage_us([request(0), request(10, took_ms=400), request(20)]) == 400 * MILLISECOND


def test_outages_far_apart_are_not_added() -> None:
    records = [request(0, Result.RESET), request(100, Result.RESET), request(2000, Result.RESET)]
    assert outage_us(records) == 101 * MILLISECOND


def test_unsafe_requests_make_no_outage() -> None:
    assert outage_us([request(0, Result.RESET, unsafe=True, took_ms=2000)]) == 0


def test_distribution_counts_answers_by_instance() -> None:
    records = [request(0), request(1, by="node-b"), request(2), request(3, Result.STATUS)]
    assert distribution(records, "shop") == {"node-a": 2, "node-b": 1}
    assert distribution(records, "orders") == {}


def test_an_order_in_two_journals_is_found() -> None:
    order = request(5, unsafe=True)
    audit = audit_orders([order], {"a": [order.order], "b": [order.order]})
    assert not audit.ok
    assert audit.doubled == (order.order,)


def test_an_order_twice_in_one_journal_is_found_even_if_nobody_was_answered() -> None:
    audit = audit_orders([], {"a": ["o1", "o1", "o2"]})
    assert audit.doubled == ("o1",)
    assert audit.done == 3


def test_an_answered_order_that_nobody_did_is_found() -> None:
    order = request(5, unsafe=True)
    audit = audit_orders([order], {"a": []})
    assert audit.missing == (order.order,)
    assert not audit.ok


def test_an_order_that_failed_may_have_been_done_or_not() -> None:
    orders = [request(ms, Result.RESET, unsafe=True) for ms in (1, 2)]
    audit = audit_orders(orders, {"a": [orders[0].order]})
    assert audit.ok
    assert audit.answered == 0


def test_the_ids_of_orders_differ() -> None:
    rate = 10_000
    ids = {
        request(0, unsafe=True)._replace(scheduled_at=n * SECOND // rate).order for n in range(rate)
    }
    assert len(ids) == rate
