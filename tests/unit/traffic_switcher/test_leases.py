"""The rules of leases, one by one, each with the situation that broke a protocol without it."""

from dataclasses import replace

from services.traffic_switcher.core import leases
from services.traffic_switcher.core.leases.actions import (
    HandOver,
    LetGo,
    PassOn,
    PersistFloors,
    Renew,
)
from services.traffic_switcher.core.leases.granting import beat_sent_at
from services.traffic_switcher.core.leases.pace import ANNOUNCE_AGAIN_US, PERMIT_US, RENEW_AGAIN_US
from services.traffic_switcher.core.leases.state import (
    AddressTaken,
    Answered,
    BalancerChanged,
    Claimed,
    GuardShown,
    Heard,
    Memory,
    NotAnnounced,
    PlacesChanged,
    PlacesSeen,
    PlacesUnknown,
    PlanInForce,
    Tick,
)
from services.traffic_switcher.core.state import Trace
from shared.instant import MILLISECOND, SECOND
from shared.messages.leases import NO_TERM, ClaimSeen, Held
from shared.messages.traffic import Drift
from tests.unit.traffic_switcher.lease_play import (
    EVERY_US,
    LEASE_US,
    LeasePlay,
    here,
    plan,
    there,
)

FIRST, SECOND_TERM, THIRD = (1, 1), (1, 2), (1, 3)
REMEMBERED = Memory(epoch=1, floors={})


def holding() -> LeasePlay:
    """Return a play in which node-a holds web."""
    play = LeasePlay(REMEMBERED)
    play.follow(FIRST, {"web": here(FIRST), "api": there(FIRST)})
    play.hear({"web": FIRST})
    assert play.is_open("web")
    return play


# -- rule 1: beats are (incarnation, number) -----------------------------------------------------


def test_a_grant_for_a_beat_of_the_process_before_gives_nothing() -> None:
    """Else a grant for old beat 17 extends new beat 17: 101 ms of two holders."""
    play = LeasePlay(REMEMBERED)
    old = play.grant({"web": FIRST})
    play.start()
    assert play.beats[-1].number >= old.number
    play.feed(Heard(old))
    assert not play.is_open("web")


def test_a_grant_for_a_beat_that_was_never_sent_gives_nothing() -> None:
    play = LeasePlay(REMEMBERED)
    grant = play.grant({"web": FIRST})
    play.feed(Heard(replace(grant, number=4_711)))
    assert not play.is_open("web")


def test_a_grant_to_another_node_gives_nothing() -> None:
    play = LeasePlay(REMEMBERED)
    grant = play.grant({"web": FIRST})
    play.feed(Heard(replace(grant, node="node-b")))
    assert not play.is_open("web")


def test_a_beat_says_which_beat_was_answered_last_be_it_with_nothing() -> None:
    """Else nobody knows that this node hears nothing, and it is granted what it cannot take."""
    play = LeasePlay(REMEMBERED)
    answered = play.beats[-1]
    play.feed(Heard(play.grant({}, beat=answered, epoch=3)))
    play.pass_time(3 * EVERY_US)
    assert play.beats[-1].number > answered.number
    assert play.beats[-1].heard == answered.number
    play.feed(Heard(play.grant({}, epoch=2)))  # of an arbiter before the last
    play.feed(Heard(play.grant({}, beat=answered, epoch=3)))
    play.pass_time(EVERY_US)
    newest = play.beats[-1]
    assert newest.heard == answered.number
    play.feed(Heard(play.grant({}, beat=newest, epoch=3)))
    play.pass_time(EVERY_US)
    assert play.beats[-1].heard == newest.number
    play.start()
    assert play.beats[-1].heard == 0


def test_the_last_64_beats_are_known_and_no_more() -> None:
    play = LeasePlay(REMEMBERED)
    play.pass_time(200 * EVERY_US)
    newest, sent_at = play.beats[-1], play.state.beat_at - EVERY_US
    for before, is_known in ((-1, False), (0, True), (1, True), (63, True), (64, False)):
        grant = play.grant({}, beat=replace(newest, number=newest.number - before))
        assert beat_sent_at(play.state, grant) == (
            sent_at - before * EVERY_US if is_known else None
        )


