import pytest

from services.console.core.history import after_number, history, number_of
from services.console.core.incidents import found, in_full
from services.console.core.state import STALE_US
from services.console.core.why import why
from services.console.core.wishes import answered, wish_of
from services.console.core.words import age_of, length, moment, short, wall_of
from shared.errors import MessageError
from shared.frozen import replace
from shared.instant import HOUR, MINUTE, SECOND
from shared.messages.facts import (
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    InstanceState,
    LeaderChanged,
    NodeChanged,
    NodeState,
    Readiness,
    ServiceChanged,
    VipChanged,
)
from shared.messages.health import Grade, Sign, Verdict
from shared.messages.leases import ClaimSeen, Held, Holding
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest, Verb
from shared.messages.table import Message
from shared.messages.traffic import Applied, Drift, Refused, Stage
from tests.fakes.situations import (
    WALL,
    believed,
    heartbeat,
    incident,
    plan,
    refused,
    situation,
    without_b,
)
from tests.unit.console.play import START, after, begun, said, well

BROKEN = situation(
    plan(42, rules=without_b()),
    beliefs={
        ("shoes", "node-b"): believed(
            InstanceState.OUT, reason="connection refused", waiting_for="its probes to be green"
        )
    },
    incidents=("7K2F0A",),
)
WISH = {"node": "node-b", "service": None, "owner": "ana", "reason": "kernel"}


def told(message: Message) -> str:
    (event,) = history(
        after(begun(), said(message, by="node-b/health_probe")),
        since_wall_us=None,
        incident=None,
        limit=10,
    )["events"]
    assert (event["member"], event["program"]) == ("node-b", "health_probe")
    return f"{event['level']}: {event['text']}"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (refused(), "bad: shoes/node-b: connection refused (0.3 ms)"),
        (
            replace(refused(), verdict=Verdict.HEALTHY, grade=Grade.NONE, detail="HTTP 200"),
            "good: shoes/node-b: HTTP 200 (0.3 ms)",
        ),
        (
            replace(refused(), abstains=True, grade=Grade.SUSPICIOUS, sign=Sign.TIMEOUT, value=""),
            (
                "attention: shoes/node-b: connection refused; the observer was late and does not "
                "vouch for it"
            ),
        ),
        (
            Applied(
                node="node-b",
                boot_id="0",
                epoch=3,
                sequence=42,
                stage=Stage.INSTALLED,
                digest="d",
                incident=None,
                detail="",
                persist_us=400,
                install_us=900,
            ),
            "good: plan 3.42 installed and read back in 1.3 ms",
        ),
        (
            Drift(
                node="node-a",
                service="shoes",
                target="node-b",
                wanted="out",
                installed="weight 9",
                repaired=True,
                by="someone else",
            ),
            (
                "attention: shoes/node-b is weight 9 in the load balancer, wanted out (by someone "
                "else); repaired"
            ),
        ),
        (
            Drift(
                node="node-a",
                service="vip",
                target="web",
                wanted="its address",
                installed="removed",
                repaired=False,
                by="someone else",
            ),
            "attention: VIP web: its address was found removed (by someone else); left as it is",
        ),
        (
            Drift(
                node="node-a",
                service="vip",
                target="guard",
                wanted="the guard of virtual IPs",
                installed="table inet equipoise was removed by somebody else",
                repaired=True,
                by="someone else",
            ),
            (
                "attention: the guard of virtual IPs: table inet equipoise was removed by somebody "
                "else (by someone else); repaired"
            ),
        ),
        (
            Refused(
                node="node-a",
                epoch=3,
                sequence=40,
                fence_epoch=3,
                fence_sequence=41,
                reason="it is older",
            ),
            "attention: refused plan 3.40: it is older (newest here is 3.41)",
        ),
        (
            NodeChanged(
                node="node-b", before=NodeState.UP, after=NodeState.DEAD, reason="silent for 1 s"
            ),
            "attention: node-b: up → dead: silent for 1 s",
        ),
        (
            ServiceChanged(
                service="shoes",
                node="node-b",
                before=InstanceState.RAMPING,
                after=InstanceState.HOME,
                reason="fully back",
            ),
            "good: shoes/node-b: ramping → home: fully back",
        ),
        (
            VipChanged(
                vip="api", before="node-b", holder="node-a", term=(3, 42), reason="node-b is dead"
            ),
            "plain: api 10.0.0.101: node-b → node-a: node-b is dead",
        ),
        *(
            (
                Held(
                    node="node-b",
                    vip="api",
                    term=(3, 42),
                    holding=holding,
                    reason=reason,
                    guard_us=200,
                    address_us=700,
                    open=count,
                ),
                text,
            )
            for holding, reason, count, text in (
                (Holding.TAKEN, "granted", 0, "good: took api 10.0.0.101 in 0.9 ms: granted"),
                (Holding.ANSWERED, "", 0, "good: api 10.0.0.101 answers here"),
                (
                    Holding.RELEASED,
                    "the plan gives it to node-a",
                    37,
                    (
                        "plain: released api 10.0.0.101: the plan gives it to node-a; "
                        "37 open connections are served on"
                    ),
                ),
                (
                    Holding.LAPSED,
                    "",
                    0,
                    (
                        "attention: the lease of api 10.0.0.101 ran out here, and the kernel "
                        "closed its guard"
                    ),
                ),
                (
                    Holding.DRAINED,
                    "",
                    2,
                    "plain: the old connections of api 10.0.0.101 are gone; 2 were closed",
                ),
                (
                    Holding.DRAINED,
                    "",
                    0,
                    "plain: the old connections of api 10.0.0.101 are gone",
                ),
            )
        ),
        (
            ClaimSeen(
                node="node-b", vip="api", hardware="02:00:00:00:00:05", interface="eth1", seen=3
            ),
            (
                "bad: somebody else claims api 10.0.0.101: 02:00:00:00:00:05 on eth1 (3 times "
                "since the start); announced it again"
            ),
        ),
        (situation().readiness, "good: the loss of any one node can be taken"),
        (
            LeaderChanged(arbiter="witness", epoch=4, reason="first"),
            "plain: witness leads with epoch 4: first",
        ),
        (
            IncidentOpened(incident=incident(state=IncidentState.OPEN)),
            "attention: shoes on node-b refused connections; node-a serves all of it",
        ),
        (
            IncidentClosed(incident=incident(state=IncidentState.CLOSED)),
            "good: closed: the original settings are in force",
        ),
        (
            OperatorRequest(
                verb=Verb.MAINTENANCE_START,
                node="node-b",
                service=None,
                owner="ana",
                reason="disk swap",
            ),
            "plain: ana asks: maintenance start node-b: disk swap",
        ),
    ],
)
def test_every_change_is_told_in_a_line(message: Message, text: str) -> None:
    assert told(message) == text


