"""What every guard does, the kernel's and the one that stands for it in other tests."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from services.traffic_switcher.adapters.ports import PERMIT_US, Guard
from shared.errors import SwitchError
from shared.instant import MILLISECOND, SECOND, Duration
from tests.fakes.fake_guard import FakeGuard
from tests.integration.traffic_switcher.inside import renewed
from tests.integration.traffic_switcher.namespaces import RemoteGuard, Town, wait

WEB, API = "10.78.0.201", "fd78::201"
TICK_US: Duration = 10 * MILLISECOND  # the coarsest that kernels have
SHORT_US: Duration = 4 * SECOND
LONG_US: Duration = 9 * SECOND


@dataclass
class Bench:
    """A guard, time for it, and somebody else who may flush its rules."""

    guard: Guard
    wait: Callable[[Duration], None]
    flush: Callable[[], object]
    renews: Callable[[tuple[str, ...], Duration], bool]

    def renew(self, *addresses: str, rest_us: Duration = LONG_US) -> bool:
        """Renew by a fresh permit."""
        return self.renews(addresses, rest_us)


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = SECOND

    def passes(self, duration_us: Duration) -> None:
        self.now += duration_us


def _fake() -> Iterator[Bench]:
    time = Time()
    guard = FakeGuard(lambda: time.now)
    tokens = itertools.count(1_000)
    renews = partial(renewed, guard, tokens)
    yield Bench(guard, time.passes, guard.flush, renews)


def _kernel() -> Iterator[Bench]:
    town = Town.build()
    try:
        host = town.host("node", "10.78.0.11/24", "fd78::11/64")
        host.ask("guard", {"web": WEB, "api": API})
        flush = partial(host.ask, "nft", "flush ruleset")
        yield Bench(RemoteGuard(host), wait, flush, partial(host.ask, "holds"))
    finally:
        town.end()


KINDS = {"kernel": _kernel, "fake": _fake}


@pytest.fixture(params=KINDS, scope="module")
def made(request: pytest.FixtureRequest) -> Iterator[Bench]:
    yield from KINDS[request.param]()


@pytest.fixture
def bench(made: Bench) -> Bench:
    made.guard.stand()
    return made


def test_a_guard_that_stands_is_closed(bench: Bench) -> None:
    assert bench.guard.shows() == {}
    assert bench.renew(WEB, API)
    bench.guard.stand()
    assert bench.guard.shows() == {}


def test_a_lease_shows_what_is_left_of_it(bench: Bench) -> None:
    assert bench.renew(WEB)
    first = bench.guard.shows()[WEB]
    assert 0 < first <= LONG_US
    bench.wait(50 * MILLISECOND)
    assert bench.guard.shows()[WEB] <= first - 50 * MILLISECOND + TICK_US


def test_a_lease_ends_by_itself(bench: Bench) -> None:
    assert bench.renew(WEB, rest_us=50 * MILLISECOND)
    bench.wait(50 * MILLISECOND)
    assert bench.guard.shows() == {}


def test_renewing_makes_a_lease_as_long_as_it_is_said_longer_or_shorter(bench: Bench) -> None:
    assert bench.renew(WEB, rest_us=SHORT_US)
    assert bench.renew(WEB)
    assert bench.guard.shows()[WEB] > SHORT_US
    assert bench.renew(WEB, rest_us=SHORT_US)
    assert bench.guard.shows()[WEB] <= SHORT_US


def test_renewing_one_leaves_the_others_as_they_are(bench: Bench) -> None:
    assert bench.renew(WEB, API, rest_us=SHORT_US)
    assert bench.renew(WEB)
    shown = bench.guard.shows()
    assert shown[API] <= SHORT_US < shown[WEB]


def test_a_permit_is_used_up(bench: Bench) -> None:
    bench.guard.permit(91)
    bench.guard.renew(91, {WEB: LONG_US})  # on a busy machine it may have run out already
    assert not bench.guard.renew(91, {WEB: LONG_US, API: LONG_US})
    assert API not in bench.guard.shows()


def test_a_permit_that_nobody_made_opens_nothing(bench: Bench) -> None:
    bench.guard.permit(92)
    assert not bench.guard.renew(93, {WEB: LONG_US})
    assert bench.guard.shows() == {}


def test_a_permit_runs_out_and_the_lease_stays_as_it_was(bench: Bench) -> None:
    assert bench.renew(WEB, rest_us=SHORT_US)
    bench.guard.permit(94)
    bench.wait(PERMIT_US)
    assert not bench.guard.renew(94, {WEB: LONG_US, API: LONG_US})
    shown = bench.guard.shows()
    assert set(shown) == {WEB}
    assert shown[WEB] <= SHORT_US


def test_a_permit_outlives_no_standing_anew(bench: Bench) -> None:
    bench.guard.permit(95)
    bench.guard.stand()
    assert not bench.guard.renew(95, {WEB: LONG_US})


def test_closing_is_at_once_and_may_be_done_twice(bench: Bench) -> None:
    assert bench.renew(WEB, API)
    bench.guard.close(WEB)
    assert set(bench.guard.shows()) == {API}
    bench.guard.close(WEB)
    bench.guard.close(API, drain_us=SECOND)
    assert bench.guard.shows() == {}


def test_what_is_closed_can_be_opened_again(bench: Bench) -> None:
    assert bench.renew(WEB)
    bench.guard.close(WEB, drain_us=SECOND)
    assert bench.renew(WEB)
    assert set(bench.guard.shows()) == {WEB}


def test_handing_over_and_keeping_change_no_lease(bench: Bench) -> None:
    bench.guard.hand_over(WEB, to="10.78.0.12", for_us=SECOND)
    assert bench.guard.shows() == {}
    assert bench.renew(WEB)
    bench.guard.hand_over(WEB, to="10.78.0.12", for_us=2 * SECOND)
    bench.guard.keep(WEB)
    bench.guard.keep(WEB)
    bench.guard.keep(API)  # never handed over
    assert set(bench.guard.shows()) == {WEB}


def test_flushed_rules_are_noticed_by_whatever_is_asked_next(bench: Bench) -> None:
    assert bench.renew(WEB)
    bench.flush()
    calls: tuple[Callable[[], object], ...] = (
        bench.guard.shows,
        lambda: bench.guard.permit(96),
        lambda: bench.guard.renew(97, {WEB: LONG_US}),
        lambda: bench.guard.close(WEB),
    )
    for call in calls:
        with pytest.raises(SwitchError):
            call()
    bench.guard.stand()
    assert bench.guard.shows() == {}
    assert bench.renew(WEB)