# -- rule 2: counted from when the beat was sent ---------------------------------------------------


def test_a_lease_runs_from_when_its_beat_was_sent_however_late_the_grant_is() -> None:
    play = LeasePlay(REMEMBERED)
    beat, sent_at = play.beats[-1], play.now
    play.pass_time(200 * MILLISECOND)
    play.feed(Heard(play.grant({"web": FIRST}, beat=beat)))
    assert play.kernel.ends["web"] == sent_at + LEASE_US - PERMIT_US


def test_a_shorter_grant_of_a_later_beat_does_not_shorten_what_was_granted() -> None:
    play = holding()
    ends_at = play.state.vips["web"].ends_at
    play.pass_time(EVERY_US)
    play.hear({"web": FIRST}, length_us=20 * MILLISECOND)
    assert play.state.vips["web"].ends_at == ends_at


def test_a_grant_whose_lease_is_over_gives_nothing() -> None:
    play = LeasePlay(REMEMBERED)
    grant = play.grant({"web": FIRST})
    play.sleep(LEASE_US)
    play.feed(Heard(grant))
    assert not play.is_open("web")
    assert play.held == []


# -- rule 3: terms and floors ----------------------------------------------------------------------


def test_a_late_grant_after_a_release_gives_nothing() -> None:
    """Else a grant that overtook nothing but itself opens the guard again: 328 ms."""
    play = holding()
    late = play.grant({"web": FIRST})
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    assert not play.is_open("web")
    play.feed(Heard(late))
    assert not play.is_open("web")


def test_a_floor_outlives_the_process() -> None:
    """Else a restart between release and late grant opens it again: 192 ms."""
    play = holding()
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    play.plan = None  # the plan's file alone does not say what was released
    play.start()
    assert play.beats[-1].vips["web"].floor == SECOND_TERM
    play.hear({"web": FIRST})
    assert not play.is_open("web")


def test_a_release_does_not_refuse_the_term_that_gives_it_back() -> None:
    play = holding()
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    play.follow(THIRD, {"web": here(THIRD), "api": there(FIRST)})
    play.hear({"web": THIRD})
    assert play.is_open("web")


def test_a_term_that_was_replaced_is_not_taken_again() -> None:
    play = holding()
    old = play.grant({"web": FIRST})
    play.hear({"web": SECOND_TERM})
    play.feed(Heard(old))
    assert play.state.vips["web"].term == SECOND_TERM


def test_a_plan_gives_nothing() -> None:
    play = LeasePlay(REMEMBERED)
    play.follow(FIRST, {"web": here(FIRST)})
    play.pass_time(SECOND)
    assert not play.is_open("web")


def test_a_plan_that_is_older_than_the_lease_takes_nothing_away() -> None:
    play = LeasePlay(REMEMBERED)
    play.hear({"web": THIRD})
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM)})
    assert play.is_open("web")


def test_a_release_is_said_when_the_guard_is_closed_and_the_floor_is_persisted() -> None:
    play = holding()
    before = len(play.done)
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    kinds = play.kinds()[before:]
    assert kinds.index("CloseGuard") < kinds.index("PersistFloors") < kinds.index("Say")
    assert kinds.index("PersistFloors") < kinds.index("Beat")
    assert play.held[-1] == ("web", "released")
    assert play.beats[-1].vips["web"].floor == SECOND_TERM


def test_what_is_not_on_the_disk_is_not_said() -> None:
    play = holding()
    play.disk_full = True
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    play.pass_time(3 * SECOND)
    assert not play.is_open("web")
    assert play.beats[-1].vips["web"].floor == NO_TERM
    assert ("web", "released") not in play.held
    assert play.beats[-1].unkept == "disk full"
    play.disk_full = False
    play.pass_time(2 * SECOND)
    assert play.beats[-1].unkept == ""
    assert play.beats[-1].vips["web"].floor == SECOND_TERM
    assert play.held[-1] == ("web", "released")


