"""Medians and percentiles: measurements that were made, and none that were not."""

from hypothesis import given, strategies

from services.sandbox.drills.figures import figures, nearest_rank


def test_nothing_measured_has_no_figures() -> None:
    assert figures([]) is None


def test_one_measurement_is_all_there_is() -> None:
    found = figures([7.5])
    assert found is not None
    assert (found.n, found.minimum, found.median, found.maximum) == (1, 7.5, 7.5, 7.5)


def test_a_p99_needs_a_hundred_measurements() -> None:
    few, many = figures(range(1, 100)), figures(range(1, 101))
    assert few is not None
    assert few.p99 is None
    assert many is not None
    assert (many.median, many.p99, many.maximum) == (50, 99, 100)


def test_the_order_of_measurements_does_not_matter() -> None:
    assert figures([3, 1, 2]) == figures([1, 2, 3])


@given(strategies.lists(strategies.integers(0, 50), min_size=1), strategies.integers(1, 100))
def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed(
    values: list[int], percent: int
) -> None:
    ordered = sorted(values)
    found = nearest_rank(ordered, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    below = [value for value in values if value < found]
    assert len(below) * 100 < percent * len(values)
