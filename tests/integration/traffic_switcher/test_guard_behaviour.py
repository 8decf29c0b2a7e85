"""What every guard does, the kernel's and the one that stands for it in other tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from services.traffic_switcher.adapters.ports import PERMIT_US, Guard
from shared.errors import SwitchError
from shared.instant import MILLISECOND, SECOND, Duration
from tests.fakes.fake_guard import FakeGuard
from tests.integration.traffic_switcher.namespaces import RemoteGuard, Town, wait

WEB, API = "10.78.0.201", "fd78::201"
TICK_US: Duration = 10 * MILLISECOND  # the coarsest that kernels have
LEASE_US: Duration = 800 * MILLISECOND


@dataclass
class Bench:
    """A guard, time for it, and somebody else who may flush its rules."""

    guard: Guard
    wait: Callable[[Duration], None]
    flush: Callable[[], object]
    tokens: int = 0

    def renew(self, *addresses: str, rest_us: Duration = LEASE_US) -> bool:
        self.tokens += 1
        self.guard.permit(self.tokens)
        return self.guard.renew(self.tokens, dict.fromkeys(addresses, rest_us))


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = SECOND

    def passes(self, duration_us: Duration) -> None:
        self.now += duration_us


def _fake() -> Iterator[Bench]:
    time = Time()
    guard = FakeGuard(lambda: time.now)
    yield Bench(guard, time.passes, guard.flush)


def _kernel() -> Iterator[Bench]:
    town = Town.build()
    try:
        host = town.host("node", "10.78.0.11/24", "fd78::11/64")
        host.ask("guard", {"web": WEB, "api": API})
        yield Bench(RemoteGuard(host), wait, lambda: host.ask("nft", "flush ruleset"))
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
    assert bench.renew(WEB, rest_us=LEASE_US)
    first = bench.guard.shows()[WEB]
    assert 0 < first <= LEASE_US
    bench.wait(50 * MILLISECOND)
    assert bench.guard.shows()[WEB] <= first - 50 * MILLISECOND + TICK_US


def test_a_lease_ends_by_itself(bench: Bench) -> None:
    assert bench.renew(WEB, rest_us=50 * MILLISECOND)
    bench.wait(50 * MILLISECOND)
    assert bench.guard.shows() == {}


def test_renewing_makes_a_lease_as_long_as_it_is_said_longer_or_shorter(bench: Bench) -> None:
    assert bench.renew(WEB, rest_us=200 * MILLISECOND)
    assert bench.renew(WEB, rest_us=900 * MILLISECOND)
    assert bench.guard.shows()[WEB] > 200 * MILLISECOND
    assert bench.renew(WEB, rest_us=300 * MILLISECOND)
    assert bench.guard.shows()[WEB] <= 300 * MILLISECOND


def test_renewing_one_leaves_the_others_as_they_are(bench: Bench) -> None:
    assert bench.renew(WEB, API, rest_us=300 * MILLISECOND)
    assert bench.renew(WEB, rest_us=900 * MILLISECOND)
    shown = bench.guard.shows()
    assert shown[API] <= 300 * MILLISECOND < shown[WEB]


def test_a_permit_is_used_up(bench: Bench) -> None:
    bench.guard.permit(91)
    assert bench.guard.renew(91, {WEB: LEASE_US})
    assert not bench.guard.renew(91, {WEB: LEASE_US, API: LEASE_US})
    assert set(bench.guard.shows()) == {WEB}


def test_a_permit_that_nobody_made_opens_nothing(bench: Bench) -> None:
    bench.guard.permit(92)
    assert not bench.guard.renew(93, {WEB: LEASE_US})
    assert bench.guard.shows() == {}


def test_a_permit_runs_out_and_the_lease_stays_as_it_was(bench: Bench) -> None:
    assert bench.renew(WEB, rest_us=300 * MILLISECOND)
    bench.guard.permit(94)
    bench.wait(PERMIT_US)
    assert not bench.guard.renew(94, {WEB: LEASE_US, API: LEASE_US})
    shown = bench.guard.shows()
    assert set(shown) == {WEB}
    assert shown[WEB] <= 300 * MILLISECOND


def test_a_permit_outlives_no_standing_anew(bench: Bench) -> None:
    bench.guard.permit(95)
    bench.guard.stand()
    assert not bench.guard.renew(95, {WEB: LEASE_US})


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
        lambda: bench.guard.renew(97, {WEB: LEASE_US}),
        lambda: bench.guard.close(WEB),
    )
    for call in calls:
        with pytest.raises(SwitchError):
            call()
    bench.guard.stand()
    assert bench.guard.shows() == {}
    assert bench.renew(WEB)