def test_what_changes_nothing_is_not_told() -> None:
    rehearsal = OperatorRequest(
        verb=Verb.PAUSE, node=None, service=None, owner="ana", reason="x", dry_run=True
    )
    assert after(begun(), rehearsal, heartbeat("node-a"), situation()).events == {}


def test_a_readiness_that_lacks_is_told_with_its_first_reason() -> None:
    lacking = BROKEN.readiness
    more = Readiness(ready=False, takeovers=(*lacking.takeovers, *lacking.takeovers))
    assert told(more).endswith("because node-b: out: connection refused (and 1 more)")


def test_events_of_an_incident_include_the_evidence_that_led_to_it() -> None:
    state = after(
        begun(),
        said(refused(), time="2026-11-19T04:12:07.9Z"),
        said(refused("node-a"), time="2026-11-19T03:00:00Z"),
        said(IncidentOpened(incident=incident())),
        said(LeaderChanged(arbiter="witness", epoch=4, reason="first")),
    )
    events = history(state, since_wall_us=None, incident="7k2f0a", limit=10)["events"]
    assert [event["type"] for event in events] == [
        "io.equipoise.probe.evidence.v1",
        "io.equipoise.incident.opened.v1",
    ]


def test_events_are_ordered_by_their_own_time_and_the_newest_are_kept() -> None:
    times = ("04:12:09", "04:12:07", "04:12:08")
    state = begun()
    for number, time in enumerate(times):
        leader = LeaderChanged(arbiter="witness", epoch=number, reason="")
        state = after(state, said(leader, time=f"2026-11-19T{time}Z"))
    events = history(state, since_wall_us=None, incident=None, limit=2)["events"]
    assert [event["time"][11:19] for event in events] == ["04:12:08", "04:12:09"]
    since = wall_of("2026-11-19T04:12:09Z")
    assert len(history(state, since_wall_us=since, incident=None, limit=9)["events"]) == 1


