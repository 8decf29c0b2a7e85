"""Log lines for people and machines, and their way out."""

import json
import re
import threading
from collections.abc import Callable

import orjson
import pytest

from shared.instant import SECOND
from shared.log import LINES_MAX, Logger, Render, Seldom, Writer, as_json, as_text

NOON = 1_795_348_800_123_456


class Stopped:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 0

    def now(self) -> int:
        return self.at

    def wall(self) -> int:
        return NOON

    async def sleep(self, duration_us: int) -> None:
        self.at += duration_us


def line(render: Render = as_text, level: str = "debug", **fields: object) -> str:
    lines: list[str] = []
    log = Logger(lines.append, clock=Stopped(), level=level, render=render)
    log.info("plan_published", **fields)
    return lines[0]


class TestText:
    @pytest.mark.parametrize(
        ("value", "word"),
        [
            (7, "7"),
            ("b:silent", "b:silent"),
            ("two words", '"two words"'),
            ("", '""'),
            (None, "-"),
            (("a", "b"), "a,b"),
            ((), "-"),
            ("a=b", '"a=b"'),
            ('"', '"\\""'),
            ("two\nlines", '"two\\nlines"'),
            ("\x1b[31m", '"\\u001b[31m"'),
            ("naïve", "naïve"),
            ("\udcff", '"?"'),
            (True, "True"),
        ],
    )
    def test_a_value_is_one_word(self, value: object, word: str) -> None:
        assert line(value=value) == f"12:00:00.123 info plan_published value={word}"

    def test_who_speaks_comes_first(self) -> None:
        said = line(program="arbiter", member="node-a", epoch=7)
        assert said == "12:00:00.123 info arbiter node-a plan_published epoch=7"


class TestJson:
    def test_a_line_is_an_object(self) -> None:
        said = orjson.loads(line(as_json, program="arbiter", epoch=7, serving=("a", "b")))
        assert said == {
            "time": "2026-11-22T12:00:00.123456Z",
            "level": "info",
            "event": "plan_published",
            "program": "arbiter",
            "epoch": 7,
            "serving": ["a", "b"],
        }

    @pytest.mark.parametrize(
        "value", [{1: 2}, {"x"}, object, 2**70, b"bytes", "\udcff", {"a": "\ud800"}]
    )
    def test_whatever_is_logged_is_a_line(self, value: object) -> None:
        said = line(as_json, value=value)
        assert "\n" not in said
        assert json.loads(said)["event"] == "plan_published"


class TestLevels:
    @pytest.mark.parametrize(
        ("level", "heard"),
        [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
    )
    def test_what_is_below_the_level_is_not_written(self, level: str, heard: int) -> None:
        lines: list[str] = []
        log = Logger(lines.append, clock=Stopped(), level=level)
        for say in (log.debug, log.info, log.warning, log.error):
            say("event")
        assert len(lines) == heard

    def test_a_bound_log_says_its_fields_in_every_line(self) -> None:
        lines: list[str] = []
        log = Logger(lines.append, clock=Stopped()).bind(service="shop")
        log.bind(node="a").info("one", service="bank")
        log.info("two")
        assert lines[0].endswith("one service=bank node=a")
        assert lines[1].endswith("two service=shop")


class TestWriter:
    def test_all_is_written_in_order_before_the_end(self) -> None:
        written: list[bytes] = []
        writer = Writer(written.append, dropped)
        for number in range(1_000):
            writer.write(str(number))
        writer.close()
        assert written == [f"{number}\n".encode() for number in range(1_000)]

    def test_a_writer_that_nobody_reads_drops_and_counts_and_ends(self) -> None:
        reader = threading.Event()
        written: list[bytes] = []

        def write(text: bytes) -> None:
            reader.wait()
            written.append(text)

        writer = Writer(write, dropped)
        count = LINES_MAX + 500
        for number in range(count):
            writer.write(str(number))  # would hang for ever if it waited
        writer.close()  # and this
        assert 0 < writer.dropped <= 500  # what is being written is out of the queue
        reader.set()

        def said() -> int:
            # The thread may have begun, and reported, while lines were still being dropped.
            return sum(int(n) for n in re.findall(rb"(\d+) dropped", b"".join(written)))

        _until(lambda: said() == writer.dropped)
        assert said() == writer.dropped

    def test_a_reader_that_has_gone_is_no_error(self) -> None:
        def write(text: bytes) -> None:
            raise BrokenPipeError(len(text))

        writer = Writer(write, dropped)
        for _ in range(10):
            writer.write("nobody")
        writer.close()


class TestSeldom:
    def test_one_of_a_kind_gets_through_in_a_period(self) -> None:
        clock = Stopped()
        seldom = Seldom(clock, SECOND)
        assert [seldom.due("garbage") for _ in range(4)] == [0, None, None, None]
        assert seldom.due("other") == 0
        clock.at += SECOND - 1
        assert seldom.due("garbage") is None
        clock.at += 1
        assert seldom.due("garbage") == 4  # held back meanwhile
        clock.at += SECOND
        assert seldom.due("garbage") == 0


def dropped(count: int) -> str:
    return f"{count} dropped"


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come")
