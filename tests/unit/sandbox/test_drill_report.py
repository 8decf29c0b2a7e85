"""What a drill hands out, and every loss that makes it fail."""

import json

import pytest

from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.report import Seen, Stretch, report, result, wall_us
from services.sandbox.observers.judging import Span
from shared.instant import MILLISECOND
from tests.unit.sandbox.drilling import FAULT_WALL_US, audit, incident, seen, summary, watched


def test_a_drill_in_which_all_went_well_is_ok() -> None:
    played = result(seen())
    assert played["ok"]
    assert played["findings"] == []
    assert played["phases_ms"] == {"detect": 1, "decide": 0.5, "switch": 8, "verify": 4}
    assert (played["requests"]["sent"], played["requests"]["failed"]) == (100, 0)
    assert played["requests"]["slowest_ms"] == 20


def test_times_count_from_the_fault_and_not_from_its_first_sign() -> None:
    played = result(seen())
    assert (played["first_sign_ms"], played["noticed_ms"], played["switched_ms"]) == (2, 3, 11.5)


def test_a_phase_that_did_not_end_leaves_no_figure() -> None:
    played = result(seen(of=incident(detect=1, decide=0.5)))
    assert (played["noticed_ms"], played["switched_ms"]) == (3, None)


def test_without_virtual_ips_nothing_is_said_of_them() -> None:
    played = result(seen())
    of_vips = (played["vip_overlap_ms"], played["vip_dark_ms"], played["vip_moved_ms"])
    assert of_vips == (None, None, None)
    assert played["ok"]


def test_what_observers_saw_of_virtual_ips_is_handed_out() -> None:
    played = result(seen(of_vips=watched()))
    assert played["ok"]
    assert played["vip_overlap_ms"] == 0
    assert played["vip_dark_ms"] == {"web": 310, "api": 0}
    assert played["vip_moved_ms"] == {"web": 305}


def test_what_was_not_observed_is_no_zero_and_not_ok() -> None:
    played = result(seen(of_vips=watched(unobserved=("nobody looked at node-a for 999 ms",))))
    assert not played["ok"]
    assert played["vip_overlap_ms"] is None
    assert played["findings"] == ["not observed: nobody looked at node-a for 999 ms"]


def test_what_nobody_could_have_answered_may_fail_and_nothing_else() -> None:
    lossy = summary(safe_failed=4)
    assert not result(seen(felt=lossy))["ok"]
    excused = result(seen(felt=lossy, toll=Toll.TAKEOVER, excused=4))
    assert (excused["ok"], excused["excused"]) == (True, 4)
    played = result(seen(felt=lossy, toll=Toll.TAKEOVER, excused=3))
    assert played["findings"] == [
        "1 of 90 safe requests failed (ok 96, reset 4), beside 3 that nobody could have answered"
    ]


def test_darkness_is_a_finding_when_it_lasts_longer_than_a_failure_may() -> None:
    long = watched(dark_ms=5_001)
    assert result(seen(of_vips=watched(dark_ms=5_000), toll=Toll.DARKNESS))["ok"]
    assert result(seen(of_vips=long, toll=Toll.DARKNESS))["findings"] == [
        "web answered nobody for 5001 ms; at most 5000 ms were to be expected"
    ]


def test_what_came_after_the_fault_was_healed_is_told_by_itself() -> None:
    healed_at, end_at = 200 * MILLISECOND, 1_200 * MILLISECOND
    part = Stretch.of("", Span(healed_at, end_at), [], watched(dark_ms=310))
    played = result(seen(of_vips=watched(dark_ms=310), toll=Toll.TAKEOVER, after_heal=part))
    assert played["after_heal"] is not None
    assert played["after_heal"]["vip_dark_ms"] == 110
    assert played["after_heal"]["length_ms"] == 1_000
    assert played["steps"] == []


def test_what_was_waited_for_a_lease_counts_until_all_was_switched() -> None:
    lost = incident(detect=160, lease=40, decide=1, switch=9, verify=5)
    played = result(seen(of=lost))
    assert (played["noticed_ms"], played["switched_ms"]) == (162, 212)


def test_an_overlap_is_told_and_not_ok() -> None:
    played = result(seen(of_vips=watched(overlap_ms=7)))
    assert not played["ok"]
    assert played["vip_overlap_ms"] == 7
    assert played["findings"] == ["node-a and node-b both held web for 7.0 ms"]


def test_the_time_of_day_is_read_to_the_microsecond() -> None:
    assert wall_us("2023-11-14T22:13:20.002001Z") - FAULT_WALL_US == 2_001


@pytest.mark.parametrize(
    ("lossy", "said"),
    [
        (seen(felt=summary(safe_failed=1)), "1 of 90 safe requests failed (ok 99, reset 1)"),
        (seen(orders=audit(doubled=("o1", "o2"))), "2 POSTs were done twice, such as o1"),
        (seen(orders=audit(missing=("o3",))), "1 POSTs were answered and never done, such as o3"),
        (seen(felt=summary(late_ms=900)), "the client itself was up to 900 ms late"),
        (seen(findings=("its process did not die",)), "its process did not die"),
    ],
)
def test_every_loss_makes_a_drill_fail_and_is_told(lossy: Seen, said: str) -> None:
    played = result(lossy)
    assert not played["ok"]
    assert [text for text in played["findings"] if said in text]
    assert not report([result(seen()), played], nodes=2, rate=200, findings=[])["ok"]


def test_what_is_not_restored_is_not_ok() -> None:
    assert not result(seen(restored=False))["ok"]


def test_a_failed_post_is_counted_and_forgiven() -> None:
    played = result(seen(felt=summary(unsafe_failed=2)))
    assert played["ok"]
    assert (played["requests"]["failed"], played["requests"]["unsafe_failed"]) == (2, 2)


def test_nothing_played_is_not_ok() -> None:
    assert not report([], nodes=2, rate=200, findings=[])["ok"]


def test_a_finding_about_all_of_it_makes_all_of_it_fail() -> None:
    assert not report([result(seen())], nodes=2, rate=200, findings=["the sandbox ended"])["ok"]


def test_one_play_of_each_has_no_sums() -> None:
    found = report([result(seen())], nodes=2, rate=200, findings=[])
    assert found["ok"]
    assert found["repeated"] == []
    assert json.loads(json.dumps(found)) == found


def test_many_plays_are_summed_up_with_their_number() -> None:
    plays = [result(seen(of=incident(detect=1, decide=1, switch=n))) for n in range(100)]
    (sums,) = report(plays, nodes=2, rate=200, findings=[])["repeated"]
    assert (sums["drill"], sums["played"], sums["ok"]) == ("kill-instance", 100, 100)
    assert sums["figures"]["switched_ms"] == {"n": 100, "min": 4, "p50": 53, "p99": 102, "max": 103}
    assert sums["figures"]["verify"] is None
