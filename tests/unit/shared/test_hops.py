"""What servers report is read, and nothing else is believed."""

import copy
from typing import Any

import orjson
import pytest

from shared.bus.hops import ASKED_MAX, HEADER, Hop, Hops, read
from shared.bus.wire import Speaker, Wire
from shared.clock import SystemClock
from shared.log import Logger
from shared.messages.operator import Answer, OperatorAnswer

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"
# As nats-server 2.15.1 reported it, shortened.
REPORT: dict[str, Any] = {
    "server": {"name": "bus", "ver": "2.15.1", "time": "2026-11-23T02:56:15.878844869Z"},
    "request": {"header": {HEADER: ["hop.x"], "traceparent": [TRACEPARENT]}, "msgsize": 111},
    "events": [
        {"type": "in", "ts": "2026-11-23T02:56:15.878615046Z", "cid": 5, "subj": "command.a"},
        {"type": "eg", "ts": "2026-11-23T02:56:15.878623218Z", "cid": 6, "sub": "command.*"},
        {"type": "eg", "ts": "2026-11-23T02:56:15.878624Z", "cid": 7, "error": "no echo"},
        {"type": "js", "ts": "2026-11-23T02:56:15.878760473Z", "stream": "S"},
    ],
}


def test_a_report_says_when_a_message_came_in_and_was_handed_on() -> None:
    hop = read(orjson.dumps(REPORT))
    assert hop is not None
    assert hop.end_wall_us - hop.begin_wall_us == 145
    assert hop == Hop(
        traceparent=TRACEPARENT,
        subject="command.a",
        server="bus",
        begin_wall_us=1_795_402_575_878_615,
        end_wall_us=1_795_402_575_878_760,
        receivers=1,
        size=111,
    )


@pytest.mark.parametrize("part", ["server", "request", "events"])
@pytest.mark.parametrize("instead", [None, [], {}, "x", 7])
def test_what_is_no_report_is_nothing(part: str, instead: object) -> None:
    report = copy.deepcopy(REPORT)
    report[part] = instead
    assert read(orjson.dumps(report)) is None


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"null", b"[]", orjson.dumps({**REPORT, "more": "x" * 20_000})]
)
def test_garbage_is_nothing(payload: bytes) -> None:
    assert read(payload) is None


def test_a_repetition_is_not_asked_about_and_what_is_remembered_is_bounded() -> None:
    hops = Hops("hop.a.arbiter")
    assert hops.asked_of(TRACEPARENT, "command.a", "Failover") == {HEADER: "hop.a.arbiter"}
    assert hops.asked_of(TRACEPARENT, "command.a", "Failover") == {}
    assert hops.asked_of(TRACEPARENT, "command.b", "Failover") != {}
    assert hops.asked_of(TRACEPARENT, "command.a", "Failback") != {}
    for number in range(ASKED_MAX):
        hops.asked_of(str(number), "command.a", "Failover")
    assert hops.asked_of(TRACEPARENT, "command.a", "Failover") != {}


def test_of_an_answer_nothing_is_asked_since_its_subject_is_nobodys_name() -> None:
    clock = SystemClock()
    wire = Wire(
        Speaker(
            cluster="pair",
            member="a",
            program="arbiter",
            clock=clock,
            log=Logger(print, clock=clock),
            traceparent_of=lambda *_: TRACEPARENT,
            on_hop=lambda _: None,
        )
    )
    answer = OperatorAnswer(answer=Answer.ACCEPTED, text="done", incident="7K2F")
    parcel = wire.pack(answer, answers="operator.failover")
    assert parcel.headers == {"traceparent": TRACEPARENT}
