"""The ledger of leases, rule by rule, each with the trace that it answers."""

from collections.abc import Mapping
from dataclasses import replace

from services.arbiter.core.leases import (
    Ledger,
    answered,
    begun,
    bound_us,
    deadline,
    end_of,
    grantable,
    heard,
    is_regular,
    is_silent,
    length_for,
    may_hold,
    unfit,
    waits_for,
)
from shared.cluster import LEASE_LONGEST_US, LEASE_SHORTEST_US, VirtualIp
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.leases import Grant, Hold, LeaseBeat, Term
from shared.messages.traffic import Placement
from tests.unit.arbiter.play import cluster_of

BEGIN = 1_000 * SECOND
EVERY = 50 * MILLISECOND
FIRST: Term = (7, 1)
A, B = "node-a", "node-b"
FIXED = 300 * MILLISECOND
ADDRESS = "10.1.0.100"


def beat(
    node: str,
    number: int,
    hold: Hold | None = None,
    *,
    epoch: int = 7,
    incarnation: str = "aaaa",
    vips: Mapping[str, Hold] | None = None,
    **more: object,
) -> LeaseBeat:
    """Return a beat of a switcher that is well, and means what we do."""
    meant = {"web": replace(hold or Hold(), address=ADDRESS)}
    return LeaseBeat(
        node=node,
        incarnation=incarnation,
        number=number,
        epoch=epoch,
        vips=meant if vips is None else vips,
        **more,  # type: ignore[arg-type]
    )


class Desk:
    """A ledger with its placements, at a clock that the test moves."""

    def __init__(
        self, holder: str = A, term: Term = FIRST, lease_us: Duration | None = FIXED
    ) -> None:
        vip = VirtualIp(name="web", address=ADDRESS, prefix=24, home=A)
        cluster = cluster_of()
        heartbeat = replace(cluster.heartbeat, lease_us=lease_us)
        self.cluster = replace(cluster, vips={"web": vip}, heartbeat=heartbeat)
        self.now = BEGIN
        self.ledger: Ledger = begun(self.cluster, 7, self.now)
        self.place(holder, term)

    def place(self, holder: str, term: Term) -> None:
        """Make a plan."""
        self.placements = {"web": Placement(holder=holder, term=term)}

    def hear(self, told: LeaseBeat) -> Grant | None:
        """Hear a beat, and answer it if it is new."""
        ledger = heard(self.ledger, told, self.now)
        if ledger is self.ledger:
            return None
        self.ledger, grant = answered(ledger, told.node, self.placements, self.now)
        return grant

    def next(self, node: str, number: int, heard: int | None = None) -> bool:
        """Hear a beat at its time, and return whether the VIP was granted."""
        self.now += EVERY
        grant = self.hear(beat(node, number, heard=heard))
        assert grant is not None, "every beat is answered"
        return bool(grant.vips)

    def both_know(self) -> None:
        """Let both nodes show that they have heard this arbiter's epoch."""
        self.hear(beat(A, 1))
        self.hear(beat(B, 1))


def test_every_new_beat_is_answered_with_what_its_node_is_to_hold() -> None:
    desk = Desk()
    desk.both_know()
    grant = desk.hear(beat(A, 2))
    assert grant is not None
    assert (grant.incarnation, grant.number, grant.epoch) == ("aaaa", 2, 7)
    assert (dict(grant.vips), grant.length_us) == ({"web": FIRST}, FIXED)
    other = desk.hear(beat(B, 2))
    assert other is not None
    assert not other.vips


def test_rule_1_an_old_number_of_an_incarnation_is_not_answered_again() -> None:
    """Answers "a grant for old beat 17 extends new beat 17": both are named, and none twice."""
    desk = Desk()
    desk.both_know()
    assert desk.hear(beat(A, 17)) is not None
    assert desk.hear(beat(A, 17)) is None
    assert desk.hear(beat(A, 16)) is None
    again = desk.hear(beat(A, 17, incarnation="bbbb"))
    assert again is not None
    assert (again.incarnation, again.number) == ("bbbb", 17)
    assert desk.hear(beat(A, 17)) is None


def test_rule_1_only_a_few_incarnations_are_remembered() -> None:
    desk = Desk()
    for number in range(100):
        desk.hear(beat(A, 1, incarnation=f"{number:04}"))
    assert len(desk.ledger.lessees[A].numbers) == 4


