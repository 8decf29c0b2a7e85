"""Whatever a grant, a plan, the kernel, the disk and time do, in whatever order, these hold.

* no guard is open beyond the latest end that was granted of its term, counted from its beat
* floors only rise, and nothing at or below one is ever opened
* what a beat says of floors and epochs is on the disk
* after a release a higher term is needed
"""

from typing import Any

from hypothesis import given, settings, strategies as st

from services.traffic_switcher.core.leases.actions import Beat, Renew
from services.traffic_switcher.core.leases.pace import PERMIT_US, SENT_MAX
from services.traffic_switcher.core.leases.state import (
    BalancerChanged,
    Heard,
    Memory,
    PlacesChanged,
)
from services.traffic_switcher.shell.renewing import renew
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.leases import NO_TERM, Grant, Term
from shared.messages.traffic import Placement
from tests.fakes.fake_guard import FakeGuard
from tests.unit.traffic_switcher.lease_play import LeasePlay

NODES = ("node-a", "node-b")
term = st.tuples(st.integers(1, 2), st.integers(1, 4))
vip = st.sampled_from(["web", "api"])
length = st.integers(1, 1_000 * MILLISECOND)
event = st.one_of(
    st.tuples(st.just("beats"), st.integers(1, 10)),
    st.tuples(st.just("grant"), st.integers(1, 12), vip, term, length, st.integers(1, 3)),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("plan"), term, st.dictionaries(vip, st.tuples(term, st.sampled_from(NODES)))),
    st.tuples(st.just("sleep"), st.integers(0, 2 * SECOND)),
    st.tuples(st.just("balancer"), st.sampled_from(["", "dead: gone"])),
    st.tuples(st.just("disk"), st.booleans()),
    st.tuples(st.just("kernel"), st.sampled_from(["", "no"])),
    st.tuples(st.just("permit"), st.booleans()),
    st.tuples(st.just("restart")),
    st.tuples(st.just("lost")),
    st.tuples(st.just("around")),
)


class Watched(LeasePlay):
    """A play in which every action is watched, as a stranger would who knows all grants."""

    def __init__(self, memory: Memory | None) -> None:
        self.grants: list[Grant] = []
        self.granted: dict[tuple[str, Term], Instant] = {}
        self.floors: dict[str, Term] = {}
        self.sent: dict[int, Instant] = {}
        self.plans = 0
        super().__init__(memory)

    def offer(self, grant: Grant) -> None:
        """Let it hear a grant, and note what it may give at most."""
        sent_at = self.sent_at(grant)
        if sent_at is not None:
            for name, of in grant.vips.items():
                end = max(self.granted.get((name, of), 0), sent_at + grant.length_us)
                self.granted[name, of] = end
        self.grants.append(grant)
        self.feed(Heard(grant))

    def sent_at(self, grant: Grant) -> Instant | None:
        """Return when the beat was sent that a grant answers."""
        if grant.incarnation != self.state.incarnation:
            return None
        is_known = grant.number > self.state.number - SENT_MAX
        return self.sent.get(grant.number) if is_known else None

    def perform(self, action: Any) -> Any:
        """Do one thing, and check what came of it."""
        if isinstance(action, Beat):
            self.sent[action.beat.number] = self.now
        before = dict(self.kernel.ends)
        followed = super().perform(action)
        if isinstance(action, Renew):
            for name, end in self.kernel.ends.items():
                if before.get(name) != end:
                    of = self.state.vips[name].term
                    assert end <= self.granted[name, of], "open for longer than was granted"
                    assert of > self.floors.get(name, NO_TERM), "a floor was undercut"
        return followed

    def check(self) -> None:
        """Check what was said, and remember the floors."""
        for beat in self.beats[-1:]:
            assert self.disk is not None or beat.epoch == 0
            for name, hold in beat.vips.items():
                on_disk = NO_TERM if self.disk is None else self.disk.floors.get(name, NO_TERM)
                assert hold.floor <= on_disk, "a floor is said that is not on the disk"
        for name, of in self.state.vips.items():
            if not self.state.is_new:
                assert of.floor >= self.floors.get(name, NO_TERM), "a floor fell"
                self.floors[name] = of.floor


def play(  # noqa: C901, PLR0912, PLR0915 - the table of what may happen
    watched: Watched, happened: tuple[Any, ...]
) -> None:
    """Let one thing happen."""
    match happened:
        case ("beats", int() as count):
            watched.pass_time(count * 50 * MILLISECOND)
        case ("grant", int() as back, str() as name, (int(), int()) as of, int() as us, int() as e):
            beat = watched.beats[-min(back, len(watched.beats))]
            watched.offer(watched.grant({name: of}, length_us=us, beat=beat, epoch=e))
        case ("again", int() as which) if watched.grants:
            watched.offer(watched.grants[which % len(watched.grants)])
        case ("plan", number, placements):
            placed = {n: Placement(holder=node, term=of) for n, (of, node) in placements.items()}
            watched.follow(number, placed)
        case ("sleep", int() as us):
            watched.sleep(us)
        case ("balancer", str() as why):
            watched.feed(BalancerChanged(why))
        case ("disk", bool() as full):
            watched.disk_full = full
        case ("kernel", str() as refuses):
            watched.kernel.refuses = refuses
        case ("permit", bool() as permits):
            watched.kernel.permits = permits
        case ("restart",):
            _restart(watched)
        case ("lost",):
            watched.disk, watched.plan, watched.floors = None, None, {}
            _restart(watched)
        case ("around",):
            watched.feed(PlacesChanged())
        case _:
            pass  # nothing to repeat yet


def _restart(watched: Watched) -> None:
    """Restart it: what was not on the disk was not said, so it need not be known any more."""
    disk = watched.disk.floors if watched.disk is not None else {}
    watched.floors = {name: of for name, of in watched.floors.items() if disk.get(name) == of}
    watched.start()


@settings(max_examples=300, deadline=None)
@given(st.lists(event, max_size=60), st.sampled_from([None, Memory(epoch=1)]))
def test_no_lease_outlives_what_was_granted_and_no_floor_is_undercut(
    happened: list[tuple[Any, ...]], memory: Memory | None
) -> None:
    watched = Watched(memory)
    for each in happened:
        play(watched, each)
        watched.check()


@given(st.lists(st.integers(0, 400 * MILLISECOND), min_size=4, max_size=4), length)
def test_wherever_a_renewal_is_stopped_nothing_is_open_beyond_its_end(
    stops: list[Duration], rest_us: Duration
) -> None:
    """Rule 4: a process that sleeps between the clock and the commit: 474 ms of two holders."""
    clock = Stopped()
    stopped = dict(zip(("permit", "permitted", "commit", "committed"), stops, strict=True))
    guard = FakeGuard(clock.now, lambda where: clock.pass_time(stopped[where]))
    guard.stand()
    end = clock.now() + rest_us
    done = renew(guard, clock, 4_711, {"10.0.0.100": end})
    opened_at, opens_us = next(((at, us) for at, _, us in guard.opened), (0, 0))
    assert opened_at + opens_us <= end
    assert bool(done) == bool(guard.opened)
    if stopped["commit"] >= PERMIT_US:
        assert not done


class Stopped:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self._now: Instant = 1_000 * SECOND

    def now(self) -> Instant:
        """Return what it shows."""
        return self._now

    def wall(self) -> int:
        """Return the same."""
        return self._now

    async def sleep(self, duration_us: Duration) -> None:
        """Let time pass."""
        self.pass_time(duration_us)

    def pass_time(self, duration_us: Duration) -> None:
        """Let time pass."""
        self._now += duration_us