def test_a_guard_that_cannot_be_closed_is_not_said_to_be_before_its_lease_is_over() -> None:
    play = holding()
    ends_at = play.state.vips["web"].ends_at
    play.kernel.refuses = "no"
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    assert play.beats[-1].vips["web"].floor == NO_TERM
    play.pass_time(ends_at - play.now - 1)
    assert ("web", "released") not in play.held
    play.pass_time(EVERY_US)
    assert play.held[-1] == ("web", "released")
    assert play.beats[-1].vips["web"].floor == SECOND_TERM


def test_no_floor_is_said_before_this_process_has_closed_what_was_left_open() -> None:
    """Answers "killed, new guard refused, its plan gave the VIP away: 478 ms of two holders"."""
    play = holding()
    play.kernel.refuses = "the kernel does not do it"
    play.start()
    play.follow((1, 9), {"web": there((1, 9)), "api": there((1, 9))})
    play.pass_time(100 * MILLISECOND)
    assert play.beats[-1].vips["web"].floor == NO_TERM
    play.kernel.refuses = ""
    play.pass_time(SECOND)
    assert play.beats[-1].vips["web"].floor == (1, 9)


# -- rule 4: the permit ----------------------------------------------------------------------------


def test_what_is_left_is_cut_by_the_life_of_a_permit() -> None:
    assert leases.rests({"web": 1_000_000}, 900_000) == {"web": 100_000 - PERMIT_US}


def test_what_would_end_within_the_life_of_a_permit_is_not_renewed() -> None:
    assert leases.rests({"web": 1_000_000}, 1_000_000 - PERMIT_US) == {}


def test_what_the_permit_refused_is_tried_again_soon_and_not_all_the_time() -> None:
    play = LeasePlay(REMEMBERED)
    play.kernel.permits = False
    play.hear({"web": FIRST})
    play.pass_time(LEASE_US)
    assert not play.is_open("web")
    assert play.kinds().count("Renew") <= LEASE_US // RENEW_AGAIN_US
    play.hear({"web": FIRST})
    play.kernel.permits = True
    play.pass_time(RENEW_AGAIN_US)
    assert play.is_open("web")
    assert play.held == [("web", "taken"), ("web", "answered")]


# -- rule 7: memory --------------------------------------------------------------------------------


def test_who_remembers_nothing_takes_nothing_before_it_has_persisted_a_plan() -> None:
    play = LeasePlay(None)
    play.hear({"web": FIRST})
    assert not play.is_open("web")
    assert play.disk is None


def test_who_remembers_nothing_gets_only_terms_that_were_made_after_it() -> None:
    """Else a node whose disk was lost takes what it had released: away and back, 271 ms."""
    play = LeasePlay(None)
    play.follow(SECOND_TERM, {"web": here(FIRST), "api": there(SECOND_TERM)})
    assert play.beats[-1].vips["web"].floor == FIRST
    play.hear({"web": FIRST})
    assert not play.is_open("web")
    play.follow(THIRD, {"web": here(THIRD), "api": there(SECOND_TERM)})
    play.hear({"web": THIRD})
    assert play.is_open("web")


def test_what_was_granted_to_who_remembers_nothing_is_refused_for_ever() -> None:
    play = LeasePlay(None)
    play.hear({"web": SECOND_TERM})
    play.follow(FIRST, {"web": here(FIRST)})
    play.hear({"web": SECOND_TERM})
    assert not play.is_open("web")
    assert play.beats[-1].vips["web"].floor == SECOND_TERM


def test_a_persisted_plan_alone_is_no_memory_of_leases() -> None:
    play = LeasePlay(None, plan(SECOND_TERM, {"web": here(FIRST)}))
    play.hear({"web": FIRST})
    assert not play.is_open("web")


# -- rule 8: epochs --------------------------------------------------------------------------------


def test_a_grant_of_an_arbiter_before_the_last_gives_nothing() -> None:
    play = LeasePlay(REMEMBERED)
    play.feed(Heard(play.grant({}, epoch=3)))
    play.feed(Heard(play.grant({"web": FIRST}, epoch=2)))
    assert not play.is_open("web")
    assert play.beats[-1].epoch == 3


