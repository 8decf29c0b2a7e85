"""The time-out that follows normal answers."""

from services.health_probe.core.answers import (
    ANSWERS_MAX,
    ANSWERS_MIN,
    TIMEOUT_MAX,
    TIMEOUT_MIN,
    learned,
    normal_us,
    timeout_us,
)
from shared.instant import MILLISECOND, SECOND


def after(*took_us: int) -> tuple[int, ...]:
    answers: tuple[int, ...] = ()
    for each in took_us:
        answers = learned(answers, each)
    return answers


def test_without_experience_there_is_patience() -> None:
    assert timeout_us(()) == TIMEOUT_MAX
    assert timeout_us(after(*[MILLISECOND] * (ANSWERS_MIN - 1))) == TIMEOUT_MAX


def test_quick_answers_give_the_shortest_timeout() -> None:
    assert timeout_us(after(*[300] * ANSWERS_MIN)) == TIMEOUT_MIN


def test_a_few_outliers_change_nothing() -> None:
    answers = after(*[MILLISECOND] * (ANSWERS_MAX - 3), *[900 * MILLISECOND] * 3)
    assert timeout_us(answers) == TIMEOUT_MIN


def test_it_grows_with_the_load() -> None:
    answers = after(*[MILLISECOND] * ANSWERS_MAX, *[40 * MILLISECOND] * 4)
    assert timeout_us(answers) == 160 * MILLISECOND


def test_it_falls_when_the_load_is_gone() -> None:
    answers = after(*[100 * MILLISECOND] * ANSWERS_MAX)
    assert timeout_us(answers) == 400 * MILLISECOND
    assert timeout_us(after(*answers, *[MILLISECOND] * (ANSWERS_MAX - 3))) == TIMEOUT_MIN


def test_it_has_an_upper_bound() -> None:
    assert timeout_us(after(*[SECOND] * ANSWERS_MAX)) == TIMEOUT_MAX


def test_only_so_many_answers_are_kept() -> None:
    assert after(*range(100)) == tuple(range(100 - ANSWERS_MAX, 100))


def test_the_normal_answer_is_the_middle_one() -> None:
    assert normal_us(()) == 0
    assert normal_us(after(1, 9, 3)) == 3
