"""Pictures of distributions: small, whole, and true to what was measured."""

from xml.etree import ElementTree

from benchmarks.plot import courses, distributions, tick_step


def test_a_picture_is_well_formed_and_small() -> None:
    values = [n / 3 for n in range(100)]
    picture = distributions("kill <instance>", {"switched": values, "slowest": values[:50]}, 15)
    ElementTree.fromstring(picture)
    assert len(picture) < 10_000
    assert "switched, n=100" in picture
    assert "budget 15" in picture


def test_every_measurement_is_a_step_and_the_last_reaches_the_top() -> None:
    def steps(*values: float) -> str:
        picture = distributions("x", {"one": values}, 10)
        (path,) = (line for line in picture.splitlines() if "fill='none'" in line)
        return path.split("'")[1]

    assert steps(1, 2, 3).count("V") == 3
    assert steps(3, 1, 2) == steps(1, 2, 3)
    assert steps(1, 2).endswith("V30.0")


def test_ticks_are_round_and_few() -> None:
    assert [tick_step(longest) for longest in (3, 15, 60, 150, 1_200)] == [1, 2, 10, 20, 200]


def test_a_course_goes_from_the_first_to_the_last() -> None:
    points = {"lease, ms": [(0, 200), (30, 1_000), (60, 250)], "gap, ms": [(0, 50), (60, 60)]}
    picture = courses("leases", points, marks=[(30, "5 %")])
    ElementTree.fromstring(picture)
    lease, gap = (line for line in picture.splitlines() if "fill='none'" in line)
    assert (lease.count("L"), gap.count("L")) == (2, 1)
    assert all(words in picture for words in ("lease, ms", "gap, ms", "5 %", "seconds"))


def test_a_course_of_nothing_is_still_a_picture() -> None:
    ElementTree.fromstring(courses("leases", {"ms": []}))