def test_rule_2_a_lease_counts_from_its_receipt_times_the_clocks_worst_rates() -> None:
    desk = Desk()
    desk.both_know()
    desk.hear(beat(A, 2))
    assert end_of(desk.ledger.lessees[A], "web") == desk.now + bound_us(FIXED)
    # The kernel's tick is counted by the node's clock as well.
    assert bound_us(960_000) == 1_030_000


def test_rule_2_a_shorter_later_grant_does_not_shorten_what_may_be_held() -> None:
    """Answers "counting only the newest, shorter length: 233 ms of two holders"."""
    desk = Desk(lease_us=SECOND)
    desk.both_know()
    desk.hear(beat(A, 2))
    longest = desk.now + bound_us(SECOND)
    desk.ledger = replace(desk.ledger, fixed_us=200 * MILLISECOND)
    desk.now += 20 * MILLISECOND
    assert desk.hear(beat(A, 3)) is not None
    assert end_of(desk.ledger.lessees[A], "web") == longest
    desk.place(B, (7, 2))
    desk.now = longest - 1
    grant = desk.hear(beat(B, 2))
    assert grant is not None
    assert not grant.vips
    assert waits_for(desk.ledger, B, "web", desk.now) == A
    desk.now = longest
    grant = desk.hear(beat(B, 3))
    assert grant is not None
    assert dict(grant.vips) == {"web": (7, 2)}


def test_rule_3_a_release_ends_its_own_term_and_the_other_node_gets_the_vip_at_once() -> None:
    desk = Desk()
    desk.both_know()
    desk.hear(beat(A, 2))
    desk.place(B, (7, 2))
    desk.hear(beat(A, 3, Hold(term=FIRST, floor=FIRST)))
    assert not may_hold(desk.ledger, A, "web", desk.now)
    grant = desk.hear(beat(B, 2))
    assert grant is not None
    assert dict(grant.vips) == {"web": (7, 2)}


def test_rule_3_a_late_first_release_does_not_end_the_second_holding() -> None:
    """Answers "away and back with a late first release: 271 ms"."""
    desk = Desk()
    desk.both_know()
    desk.hear(beat(A, 2))
    desk.hear(beat(A, 3, Hold(term=FIRST, floor=FIRST)))
    desk.place(A, (7, 3))
    desk.hear(beat(A, 4, Hold(term=FIRST, floor=FIRST)))
    desk.hear(beat(A, 5, Hold(term=(7, 3), rest_us=FIXED, floor=FIRST)))
    desk.place(B, (7, 4))
    assert may_hold(desk.ledger, A, "web", desk.now)
    grant = desk.hear(beat(B, 2))
    assert grant is not None
    assert not grant.vips


def test_rule_3_a_released_term_is_never_granted_again() -> None:
    """Answers "late grant after a release: 328 ms; restart between: 192 ms"."""
    desk = Desk()
    desk.both_know()
    released = Hold(floor=FIRST)
    for number, incarnation in ((2, "aaaa"), (1, "bbbb")):
        grant = desk.hear(beat(A, number, released, incarnation=incarnation))
        assert grant is not None
        assert not grant.vips
    desk.place(A, (7, 2))
    grant = desk.hear(beat(A, 2, released, incarnation="bbbb"))
    assert grant is not None
    assert dict(grant.vips) == {"web": (7, 2)}


def test_rule_6_nothing_is_granted_on_a_guard_that_is_not_seen_at_work() -> None:
    """Answers "heartbeat lives, switcher is dead: granted for ever, VIP dark"."""
    desk = Desk()
    desk.both_know()
    for told in (
        beat(A, 2, guard_age_us=151 * MILLISECOND),
        beat(A, 3, balancer="dead: connection refused"),
        beat(A, 4, leaving="stopped"),
        beat(A, 5, Hold(unfit="eth1 has no carrier")),
        replace(beat(A, 6), vips={}),
    ):
        grant = desk.hear(told)
        assert grant is not None
        assert not grant.vips
    grant = desk.hear(beat(A, 7, guard_age_us=150 * MILLISECOND))
    assert grant is not None
    assert grant.vips


def test_rule_6_a_node_without_a_working_guard_counts_as_silent() -> None:
    desk = Desk()
    desk.both_know()
    for number in range(2, 12):
        desk.now += EVERY
        desk.hear(beat(A, number, guard_age_us=SECOND))
    assert is_silent(desk.ledger.lessees[A], desk.now, BEGIN)
    assert not is_silent(desk.ledger.lessees[A], desk.now, desk.now - FIXED)


