"""What people are told: each thing once, in lines that stand in columns."""

from pathlib import Path

from services.sandbox.drills import telling
from services.sandbox.drills.report import report, result
from tests.unit.sandbox.drilling import audit, event, incident, seen, summary


def test_the_same_news_is_told_once_a_drill() -> None:
    choice = telling.Choice()
    refused = event("probe.evidence", "shop/node-b: connection refused")
    assert [choice.tells(refused), choice.tells(refused)] == [True, False]
    choice.begin()
    assert choice.tells(refused)


def test_of_a_ramp_only_its_first_and_last_plan_are_told() -> None:
    choice = telling.Choice()
    told = [
        choice.tells(event("command.failback", "plan 1.3: shop returns", name="plan/1.3")),
        choice.tells(event("traffic.applied", "plan 1.3 installed", name="applied/node-a/1.3/i")),
        choice.tells(event("command.failback", "plan 1.4: shop ramps: step 1", name="plan/1.4")),
        choice.tells(event("traffic.applied", "plan 1.4 installed", name="applied/node-a/1.4/i")),
        choice.tells(event("command.restore", "plan 1.5: as originally set", name="plan/1.5")),
        choice.tells(event("traffic.applied", "plan 1.5 installed", name="applied/node-a/1.5/i")),
    ]
    assert told == [True, True, False, False, True, True]


def test_readiness_is_told_when_it_turns() -> None:
    choice = telling.Choice()
    cannot = event("readiness", "node-a cannot take shop", level="attention")
    still = event("readiness", "node-a cannot take shop, ramping", level="attention")
    can = event("readiness", "the loss of any one node can be taken", level="good")
    assert [choice.tells(x) for x in (cannot, still, can, can)] == [True, False, True, False]


def test_an_event_is_a_line_that_begins_with_when_and_who() -> None:
    line = telling.event_line(event("x", "shop failed", level="bad"), 4_200, colour=False)
    assert line == "       +4.2 ms  node-a health_probe      ✗ shop failed"


def test_an_event_fits_into_a_terminal() -> None:
    failed = event("x", "shop failed " * 20, level="bad")
    lines = [telling.event_line(failed, 0, colour=False, width=width) for width in (80, 120, 1)]
    assert [len(line) for line in lines] == [80, 120, 74]
    assert all(line.endswith("…") for line in lines)


def test_without_colour_there_are_no_escapes_and_with_it_the_text_is_the_same() -> None:
    played = report([result(seen())], nodes=2, rate=200, findings=[])
    plain = "\n".join(telling.summary_table(played, colour=False))
    coloured = "\n".join(telling.summary_table(played, colour=True))
    assert "\x1b" not in plain
    assert coloured.replace("\x1b[2m", "").replace("\x1b[0m", "") == plain


def test_the_table_has_every_play_and_every_finding() -> None:
    bad = result(seen(felt=summary(safe_failed=3), orders=audit(doubled=("o1",)), restored=False))
    lines = telling.summary_table(
        report([result(seen()), bad], nodes=2, rate=200, findings=["the sandbox has ended"]),
        colour=False,
    )
    text = "\n".join(lines)
    assert [line.split()[-1] for line in lines[1:4]] == ["restored", "exactly", "NO"]
    assert len({len(line) for line in lines[1:4]}) == 1
    for said in (
        "3 of 90 safe requests failed",
        "1 POSTs were done twice",
        "the sandbox has ended",
    ):
        assert said in text


def test_sums_have_their_number_and_a_p99_only_of_enough() -> None:
    few = [result(seen()) for _ in range(3)]
    text = "\n".join(
        telling.summary_table(report(few, nodes=2, rate=200, findings=[]), colour=False)
    )
    assert "n=3: min 11.5, median 11.5, max 11.5" in text
    assert "p99" not in text


def test_a_play_of_many_is_one_line_with_what_was_wrong() -> None:
    bad = result(seen(felt=summary(safe_failed=3)))
    line = telling.play_line(bad, 7, 100, colour=False)
    assert "7/100" in line
    assert "3 of 90 safe requests failed" in line


def test_a_verdict_tells_posts_that_failed_apart() -> None:
    line = telling.verdict_line(result(seen(felt=summary(unsafe_failed=2))), colour=False)
    assert "100 requests, 2 failed (2 POST, never repeated)" in line


def test_what_was_handled_is_told_by_its_phases() -> None:
    assert "(detect 1.0 · switch 8.0)" in telling.handled_line(incident(detect=1, switch=8))


def test_the_next_steps_name_what_is_really_there() -> None:
    victim = Path("/run/one/node-c/shop.journal")
    text = "\n".join(telling.next_steps("bin/equipoise", "ABC", "shop", victim))
    assert "bin/equipoise explain ABC" in text
    assert "bin/equipoise failover node-c" in text
    assert "pkill -9 -f /run/one/node-c/shop.journal" in text