def test_an_epoch_is_persisted_before_it_is_said() -> None:
    play = LeasePlay(REMEMBERED)
    play.disk_full = True
    play.feed(Heard(play.grant({}, epoch=3)))
    play.pass_time(EVERY_US)
    assert play.beats[-1].epoch == 1
    play.feed(Heard(play.grant({"web": FIRST}, epoch=2)))
    assert not play.is_open("web")


# -- sleeping and lapsing --------------------------------------------------------------------------


def test_a_lease_that_ran_out_is_noticed_and_may_be_granted_again() -> None:
    play = holding()
    play.pass_time(LEASE_US)
    assert play.held[-1] == ("web", "lapsed")
    assert "web" not in play.addresses
    play.hear({"web": FIRST})
    assert play.is_open("web")
    assert "web" in play.addresses


def test_who_slept_notices_what_ran_out_before_anything_else() -> None:
    play = holding()
    play.sleep(10 * SECOND)
    before = len(play.done)
    play.hear({"web": FIRST})
    assert play.kinds()[before] == "DropAddress"
    assert not play.is_open("web")
    assert play.held[-1] == ("web", "lapsed")


# -- giving up by itself ---------------------------------------------------------------------------


def test_a_dead_load_balancer_releases_at_once_and_says_so() -> None:
    play = holding()
    play.feed(BalancerChanged("dead: its process is gone"))
    assert not play.is_open("web")
    assert play.held[-1] == ("web", "released")
    assert play.beats[-1].balancer == "dead: its process is gone"
    assert play.beats[-1].vips["web"].floor == FIRST


def test_what_comes_while_this_node_is_unfit_is_given_up_at_once() -> None:
    play = LeasePlay(REMEMBERED)
    play.feed(BalancerChanged("hung: no answer"))
    play.hear({"web": FIRST})
    assert not play.is_open("web")
    assert play.beats[-1].vips["web"].floor == FIRST


def test_being_fit_again_is_said_at_once() -> None:
    play = LeasePlay(REMEMBERED)
    play.feed(BalancerChanged("hung: no answer"))
    count = len(play.beats)
    play.feed(BalancerChanged(""))
    assert len(play.beats) == count + 1
    assert play.beats[-1].balancer == ""


# -- planned moves ---------------------------------------------------------------------------------


def test_the_new_holder_hands_over_before_its_guard_opens() -> None:
    play = LeasePlay(REMEMBERED)
    moved = here(SECOND_TERM, previous="node-b", drain_us=5 * SECOND)
    play.follow(SECOND_TERM, {"web": moved})
    before = len(play.done)
    play.hear({"web": SECOND_TERM})
    kinds = play.kinds()[before:]
    assert kinds.index("HandOver") < kinds.index("Renew")
    assert HandOver("web", "10.0.0.2", 5 * SECOND) in play.done


def test_a_vip_of_another_version_is_handed_over_beside_it() -> None:
    """Packets are passed on within one version of IP; what comes from outside is judged."""
    for said, to in (
        ("fd00:1::2", "fd00:1::2"),
        ("", "10.0.0.2"),  # the guard refuses, and says why
        ("fd00:2::2", "10.0.0.2"),
        ("fd00:1::2%eth0", "10.0.0.2"),
        ("10.0.0.9", "10.0.0.2"),
        ("nonsense", "10.0.0.2"),
    ):
        play = LeasePlay(REMEMBERED)
        six = replace(play.cluster.vips["web"], address="fd00:1::100", prefix=64)
        of = replace(play.cluster, vips={**play.cluster.vips, "web": six})
        play.state = replace(play.state, cluster=of)
        moved = here(SECOND_TERM, previous="node-b", drain_us=SECOND, previous_beside=said)
        play.follow(SECOND_TERM, {"web": moved})
        play.hear({"web": SECOND_TERM})
        assert HandOver("web", to, SECOND) in play.done, said


def test_a_node_says_where_it_is_beside_its_vips() -> None:
    play = LeasePlay(REMEMBERED)
    there_too = replace(play.places["web"], beside="10.0.0.1")
    play.feed(PlacesSeen({**play.places, "web": there_too}, play.now))
    play.pass_time(EVERY_US)
    assert play.beats[-1].vips["web"].beside == "10.0.0.1"