def test_rule_6_who_does_not_hear_its_grants_is_granted_nothing_until_it_does() -> None:
    """Answers "it beats and beats, is granted for ever and takes nothing: dark for ever"."""
    desk = Desk()
    desk.both_know()
    last = 400  # by then it is known how regularly it beats
    granted = [desk.next(A, n, heard=min(n - 1, last)) for n in range(2, last + 6)]
    # The one that shows the last answer, one by chance, and then no more.
    assert granted[last - 2 :] == [True, True, True, False, False, False]
    assert end_of(desk.ledger.lessees[A], "web") == desk.now - 3 * EVERY + bound_us(FIXED)
    assert desk.ledger.lessees[A].hearing.deafness == (
        "it beats, but has heard no answer for 200 ms"
    )
    assert desk.next(A, last + 6, heard=last + 5)
    assert not desk.ledger.lessees[A].hearing.deafness


def test_rule_6_whose_answers_are_late_but_go_on_is_not_deaf() -> None:
    desk = Desk()
    desk.both_know()
    assert all(desk.next(A, number, heard=number - 8) for number in range(10, 40))


def test_rule_6_beats_that_come_all_at_once_show_no_deafness() -> None:
    desk = Desk()
    desk.both_know()
    assert desk.next(A, 2, heard=1)
    desk.now += 300 * MILLISECOND
    for number in range(3, 9):
        grant = desk.hear(beat(A, number, heard=2))
        assert grant is not None
        assert grant.vips
    assert desk.next(A, 9, heard=8)


def test_rule_6_a_starved_node_has_as_long_to_hear_as_it_has_lately_been_away() -> None:
    desk = Desk(lease_us=None)
    desk.both_know()
    desk.now += 2 * SECOND
    for number in range(2, 40):
        desk.next(A, number, heard=number - 1)
    desk.now += 150 * MILLISECOND
    assert desk.next(A, 40, heard=39)  # 200 ms after the one before it
    assert [desk.next(A, number, heard=39) for number in range(41, 47)] == [True] * 3 + [False] * 3


def test_rule_6_a_switcher_that_does_not_say_whether_it_hears_is_believed() -> None:
    desk = Desk()
    desk.both_know()
    assert all(desk.next(A, number) for number in range(2, 20))


def test_rule_6_a_new_switcher_is_not_as_deaf_as_the_one_before_it() -> None:
    desk = Desk()
    desk.both_know()
    for number in range(2, 10):
        desk.next(A, number, heard=1)
    assert desk.ledger.lessees[A].hearing.deafness
    desk.now += EVERY
    grant = desk.hear(beat(A, 1, incarnation="bbbb", heard=0))
    assert grant is not None
    assert grant.vips


def test_rule_8_a_new_arbiter_waits_for_the_longest_lease_before_it_gives_a_vip_away() -> None:
    desk = Desk(holder=B)
    for number in range(1, 30):
        desk.now = BEGIN + number * 40 * MILLISECOND
        grant = desk.hear(beat(B, number))
        assert grant is not None
        assert bool(grant.vips) == (desk.now >= BEGIN + bound_us(LEASE_LONGEST_US))
    assert deadline(begun(desk.cluster, 7, BEGIN), BEGIN) == BEGIN + bound_us(LEASE_LONGEST_US)


def test_rule_8_the_reported_holder_goes_on_as_soon_as_it_has_heard_the_new_epoch() -> None:
    desk = Desk()
    running = Hold(term=FIRST, rest_us=100 * MILLISECOND)
    grant = desk.hear(beat(A, 1, running, epoch=6))
    assert grant is not None
    assert not grant.vips
    grant = desk.hear(beat(A, 2, running))
    assert grant is not None
    assert dict(grant.vips) == {"web": FIRST}


def test_rule_8_a_late_beat_from_before_the_new_epoch_does_not_make_its_node_the_holder() -> None:
    """Another may have been given the VIP since that beat was sent, and be out of our hearing."""
    desk = Desk(term=(6, 9))
    desk.hear(beat(A, 1, Hold(term=(6, 1), rest_us=300 * MILLISECOND), epoch=6))
    grant = desk.hear(beat(A, 2, Hold(term=(6, 1))))
    assert grant is not None
    assert not grant.vips
    desk.now = BEGIN + bound_us(LEASE_LONGEST_US)
    grant = desk.hear(beat(A, 3))
    assert grant is not None
    assert dict(grant.vips) == {"web": (6, 9)}


