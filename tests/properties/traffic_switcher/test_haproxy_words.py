"""Whatever HAProxy's socket says, it is understood or a `SwitchError`, never anything else."""

from contextlib import suppress

from hypothesis import example, given, settings, strategies as st

from services.traffic_switcher.core.haproxy_words import LINE_MAX, Exchange, exchanges, read
from services.traffic_switcher.core.steps import Change, Step
from services.traffic_switcher.core.verification import Heard, judge
from shared.errors import SwitchError
from shared.rules import original
from tests.unit.traffic_switcher.play import cluster, service

STATE = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n"
    "3 shop 1 node-a 127.0.0.1 2 0 100\n\n"
)
INFO = "Name: HAProxy\nPid: 12\nStart_time_sec: 99\ndescription: mark\n\n"
STAT = (
    "# pxname,svname,scur,stot,req_tot,hrsp_5xx,econ,eresp,mode\n"
    "shop,FRONTEND,0,0,7,1,,,http\nshop,node-a,0,7,7,1,0,0,http\nshop,BACKEND,0,7,7,1,0,0,http\n\n"
)
WHOLE = "\n" + STATE + INFO + STAT
(WITH_COUNTERS,) = exchanges((), counters=True)


@given(st.text(max_size=300))
def test_any_text_is_understood_or_refused(answer: str) -> None:
    for exchange in (WITH_COUNTERS, Exchange(("set server a/b weight 1",), ("show info",))):
        with suppress(SwitchError):
            read(answer, exchange, current="mark")


@settings(max_examples=300)
@given(st.integers(0, len(WHOLE) - 1), st.characters())
@example(0, "x")
def test_any_damage_to_an_answer_is_understood_or_refused(at: int, character: str) -> None:
    with suppress(SwitchError):
        read(WHOLE[:at] + character + WHOLE[at + 1 :], WITH_COUNTERS, current="mark")
    with suppress(SwitchError):
        read(WHOLE[:at], WITH_COUNTERS, current="mark")


def test_the_whole_answer_is_understood() -> None:
    found = read(WHOLE, WITH_COUNTERS, current="mark")
    assert found.process == "12@99"
    assert not found.outdated
    load = found.loads["shop"]
    assert (load.requests, load.failed, load.instances["node-a"].requests) == (7, 1, 7)


@given(st.lists(st.tuples(st.sampled_from(Change), st.integers(0, 100)), max_size=400))
def test_no_line_is_longer_than_haproxy_reads_and_no_step_is_lost(
    drawn: list[tuple[Change, int]],
) -> None:
    steps = [
        Step(("shop" * 8, "node" * 8), change, weight, ends_sessions=change is Change.CLOSE)
        for change, weight in drawn
    ]
    lines = exchanges(steps)
    assert all(len(exchange.line) <= LINE_MAX + 200 for exchange in lines)
    said = [command for exchange in lines for command in exchange.changes]
    assert len(said) == len(steps) + sum(step.change is Change.CLOSE for step in steps)


@given(st.binary(max_size=200))
@example(b"HTTP/1.1 200 OK\r\nequipoise-instance: node-a\r\n\r\n")
@example(b"HTTP/1.1 99999999999999999999999 OK\r\n\r\n")
@example(b"HTTP/1.1 " + b"9" * 5_000 + b" OK\r\nequipoise-instance: node-a\r\n\r\n")
def test_any_answer_to_a_verification_is_judged(content: bytes) -> None:
    heard = Heard(content, is_open=False, fault="", took_us=1)
    judge(service("shop"), original(cluster())["shop"], heard)