def test_a_grant_that_comes_before_its_plan_hands_over_as_soon_as_that_is_known() -> None:
    play = LeasePlay(REMEMBERED)
    play.hear({"web": SECOND_TERM})
    moved = here(SECOND_TERM, previous="node-b", drain_us=5 * SECOND)
    play.follow(SECOND_TERM, {"web": moved})
    assert play.kinds().count("HandOver") == 1


def test_the_holder_before_serves_open_connections_on_and_keeps_the_address_for_them() -> None:
    play = holding()
    moved = there(SECOND_TERM, previous="node-a", drain_us=2 * SECOND)
    play.follow(SECOND_TERM, {"web": moved, "api": there(FIRST)})
    assert not play.is_open("web")
    assert "web" in play.addresses
    play.pass_time(2 * SECOND)
    assert "web" not in play.addresses
    assert play.held[-1] == ("web", "drained")


def test_the_address_stays_for_as_long_as_it_drains() -> None:
    """The kernel removes it by itself after seconds, and old connections with it."""
    play = holding()
    moved = there(SECOND_TERM, previous="node-a", drain_us=30 * SECOND)
    play.follow(SECOND_TERM, {"web": moved, "api": there(FIRST)})
    count = play.kinds().count("TakeAddress")
    play.pass_time(29 * SECOND)
    assert play.kinds().count("TakeAddress") >= count + 28
    assert "web" in play.addresses
    play.pass_time(2 * SECOND)
    count = play.kinds().count("TakeAddress")
    play.pass_time(5 * SECOND)
    assert play.kinds().count("TakeAddress") == count


def test_who_comes_after_the_guard_is_closed_is_held_back_and_passed_on_to_who_claims_it() -> None:
    play = holding()
    count = len(play.done)
    moved = there(SECOND_TERM, previous="node-a", drain_us=2 * SECOND)
    play.follow(SECOND_TERM, {"web": moved, "api": there(FIRST)})
    kinds = play.kinds()[count:]
    assert kinds[:2] == ["CloseGuard", "HoldBack"]  # before, he was met here
    assert leases.draining(play.state) == ("web",)
    play.feed(Claimed("web", "02:00:00:00:00:0b", "eth0"))
    assert play.done[-1] == PassOn("web", "02:00:00:00:00:0b")
    assert "Announce" not in play.kinds()[count:]
    play.pass_time(2 * SECOND)
    assert LetGo("web") in play.done
    assert leases.draining(play.state) == ()
    count = len(play.done)
    play.feed(Claimed("web", "02:00:00:00:00:0b", "eth0"))
    assert "PassOn" not in play.kinds()[count:]


def test_a_vip_that_comes_back_while_it_drains_meets_its_clients_itself_again() -> None:
    play = holding()
    moved = there(SECOND_TERM, previous="node-a", drain_us=9 * SECOND)
    play.follow(SECOND_TERM, {"web": moved, "api": there(FIRST)})
    play.follow(THIRD, {"web": here(THIRD, previous="node-b", drain_us=9 * SECOND)})
    count = len(play.done)
    play.hear({"web": THIRD})
    kinds = play.kinds()[count:]
    assert kinds.index("LetGo") < kinds.index("Renew")
    assert leases.draining(play.state) == ()


def test_who_comes_to_a_dead_load_balancer_is_held_back_for_a_second_and_passed_on() -> None:
    play = holding()
    count = len(play.done)
    play.feed(BalancerChanged("dead: haproxy is not running"))
    kinds = play.kinds()[count:]
    # The address goes, since nothing is served on.
    assert kinds[:3] == ["CloseGuard", "HoldBack", "DropAddress"]
    assert leases.draining(play.state) == ()
    play.feed(Claimed("web", "02:00:00:00:00:0b", "eth0"))
    assert play.done[-1] == PassOn("web", "02:00:00:00:00:0b")
    play.pass_time(SECOND)
    assert LetGo("web") in play.done
    count = len(play.done)
    play.feed(Claimed("web", "02:00:00:00:00:0b", "eth0"))
    assert "PassOn" not in play.kinds()[count:]