def test_rule_8_once_all_have_heard_the_new_epoch_only_what_they_show_is_waited_for() -> None:
    desk = Desk(holder=B)
    desk.hear(beat(A, 1, Hold(term=FIRST, rest_us=100 * MILLISECOND)))
    grant = desk.hear(beat(B, 1))
    assert grant is not None
    assert not grant.vips
    end = BEGIN + bound_us(100 * MILLISECOND)
    assert deadline(desk.ledger, desk.now) == end
    desk.now = end
    grant = desk.hear(beat(B, 2))
    assert grant is not None
    assert grant.vips


def test_rule_8_who_could_not_make_its_guard_does_not_know_what_was_left_open() -> None:
    """Answers "killed, started without rights to the kernel, arbiter new: 72 ms of two holders"."""
    desk = Desk(holder=B)
    desk.hear(beat(A, 1, guard_detail="the kernel does not do it"))
    grant = desk.hear(beat(B, 1))
    assert grant is not None
    assert not grant.vips
    desk.hear(beat(A, 2))
    grant = desk.hear(beat(B, 2))
    assert grant is not None
    assert grant.vips


def test_rule_8_an_older_arbiters_grant_that_arrives_late_is_seen_in_the_next_report() -> None:
    desk = Desk()
    desk.hear(beat(A, 1, Hold(term=FIRST, rest_us=50 * MILLISECOND), epoch=6))
    desk.now += EVERY
    desk.hear(beat(A, 2, Hold(term=FIRST, rest_us=900 * MILLISECOND), epoch=6))
    desk.now += EVERY
    desk.hear(beat(A, 3, Hold(term=FIRST, rest_us=850 * MILLISECOND)))
    assert end_of(desk.ledger.lessees[A], "web") >= desk.now + bound_us(850 * MILLISECOND)


def test_a_lease_that_we_granted_is_not_counted_longer_because_a_beat_came_late() -> None:
    desk = Desk()
    desk.both_know()
    desk.hear(beat(A, 2))
    end = end_of(desk.ledger.lessees[A], "web")
    desk.now += 100 * MILLISECOND
    late = beat(A, 3, Hold(term=FIRST, rest_us=FIXED), leaving="stopped")
    desk.hear(late)
    assert end_of(desk.ledger.lessees[A], "web") == end


def test_the_newest_beat_can_be_answered_again_when_the_other_lease_has_ended() -> None:
    desk = Desk()
    desk.both_know()
    desk.hear(beat(A, 2))
    end = end_of(desk.ledger.lessees[A], "web")
    desk.place(B, (7, 2))
    desk.now = end - 10 * MILLISECOND
    first = desk.hear(beat(B, 2))
    assert deadline(desk.ledger, desk.now) == end
    desk.now = end
    assert grantable(desk.ledger, "web", desk.placements["web"], desk.now)
    desk.ledger, second = answered(desk.ledger, B, desk.placements, desk.now)
    assert first is not None
    assert (first.number, second.number) == (2, 2)
    assert (dict(first.vips), dict(second.vips)) == ({}, {"web": (7, 2)})
    # The node counts from when it sent that beat, so we count from when it came.
    assert end_of(desk.ledger.lessees[B], "web") == end - 10 * MILLISECOND + bound_us(FIXED)


def test_a_quiet_machine_gets_the_shortest_lease_and_a_noisy_one_a_longer_at_once() -> None:
    desk = Desk(lease_us=None)
    number = 0
    for _ in range(20 * 60):
        number, desk.now = number + 1, desk.now + EVERY
        desk.hear(beat(A, number))
    assert desk.ledger.lessees[A].length_us == LEASE_SHORTEST_US
    number, desk.now = number + 1, desk.now + 200 * MILLISECOND
    desk.hear(beat(A, number))
    assert desk.ledger.lessees[A].length_us == length_for(200 * MILLISECOND, EVERY) == 450_000
    number, desk.now = number + 1, desk.now + EVERY
    desk.hear(beat(A, number))
    assert desk.ledger.lessees[A].length_us > 440_000
    for _ in range(20 * 240):
        number, desk.now = number + 1, desk.now + EVERY
        desk.hear(beat(A, number))
    assert desk.ledger.lessees[A].length_us == LEASE_SHORTEST_US


def test_grants_that_are_lost_make_leases_longer_as_lost_beats_do() -> None:
    desk = Desk(lease_us=None)
    for number in range(1, 1_200):
        desk.now += EVERY
        desk.hear(beat(A, number, heard=number - 1))
    assert desk.ledger.lessees[A].length_us == LEASE_SHORTEST_US
    for number in range(1_200, 1_203):  # three answers on their way to it are lost
        desk.now += EVERY
        desk.hear(beat(A, number, heard=1_198))
    desk.now += EVERY
    desk.hear(beat(A, 1_203, heard=1_202))
    assert desk.ledger.lessees[A].length_us == length_for(4 * EVERY, EVERY) == 450_000