def test_a_follower_gets_what_came_after_its_last_event_in_the_order_learnt() -> None:
    state = begun()
    for epoch in range(3):
        state = after(state, LeaderChanged(arbiter="witness", epoch=epoch, reason=""))
    number = number_of(state, "leader/0")
    assert number is not None
    ids = [entry.event["id"] for entry in after_number(state, number)]
    assert ids == ["leader/1", "leader/2"]
    assert number_of(state, "forgotten") is None


def test_an_incident_is_found_by_any_case_of_its_id_and_as_the_last() -> None:
    older = incident("OLD111", began_wall_us=WALL - HOUR)
    state = after(begun(), IncidentOpened(incident=incident()), IncidentOpened(incident=older))
    for name in ("7k2f0a", "last"):
        remembered = found(state, name)
        assert remembered is not None
        assert remembered.incident.id == "7K2F0A"
    assert found(state, "nothing") is None
    assert found(begun(), "last") is None


def test_an_incident_that_was_a_sign_of_another_says_where_it_goes_on() -> None:
    sign = replace(incident(), merged_into="9ABCDE")
    state = after(well(), IncidentClosed(incident=sign))
    sentence = in_full(state, state.incidents[sign.id], WALL)["sentence"]
    assert sentence.endswith("; it was part of incident 9ABCDE: equipoise explain 9ABCDE")


def test_an_incident_in_full_adds_up_and_links_its_trace() -> None:
    state = after(begun(), IncidentClosed(incident=incident(state=IncidentState.CLOSED)))
    full = in_full(state, state.incidents["7K2F0A"], WALL + MINUTE)
    assert full["duration_us"] == sum(phase["duration_us"] for phase in full["phases"]) == 9_996
    assert full["restored"] == "yes"
    assert full["trace_url"] == f"http://jaeger/trace/{'7f2f09c4' * 4}"
    assert full["age_us"] == MINUTE


def test_an_incident_with_another_digest_at_the_end_is_not_restored() -> None:
    closed = incident(state=IncidentState.CLOSED)
    odd = replace(closed, installed={**closed.installed, "node-b": "other"})
    state = after(begun(), IncidentClosed(incident=odd))
    assert in_full(state, state.incidents["7K2F0A"], WALL)["restored"] == "no"


def test_why_an_instance_is_out_names_the_reason_the_wait_and_the_evidence() -> None:
    state = after(well(), IncidentOpened(incident=incident()), refused(), BROKEN)
    answer = why(state, "shoes/node-b", START + SECOND, WALL)
    assert answer is not None
    assert answer["sentence"] == "shoes/node-b is out, because connection refused"
    (instance,) = answer["instances"]
    assert (instance["wanted"], instance["original"]) == ("out", "weight 100")
    assert instance["waiting_for"] == "its probes to be green"
    (fact,) = instance["facts"]
    assert (fact["what"], fact["source"]) == ("connection refused (conclusive)", "node-b")
    assert fact["age_us"] == SECOND
    assert [item["id"] for item in answer["incidents"]] == ["7K2F0A"]


def test_why_a_service_begins_with_the_instance_that_is_not_home() -> None:
    answer = why(after(well(), BROKEN), "shoes", START, WALL)
    assert answer is not None
    assert (answer["kind"], answer["state"]) == ("service", "out")
    home = why(well(), "shoes", START, WALL)
    assert home is not None
    assert home["sentence"] == "shoes is as originally set on every node"


def test_why_a_node_tells_who_hears_it_and_what_its_load_balancer_says() -> None:
    answer = why(well(), "node-a", START, WALL)
    assert answer is not None
    whats = [fact["what"] for fact in answer["facts"]]
    assert whats == [
        "lease that it is granted",
        "heartbeat on the bus",
        "heartbeat heard here",
        "heartbeat heard directly",
        "heartbeat heard directly",
        "load balancer",
    ]
    witness = why(well(), "witness", START, WALL)
    assert witness is not None
    assert witness["instances"] == []


