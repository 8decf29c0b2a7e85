import json
import os
import stat
from pathlib import Path

import pytest

from services.cli.exits import Ended, Exit
from services.cli.lengths import aligned, length_of
from services.cli.look import Look, cleaned, visible, wrapped
from services.cli.places import MACHINE, Place, context_file, places
from services.cli.tables import bar, table


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("45m", 2_700_000_000),
        ("90s", 90_000_000),
        ("1h30m", 5_400_000_000),
        ("250ms", 250_000),
        ("2d", 172_800_000_000),
        ("", None),
        ("0s", None),
        ("5", None),
        ("h", None),
        ("1.5h", None),
        ("-1s", None),
        ("1x", None),
        ("1234567890s", None),
    ],
)
def test_lengths_of_time_are_read(text: str, length: int | None) -> None:
    assert length_of(text) == length


@pytest.mark.parametrize(
    "parts",
    [
        [1_204, 38, 6_333, 2_421],
        [1, 1, 1, 1],
        [333_333, 333_333, 333_333],
        [4_999, 5_000, 5_001],
        [1_200_004, 300_003],
        [10_000_000, 12_000, 10_400_000, 3_000],
        [0, 0],
        [7_200_000_000, 1],
    ],
)
def test_what_is_printed_adds_up_to_what_is_printed(parts: list[int]) -> None:
    *printed, total = aligned(parts)
    assert len(printed) == len(parts)
    figures = [float(text.split()[0]) for text in printed]
    assert sum(figures) == pytest.approx(float(total.split()[0]), abs=1e-9)
    assert {text.split()[1] for text in printed} == {total.split()[1]}


def test_nothing_to_add_up_is_nothing() -> None:
    assert aligned([]) == ["0.00 ms"]


def test_bars_stand_where_their_time_was() -> None:
    look = Look()
    assert bar(0, 50, 100, 10, look) == "█████     "
    assert bar(50, 100, 100, 10, look) == "     █████"
    assert bar(50, 51, 100, 10, look) == "     ▏    "
    assert bar(99, 100, 100, 10, look) == "         █"
    assert bar(0, 0, 100, 10, look) == " " * 10
    assert bar(0, 1, 0, 10, look) == " " * 10
    assert bar(0, 50, 100, 10, Look(ascii=True)) == "#####     "


def test_bars_never_leave_their_room() -> None:
    for begin in range(0, 100, 7):
        for end in range(begin, 101, 3):
            assert len(bar(begin, end, 100, 9, Look())) == 9


def test_columns_are_as_wide_as_their_widest_cell_colours_apart() -> None:
    look = Look(colour=True)
    lines = table([("A", "B"), (look.good("long"), "1"), ("x", "22")], look, right=(1,))
    assert [visible(line) for line in lines] == [8, 8, 8]


def test_long_texts_are_wrapped_under_their_label() -> None:
    assert wrapped("one two three four", 10, indent="  ", first="L ") == [
        "L one two",
        "  three",
        "  four",
    ]
    assert wrapped("unbreakably-long-word", 10, indent="  ") == ["  unbreakably-long-word"]


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    nasty = {"a\x1b]0;title\x07": ["\x1b[2Jgone", "x\u202ey", "two\nlines", 5, None]}
    assert cleaned(nasty) == {"a�]0;title�": ["�[2Jgone", "x�y", "two lines", 5, None]}


def test_without_more_than_ascii_every_symbol_has_its_word() -> None:
    shown = Look(ascii=True).finish("✓ ▲ ✗ ⏸ ↗ ? → … ö")
    assert shown == "ok ?! XX || ^^ ? -> ... ?"


def context(directory: Path, content: object) -> dict[str, str]:
    file = directory / "equipoise" / "context.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return {"XDG_RUNTIME_DIR": str(directory)}


MEMBERS = {"cluster": "shop", "members": {"node-a": "/x/a.sock", "node-b": "/x/b.sock"}}


def test_the_option_wins_over_the_variable_and_that_over_the_context(tmp_path: Path) -> None:
    environ = {**context(tmp_path, MEMBERS), "EQUIPOISE_API": "/y.sock"}
    assert places("/z.sock", None, environ).found == (Place("", Path("/z.sock")),)
    assert places(None, None, environ).found == (Place("", Path("/y.sock")),)
    del environ["EQUIPOISE_API"]
    assert [place.member for place in places(None, None, environ).found] == ["node-a", "node-b"]
    assert places(None, "node-b", environ).found == (Place("node-b", Path("/x/b.sock")),)


def test_without_a_context_this_machine_is_asked(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert places(None, None, environ).found == (Place("", MACHINE),)
    assert str(context_file({})) == f"/tmp/equipoise-{os.getuid()}/context.json"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"members": 1}', '{"members": {"a": 1}}', '{"members": {}}', "\x00"],
)
def test_a_context_that_cannot_be_read_says_what_to_do(tmp_path: Path, content: str) -> None:
    environ = context(tmp_path, content)
    with pytest.raises(Ended, match=r"context\.json") as ended:
        places(None, None, environ)
    assert ended.value.code is Exit.WRONG
    assert "--api PATH" in ended.value.mend


def test_a_member_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Ended, match="no member 'node-z'") as ended:
        places(None, "node-z", context(tmp_path, MEMBERS))
    assert ended.value.mend == "known: node-a, node-b"
    with pytest.raises(Ended, match="needs a context"):
        places(None, "node-a", {"XDG_RUNTIME_DIR": str(tmp_path / "none")})


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_another_users_context_is_not_believed(tmp_path: Path) -> None:
    environ = context(tmp_path, MEMBERS)
    file = context_file(environ)
    os.chown(file, 12_345, 12_345)
    assert stat.S_ISREG(file.stat().st_mode)
    with pytest.raises(Ended, match="belongs to another user"):
        places(None, None, environ)
