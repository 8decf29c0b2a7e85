"""What every process measures of itself."""

import asyncio

import pytest

from shared.health import Check
from shared.health.process import METRICS, Connection, Lag, connection, measures
from shared.measures import Histogram
from shared.version import version


def test_each_check_is_a_measure() -> None:
    checks = (Check(name="bus"), Check(name="guard", failure="no capability"))
    measured = (
        *measures("1.0", "c0ffee", checks, Histogram()),
        *connection(Connection(reconnects=3)),
    )
    found = {one.name: one.samples for one in measured}
    assert found["check_passed"] == {("bus",): 1, ("guard",): 0}
    assert found["bus_connected"] == {(): 0}
    assert found["bus_reconnects_total"] == {(): 3}
    assert found["config_info"] == {("c0ffee",): 1}
    assert found.keys() == {metric.name for metric in METRICS}


class EndOfTimeError(Exception):
    """The clock stands still."""


class Late:
    """A clock on which every sleep takes 3 ms more, and the fourth never ends."""

    def __init__(self) -> None:
        self.at = 0
        self.sleeps = 0

    def now(self) -> int:
        return self.at

    def wall(self) -> int:
        return self.at

    async def sleep(self, duration_us: int) -> None:
        self.sleeps += 1
        if self.sleeps > 3:
            raise EndOfTimeError
        self.at += duration_us + 3_000


def test_a_loop_that_is_held_up_is_seen_to_be_late() -> None:
    lag = Lag()
    with pytest.raises(EndOfTimeError):
        asyncio.run(lag.watch(Late()))
    assert lag.seen.total_us == 9_000
    assert sum(lag.seen.counts) == 3


def test_the_version_is_known_or_said_to_be_unknown() -> None:
    assert version()