def test_neither_our_own_pause_nor_a_lost_node_is_a_noisy_machine() -> None:
    desk = Desk(lease_us=None)
    desk.hear(beat(A, 1))
    before = desk.ledger.lessees[A].length_us
    desk.now += 400 * MILLISECOND
    desk.ledger = heard(desk.ledger, beat(A, 2), desk.now, ears_since=desk.now - 1)
    assert desk.ledger.lessees[A].length_us == before
    desk.now += 3 * SECOND
    desk.hear(beat(A, 3))
    assert desk.ledger.lessees[A].length_us == before
    desk.now += 900 * MILLISECOND  # it has just come back, and beats in bursts
    desk.hear(beat(A, 4))
    assert desk.ledger.lessees[A].length_us == before
    for number in range(5, 5 + 21):
        desk.now += EVERY
        desk.hear(beat(A, number))
    desk.now += 900 * MILLISECOND
    desk.hear(beat(A, 26))
    assert desk.ledger.lessees[A].length_us == LEASE_LONGEST_US


def test_a_node_is_regular_only_after_a_whole_lease_without_a_pause() -> None:
    desk = Desk()
    for number in range(1, 8):
        desk.now += EVERY
        desk.hear(beat(B, number))
        expected = desk.now - (BEGIN + EVERY) >= FIXED
        assert is_regular(desk.ledger.lessees[B], desk.now, BEGIN) == expected
    desk.now += FIXED + 1
    assert not is_regular(desk.ledger.lessees[B], desk.now, BEGIN)
    desk.hear(beat(B, 8))
    assert not is_regular(desk.ledger.lessees[B], desk.now, BEGIN)


def test_a_deaf_node_is_regular_only_a_whole_lease_after_it_hears_again() -> None:
    desk = Desk()
    for number in range(1, 20):
        desk.next(B, number, heard=min(number - 1, 9))
    assert not is_regular(desk.ledger.lessees[B], desk.now, BEGIN)
    for number in range(20, 28):
        desk.next(B, number, heard=number - 1)
        expected = number - 19 >= FIXED // EVERY
        assert is_regular(desk.ledger.lessees[B], desk.now, BEGIN) == expected


def test_a_beat_of_a_stranger_changes_nothing() -> None:
    desk = Desk()
    assert desk.hear(beat("node-z", 1)) is None


def granted(desk: Desk, said: LeaseBeat) -> Mapping[str, Term]:
    """Return what a beat is granted."""
    grant = desk.hear(said)
    assert grant is not None
    return grant.vips


def test_who_means_another_address_by_a_name_is_not_granted_it() -> None:
    for other, why in (("10.1.0.101", "its file says 10.1.0.101"), ("", "does not say which")):
        desk = Desk()
        desk.hear(beat(B, 1))
        assert granted(desk, beat(A, 1, vips={"web": Hold(address=other)})) == {}
        assert why in unfit(desk.ledger, desk.ledger.lessees[A], "web")
        assert granted(desk, beat(A, 2)) == {"web": FIRST}


def test_an_address_that_is_open_under_another_name_is_waited_for() -> None:
    desk = Desk(holder=B)
    other = Hold(term=(6, 9), rest_us=FIXED, address=ADDRESS)
    desk.hear(beat(A, 1, vips={"old-name": other}))
    assert granted(desk, beat(B, 1)) == {}
    assert waits_for(desk.ledger, B, "web", desk.now) == A
    # A floor is of the other name: it ends nothing of this one, and neither does a closed guard.
    released = Hold(term=(6, 9), floor=(9, 9), address=ADDRESS)
    desk.hear(beat(A, 2, vips={"old-name": released, "web": Hold(address=ADDRESS)}))
    assert granted(desk, beat(B, 2)) == {}
    end = deadline(desk.ledger, desk.now)
    assert end == BEGIN + bound_us(FIXED)
    desk.now = end
    assert granted(desk, beat(B, 3)) == {"web": FIRST}


def test_a_lease_of_another_address_proves_nobody_the_only_holder() -> None:
    desk = Desk()
    swapped = Hold(term=FIRST, rest_us=FIXED, address="10.1.0.101")
    desk.hear(beat(A, 1, vips={"web": swapped}))
    assert "web" not in desk.ledger.lessees[A].shown
    desk.hear(beat(A, 2, Hold(term=FIRST, rest_us=FIXED)))
    assert "web" in desk.ledger.lessees[A].shown
