"""The chapter on growth: every figure in its row, and pictures that show what was measured."""

import re
from itertools import pairwise

from benchmarks.growth.chapter import Growth, growth_part, pictures_of
from benchmarks.growth.cluster import Grown
from benchmarks.growth.faults import Decisions, targets_of
from benchmarks.growth.many import Flocked
from benchmarks.growth.picture import curves
from benchmarks.growth.pieces import measure
from benchmarks.growth.scene import Size
from benchmarks.growth.spent import Carried
from tests.unit.arbiter.play import cluster_of, service

CARRIED = Carried(142, 330, 123_000, 348_000)


def grown(nodes: int, *, first_ms: float = 3.0, count: int = 100) -> Grown:
    return Grown(
        size=Size(nodes, 20),
        percent={"arbiter": 5.3, "nats-server": 2.9, "crowd": 13.0, "listeners": 1.0},
        pss_mib={"arbiter": 28.0, "nats-server": 10.0, "crowd": 30.0, "listeners": 20.0},
        carried=CARRIED,
        decisions=Decisions([first_ms] * count, [first_ms + 1] * count, 0, 3_500),
        late_percent=0.6,
        lost={"events_dropped": 2} if nodes > 50 else {},
    )


def growth(first_ms: float = 3.0) -> Growth:
    flocked = Flocked(
        clusters=10,
        connections=31,
        streams=10,
        stream_ms=1.8,
        percent={"arbiter": 5.5, "nats-server": 7.5, "flock": 6.0},
        pss_mib={"arbiter": 28.0, "nats-server": 13.0, "flock": 30.0},
        carried=CARRIED,
        decisions=Decisions([2.9] * 5, [3.0] * 5, 0, 1_400),
        late_percent=0.3,
    )
    return Growth(
        nodes=[grown(2), grown(20, first_ms=first_ms), grown(100)],
        services=[],
        pieces=[measure(Size(2, 2))],
        many=[flocked],
        fit=2,
        refused="insufficient storage",
    )


def test_every_size_has_its_row() -> None:
    section = growth_part(growth(), {}).section
    assert "| 2 | 20 | 5.3 | 28 | 2.9 | 10 | 142 / 330 | 123 / 348 | 13 | 0.6 | - |" in section
    assert "| 2 | 20 | 100 | 3.0 | 3.0 | 3.0 | 4.0 | 4.0 | 4.0 | 0 | 3.5 |" in section
    assert "| 10 | 31 | 10 (1.8 ms each) | 7.5 | 13 | 142 / 330 | 5 | 2.9 | - | 2.9 |" in section
    assert "events_dropped 2" in section
    assert "is enough for 2 clusters, and the next one's" in section


def test_a_cluster_as_large_as_advised_has_a_budget() -> None:
    assert growth_part(growth(), {}).budgets[0][-1] == "met"
    assert growth_part(growth(first_ms=51), {}).budgets[0][-1] == "**missed**"


def test_what_cannot_cross_the_bus_is_called_too_large() -> None:
    assert measure(Size(5, 5)).fits
    assert not measure(Size(100, 100)).fits


def test_pictures_show_every_series_by_name() -> None:
    drawn = pictures_of(growth())
    assert set(drawn) == {"growth-processor", "growth-decision", "growth-many"}
    for name in ("arbiter", "nats-server"):
        assert f">{name}</text>" in drawn["growth-processor"][1]


def test_what_grows_by_factors_is_straight() -> None:
    text = curves("straight", {"one": [(1, 1), (10, 10), (100, 100)]})
    line = next(each for each in re.findall("path d='M([^']*)'", text) if "L" in each)
    places = [tuple(map(float, place.split())) for place in line.split("L")]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert abs((x1 - x0) - (x2 - x1)) < 1
    assert abs((y1 - y0) - (y2 - y1)) < 1


def test_failures_go_from_node_to_node() -> None:
    targets = targets_of(cluster_of(*(service(f"s{k}") for k in range(3)), nodes=4))
    assert len(targets) == 12
    assert all(one[1] != other[1] for one, other in pairwise(targets))