def test_who_was_held_back_is_let_go_when_the_vip_comes_back_at_once() -> None:
    play = holding()
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    play.follow(THIRD, {"web": here(THIRD)})
    count = len(play.done)
    play.hear({"web": THIRD})
    kinds = play.kinds()[count:]
    assert kinds.index("LetGo") < kinds.index("Renew")


def test_nobody_is_held_back_when_a_lease_runs_out() -> None:
    """Nothing says then that this machine is heard, nor that anybody comes after it."""
    play = holding()
    play.pass_time(2 * SECOND)
    assert "HoldBack" not in play.kinds()


# -- links and addresses ---------------------------------------------------------------------------


def test_a_change_while_the_links_are_read_is_read_again_at_once() -> None:
    play = LeasePlay(REMEMBERED)
    play.holds_places = True
    play.feed(PlacesChanged())
    count = play.kinds().count("LookAround")
    began_at = play.now
    play.feed(PlacesChanged())
    assert play.kinds().count("LookAround") == count
    play.holds_places = False
    play.feed(PlacesSeen(play.places, began_at))
    assert play.kinds().count("LookAround") == count + 1


def test_what_is_left_over_from_a_process_before_is_dropped() -> None:
    play = LeasePlay(REMEMBERED)
    play.addresses.add("web")
    play.start()
    assert "web" not in play.addresses


def test_an_address_that_the_kernel_refuses_is_given_up_and_tried_later() -> None:
    play = LeasePlay(REMEMBERED)
    play.refuses_addresses = "no such device"
    play.hear({"web": FIRST})
    assert not play.is_open("web")
    assert play.beats[-1].vips["web"].floor == FIRST
    assert "no such device" in play.beats[-1].vips["web"].unfit
    play.pass_time(6 * SECOND)
    assert play.beats[-1].vips["web"].unfit == ""


def test_who_cannot_see_its_interfaces_holds_nothing() -> None:
    play = holding()
    play.feed(PlacesUnknown("netlink is gone"))
    assert not play.is_open("web")
    assert play.held[-1] == ("web", "released")


# -- somebody else ---------------------------------------------------------------------------------


def test_a_lease_that_somebody_removed_is_committed_again_and_said() -> None:
    play = holding()
    play.kernel.ends.clear()
    play.pass_time(EVERY_US)
    assert play.is_open("web")
    drift = [m for m in play.said if isinstance(m, Drift)]
    assert [(m.service, m.target, m.installed) for m in drift] == [("vip", "web", "closed")]
    assert play.held == [("web", "taken"), ("web", "answered")]


def test_a_lease_that_somebody_opened_is_closed_and_said() -> None:
    play = LeasePlay(REMEMBERED)
    play.kernel.ends["api"] = play.now + SECOND
    play.pass_time(EVERY_US)
    assert not play.is_open("api")
    assert [m.target for m in play.said if isinstance(m, Drift)] == ["api"]


def test_what_the_kernel_said_before_a_lease_ended_is_nobodys_deed() -> None:
    play = holding()
    seen = GuardShown(play.kernel.rests(play.now), play.now)
    play.sleep(2 * SECOND)  # nobody had a processor meanwhile
    play.feed(seen)
    assert not [m for m in play.said if isinstance(m, Drift)]


CLAIM = Claimed("web", "02:00:00:00:00:99", "eth0")


def test_a_storm_of_claims_is_answered_ten_times_a_second_said_seldom_and_counted_whole() -> None:
    play = holding()
    before = play.kinds().count("Announce")
    for _ in range(1_000):
        play.feed(CLAIM)
    assert play.kinds().count("Announce") == before + 1
    play.hear({"web": FIRST}, length_us=SECOND)
    play.pass_time(100 * MILLISECOND)
    play.feed(CLAIM)
    assert play.kinds().count("Announce") == before + 2
    assert [m.seen for m in play.said if isinstance(m, ClaimSeen)] == [1]
    keep_holding(play, 10 * SECOND)
    play.feed(CLAIM)
    assert [m.seen for m in play.said if isinstance(m, ClaimSeen)] == [1, 1_002]