def test_why_knows_a_vip_by_its_address() -> None:
    state = well()
    name, vip = next(iter(state.cluster.vips.items()))
    assert why(state, vip.address, START, WALL) == why(state, name, START, WALL) is not None


def test_why_says_unknown_when_the_arbiter_has_fallen_silent() -> None:
    for target in ("node-b", "shoes", "shoes/node-b"):
        answer = why(well(), target, START + STALE_US + 1, WALL)
        assert answer is not None
        assert answer["state"] == "unknown"
        assert "the arbiter on witness was last heard 3 s ago" in answer["sentence"]


@pytest.mark.parametrize("target", ["", "/", "node-z", "shoes/", "shoes/node-z", "a/b/c", "%00"])
def test_there_is_no_why_for_what_is_not_there(target: str) -> None:
    assert why(well(), target, START, WALL) is None


def test_a_wish_becomes_a_request() -> None:
    request = wish_of("failover", {**WISH, "for_us": 60, "expects": [3, 41], "force": True})
    assert request == OperatorRequest(
        verb=Verb.FAILOVER,
        node="node-b",
        service=None,
        owner="ana",
        reason="kernel",
        for_us=60,
        force=True,
        expects=(3, 41),
    )
    moving = wish_of("failover", {**WISH, "node": None, "vip": "api", "to": "node-a"})
    assert (moving.vip, moving.to, moving.node) == ("api", "node-a", None)


@pytest.mark.parametrize(
    ("verb", "body", "text"),
    [
        ("destroy", WISH, "there is no verb 'destroy'"),
        ("failover", [], "the body must be an object"),
        ("failover", {**WISH, "verb": "pause"}, "unknown field 'verb'"),
        ("failover", {"owner": "ana"}, "wish.reason is missing"),
        ("failover", {**WISH, "reason": "  "}, "reason must be a line"),
        ("failover", {**WISH, "reason": "x" * 201}, "reason must be a line"),
        ("failover", {**WISH, "owner": "an\x1b[31ma"}, "owner must be a line"),
        ("failover", {**WISH, "to": "node-a"}, "'to' says where a VIP goes: name the VIP in 'vip'"),
        ("failover", {**WISH, "vip": 7}, "wish.vip must be a text"),
        ("failover", {**WISH, "for_us": 0}, "for_us must be more than 0"),
        ("failover", {**WISH, "for_us": "1h"}, "wish.for_us must be a whole number"),
        ("failover", {**WISH, "expects": [1]}, "wish.expects must be a list of 2 items"),
        ("failover", {**WISH, "dry_run": "yes"}, "wish.dry_run must be true or false"),
    ],
)
def test_a_wish_that_is_wrong_says_what_is_wrong(verb: str, body: object, text: str) -> None:
    with pytest.raises(MessageError, match=text.replace("[", "\\[")):
        wish_of(verb, body)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer.ACCEPTED, 0),
        (Answer.WRONG, 2),
        (Answer.NOT_LEADING, 5),
        (Answer.CHANGED, 6),
        (Answer.UNSAFE, 7),
    ],
)
def test_every_answer_has_its_exit_code(answer: Answer, code: int) -> None:
    assert answered(OperatorAnswer(answer=answer, text="so"))["exit_code"] == code


def test_lengths_and_times_are_written_and_read() -> None:
    assert [length(n) for n in (300, 9_940, 62_000, 9 * SECOND, 6 * MINUTE, 25 * HOUR)] == [
        "0.3 ms",
        "9.9 ms",
        "62 ms",
        "9 s",
        "6 min",
        "25 h 00 min",
    ]
    assert length(72 * HOUR) == "3 days"
    assert moment(WALL) == "2026-11-19T04:12:08.000000Z"
    assert wall_of(moment(WALL + 123_456)) == WALL + 123_456
    assert moment(2**62) == "1970-01-01T00:00:00.000000Z"
    assert (wall_of("yesterday"), wall_of("2026-11-19T04:12:08")) == (None, None)
    assert (age_of("90s"), age_of("2d")) == (90 * SECOND, 48 * HOUR)
    assert [age_of(text) for text in ("", "s", "-1s", "1x", "1.5h", "9" * 30 + "s")] == [None] * 6


def test_texts_are_short_and_harmless_to_terminals() -> None:
    assert short("a\x1b[31mb\nc") == "a [31mb c"
    assert len(short("x" * 9_999)) == 400
