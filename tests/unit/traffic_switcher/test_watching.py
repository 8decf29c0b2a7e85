"""What the watch believes, finding by finding."""

from hypothesis import given, strategies as st

from services.traffic_switcher.core.watching import (
    ANSWERS,
    CLOSES,
    KNOWN,
    LATE_US,
    NORMAL_FORGETS,
    SILENT_MAX_US,
    TIMEOUT_LONGEST_US,
    TIMEOUT_SHORTEST_US,
    Answered,
    Closed,
    Finding,
    Refused,
    Silent,
    Watch,
    judged,
)
from shared.instant import MILLISECOND

SOON = Answered(MILLISECOND)
SILENT = Silent(50 * MILLISECOND, 0)
GONE = Refused("haproxy is not running")


def after(*findings: Finding, watch: Watch | None = None) -> Watch:
    watch = watch or Watch()
    for finding in findings:
        watch = judged(watch, finding)
    return watch


SERVES = after(*[SOON] * KNOWN)


def test_nothing_is_believed_before_the_first_finding() -> None:
    assert Watch().fault is None
    assert SERVES.fault == ""


def test_who_never_answered_has_not_started_and_is_not_dead() -> None:
    starting = after(GONE, GONE)
    assert starting.fault == "not started: haproxy is not running"
    assert after(SOON, Closed(), GONE, watch=starting).fault == "dead: haproxy is not running"


def test_in_the_bustle_of_a_start_only_a_silence_of_a_second_is_a_hang() -> None:
    young = after(*[SOON] * ANSWERS)
    assert after(*[SILENT] * 5, watch=young).fault == ""
    assert after(*[Silent(SILENT_MAX_US, 0)] * 2, watch=young).fault != ""
    again = after(Closed(), GONE, *[SOON] * ANSWERS, watch=SERVES)
    assert after(*[SILENT] * 5, watch=again).fault == ""


def test_a_connection_that_ends_and_is_refused_is_a_death() -> None:
    assert after(Closed(), watch=SERVES).fault == ""
    assert after(Closed(), GONE, watch=SERVES).fault == "dead: haproxy is not running"


def test_a_reload_is_no_death() -> None:
    assert after(Closed(), SOON, Closed(), SOON, Closed(), SOON, watch=SERVES).fault == ""


def test_closing_every_connection_is_a_death() -> None:
    found = after(*[Closed()] * CLOSES, watch=SERVES)
    assert found.fault == "dead: haproxy closes every connection without an answer"


def test_one_silence_is_none_and_two_in_a_row_are_a_hang() -> None:
    assert after(SILENT, watch=SERVES).fault == ""
    assert after(SILENT, SOON, SILENT, watch=SERVES).fault == ""
    found = after(SILENT, Silent(100 * MILLISECOND, 0), watch=SERVES)
    assert found.fault == "hung: haproxy has not answered for 100 ms"
    assert found.is_hopeless


def test_a_silence_that_we_slept_through_does_not_count_for_a_second() -> None:
    slept = Silent(90 * MILLISECOND, LATE_US + 1)
    assert after(*[slept] * 9, watch=SERVES).fault == ""
    long = Silent(SILENT_MAX_US, LATE_US + 1)
    assert after(long, long, watch=SERVES).fault == "hung: haproxy has not answered for 1000 ms"


def test_a_hang_that_ends_in_a_death_is_said() -> None:
    assert after(SILENT, SILENT, Closed(), GONE, watch=SERVES).fault == f"dead: {GONE.why}"


def test_a_hung_one_that_closes_has_not_changed() -> None:
    hung = after(SILENT, SILENT, watch=SERVES)
    assert after(*[Closed()] * CLOSES, watch=hung).fault == hung.fault


def test_it_serves_again_after_three_answers_in_a_row() -> None:
    for hung in (after(SILENT, SILENT, watch=SERVES), after(GONE)):
        assert after(*[SOON] * (ANSWERS - 1), watch=hung).fault == hung.fault
        assert after(*[SOON] * ANSWERS, watch=hung).fault == ""
    hung = after(SILENT, SILENT, watch=SERVES)
    assert after(SOON, SOON, SILENT, SOON, watch=hung).fault == hung.fault


def test_the_timeout_follows_what_is_normal_and_forgets_slowly() -> None:
    assert SERVES.timeout_us == TIMEOUT_SHORTEST_US
    slow = after(Answered(30 * MILLISECOND), watch=SERVES)
    assert slow.timeout_us == 150 * MILLISECOND
    assert after(SOON, watch=slow).timeout_us > 140 * MILLISECOND
    assert after(*[SOON] * NORMAL_FORGETS * 2, watch=slow).timeout_us == TIMEOUT_SHORTEST_US


@given(
    st.lists(
        st.one_of(
            st.builds(Answered, st.integers(0, 10**7)),
            st.builds(Silent, st.integers(0, 10**7), st.integers(0, 10**7)),
            st.just(Closed()),
            st.just(GONE),
        )
    )
)
def test_whatever_is_found_the_timeout_keeps_its_bounds(findings: list[Finding]) -> None:
    found = after(*findings)
    assert TIMEOUT_SHORTEST_US <= found.timeout_us <= TIMEOUT_LONGEST_US
    faults = ("dead: ", "hung: ", "not started: ")
    assert found.fault is None or found.fault == "" or found.fault.startswith(faults)


def test_a_starved_machine_hangs_nothing_for_a_second() -> None:
    starved = Silent(200 * MILLISECOND, 0, starved_us=195 * MILLISECOND)
    assert after(*[starved] * 4, watch=SERVES).fault == ""
    busy = Silent(200 * MILLISECOND, 0, starved_us=120 * MILLISECOND)
    assert after(busy, busy, watch=SERVES).fault != ""


def test_a_second_without_an_answer_is_a_hang_however_starved() -> None:
    starved = Silent(SILENT_MAX_US, 0, starved_us=SILENT_MAX_US)
    assert after(starved, starved, watch=SERVES).fault != ""