def test_while_somebody_claims_it_it_is_announced_every_second_and_soon_after_that_seldom() -> None:
    play = holding()
    keep_holding(play, 10 * SECOND)
    before = play.kinds().count("Announce")
    play.feed(CLAIM)
    play.feed(CLAIM)  # so soon that it is not answered by itself: by the next announcement
    keep_holding(play, 2 * SECOND)
    assert play.kinds().count("Announce") == before + 3
    keep_holding(play, 20 * SECOND)
    assert play.kinds().count("Announce") == before + 5


def test_a_claim_of_a_vip_that_is_not_held_here_is_nobodys_business() -> None:
    play = LeasePlay(REMEMBERED)
    play.feed(CLAIM)
    assert "Announce" not in play.kinds()


def keep_holding(play: LeasePlay, length_us: int) -> None:
    until_at = play.now + length_us
    while play.now < until_at:
        play.pass_time(EVERY_US)
        play.hear({"web": FIRST})


def test_it_is_announced_five_times_in_five_seconds_and_then_every_thirty() -> None:
    play = holding()
    at: list[int] = []
    began_at = play.now
    while play.now < began_at + 65 * SECOND:
        count = play.kinds().count("Announce")
        play.pass_time(EVERY_US)
        play.hear({"web": FIRST})
        at += [round((play.now - began_at) / SECOND)] * (play.kinds().count("Announce") - count)
    assert at == [1, 2, 3, 4, 34, 64]


# -- beats -----------------------------------------------------------------------------------------


def test_late_beats_do_not_shift_the_grid() -> None:
    play = LeasePlay(REMEMBERED)
    due_at = leases.deadline(play.state)
    play.now = due_at + 17 * MILLISECOND
    play.feed(Tick())
    assert play.beats[-1].late_us == 17 * MILLISECOND
    assert leases.deadline(play.state) == due_at + EVERY_US


def test_every_renewal_is_one_action_for_all() -> None:
    play = LeasePlay(REMEMBERED)
    play.hear({"web": FIRST, "api": FIRST})
    assert [set(a.ends) for a in play.done if isinstance(a, Renew)] == [{"web", "api"}]


def test_nothing_is_written_while_nothing_changes() -> None:
    play = holding()
    count = sum(isinstance(a, PersistFloors) for a in play.done)
    for _ in range(20):
        play.pass_time(EVERY_US)
        play.hear({"web": FIRST})
    assert sum(isinstance(a, PersistFloors) for a in play.done) == count


def test_half_a_memory_is_never_written() -> None:
    """Else who lost its memory and cannot guard passes for whole after its next start."""
    play = LeasePlay(None)
    play.kernel.refuses = "no"
    play.start()
    play.follow(SECOND_TERM, {"web": here(FIRST)})
    play.pass_time(EVERY_US)
    assert play.written == []
    play.kernel.refuses = ""
    play.start()
    assert [memory.floors for memory in play.written] == [{"web": FIRST}]


# -- traces ----------------------------------------------------------------------------------------


def test_what_is_done_for_an_incident_is_in_its_trace() -> None:
    play = LeasePlay(REMEMBERED)
    play.follow(FIRST, {"web": here(FIRST), "api": there(FIRST)}, incident="7K2F")
    play.hear({"web": FIRST})
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)}, incident="9M3P")
    traced = [(a.incident, a.name, a.parent) for a in play.done if isinstance(a, Trace)]
    assert traced == [
        ("7K2F", "take vip", "switch"),
        ("7K2F", "answer vip", "verify"),
        ("9M3P", "release vip", "switch"),
    ]
    assert all(a.begin_at <= a.end_at for a in play.done if isinstance(a, Trace))


def test_a_grant_that_overtakes_its_plan_opens_and_names_the_incident() -> None:
    play = LeasePlay(REMEMBERED)
    play.follow(FIRST, {"web": there(FIRST), "api": there(FIRST)}, incident="7K2F")
    grant = play.grant({"web": SECOND_TERM}, incidents={"web": "9M3P"})
    play.feed(Heard(grant))
    assert play.is_open("web")
    assert {m.incident for m in play.said if isinstance(m, Held)} == {"9M3P"}
    play.follow(SECOND_TERM, {"web": here(SECOND_TERM), "api": there(FIRST)}, incident="9M3P")
    assert play.is_open("web")
    assert play.held == [("web", "taken"), ("web", "answered")]
    traced = [(a.incident, a.name, a.parent) for a in play.done if isinstance(a, Trace)]
    assert traced == [("9M3P", "take vip", "switch"), ("9M3P", "answer vip", "verify")]


def test_a_plan_that_a_grant_has_overtaken_names_no_incident_of_what_is_held() -> None:
    play = LeasePlay(REMEMBERED)
    third = (1, 3)
    play.feed(Heard(play.grant({"web": third}, incidents={"web": "9M3P"})))
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM)}, incident="7K2F")
    assert play.is_open("web")
    assert play.state.vips["web"].incident == "9M3P"


def test_what_is_given_up_unasked_is_in_the_trace_of_the_incident_that_follows() -> None:
    play = LeasePlay(REMEMBERED)
    play.follow(FIRST, {"web": here(FIRST), "api": there(FIRST)})
    play.hear({"web": FIRST})
    begin_at = play.now
    play.feed(BalancerChanged("dead: gone"))
    assert play.kinds().count("Trace") == 0
    play.now += 5 * MILLISECOND
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)}, incident="9M3P")
    traced = [(a.incident, a.name, a.parent, a.end_at) for a in play.done if isinstance(a, Trace)]
    assert traced == [("9M3P", "release vip", "switch", begin_at)]
    play.follow((1, 3), {"web": there(SECOND_TERM), "api": there((1, 3))}, incident="9M3Q")
    assert play.kinds().count("Trace") == 1


def test_what_is_given_up_unasked_is_in_no_trace_when_no_incident_follows() -> None:
    play = LeasePlay(REMEMBERED)
    play.follow(FIRST, {"web": here(FIRST), "api": there(FIRST)})
    play.hear({"web": FIRST})
    play.feed(BalancerChanged("dead: gone"))
    play.follow(SECOND_TERM, {"web": there(SECOND_TERM), "api": there(FIRST)})
    play.follow((1, 3), {"web": there((1, 3)), "api": there(FIRST)}, incident="9M3P")
    assert play.kinds().count("Trace") == 0


def test_a_way_home_is_in_the_part_of_the_trace_that_is_the_return() -> None:
    play = LeasePlay(REMEMBERED)
    made = plan(FIRST, {"web": here(FIRST)}, incident="7K2F")
    play.feed(PlanInForce(made, is_failover=False))
    play.hear({"web": FIRST})
    assert {a.parent for a in play.done if isinstance(a, Trace)} == {"failback"}


def test_what_follows_much_later_in_the_same_term_is_not_in_the_old_trace() -> None:
    play = LeasePlay(REMEMBERED)
    play.follow(FIRST, {"web": here(FIRST)}, incident="7K2F")
    play.hear({"web": FIRST})
    count = play.kinds().count("Trace")
    play.pass_time(LEASE_US)
    play.hear({"web": FIRST})
    play.start()
    play.hear({"web": FIRST})
    play.feed(BalancerChanged("dead: gone"))
    assert play.held.count(("web", "taken")) == 3
    assert play.kinds().count("Trace") == count


# -- what comes late -------------------------------------------------------------------------------


def test_an_answer_from_before_a_lapse_does_not_prove_what_is_taken_anew() -> None:
    play = holding()
    play.pass_time(LEASE_US)
    play.holds_addresses = True
    play.hear({"web": FIRST})
    count = len(play.held)
    play.feed(Answered("web", FIRST, "HTTP 200"))
    assert len(play.held) == count
    play.holds_addresses = False
    play.feed(AddressTaken("web", FIRST))
    assert play.held[count:] == [("web", "taken"), ("web", "answered")]


def test_what_was_never_taken_does_not_lapse_aloud() -> None:
    play = LeasePlay(REMEMBERED)
    play.holds_addresses = True
    play.hear({"web": FIRST})
    play.pass_time(LEASE_US)
    assert play.held == []


def test_an_announcement_that_could_not_be_made_is_made_soon() -> None:
    play = holding()
    count = play.kinds().count("Announce")
    play.feed(NotAnnounced("web"))
    play.pass_time(ANNOUNCE_AGAIN_US)
    assert play.kinds().count("Announce") == count + 1
