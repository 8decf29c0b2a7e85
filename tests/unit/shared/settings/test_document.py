"""YAML as it is written, and its mistakes in plain words."""

import pytest

from shared.settings.document import VALUES_MAX, Quoted, read
from shared.settings.findings import Code


@pytest.mark.parametrize(
    ("text", "line", "column", "what", "mend"),
    [
        ("a:\n\tb: 1\n", 2, 1, "a tab cannot start a token", "indent with spaces"),
        ("a: b: c\n", 1, 5, "a second ':' in this place is not understood", "quote the value"),
        ("a: 1\nb\nc: 2\n", 2, 1, "this key has no ':'", "key: value"),
        ("a: [1, 2\nb: 3\n", 1, 4, "the list that begins with '[' is not closed", "[a, b]"),
        ("a: {b: 1\nc: 2\n", 1, 4, "the mapping that begins with '{' is not closed", "{a: 1"),
        ('a: "b\nc: 2\n', 1, 4, "a quotation mark is opened and never closed", "close it"),
        ("a: 'b\n", 1, 4, "a quotation mark is opened and never closed", "close it"),
        ("a:\n  b: 1\n c: 2\n", 3, 2, "does not fit the indentation", "begin in one column"),
        ("a: @b\n", 1, 4, "a value cannot begin with '@'", "quote it"),
        ("a: *b\n", 1, 4, "this alias refers to nothing", "with '&'"),
        ("a: 1\n---\nb: 2\n", 2, 1, "more than one document", "remove '---'"),
        ('a: "\\d"\n', 1, 6, "this escape is not known", "single quotes"),
        ("a: b\x07\n", 1, 5, "this character cannot be printed", "remove it"),
    ],
)
def test_a_syntax_error_is_told_in_plain_words(
    text: str, line: int, column: int, what: str, mend: str
) -> None:
    (finding,) = read(text, "x").findings
    assert finding.code is Code.SYNTAX
    assert what in finding.text
    assert mend in finding.help
    assert (finding.place.line, finding.place.column) == (line, column)


def test_scalars_stay_as_they_are_written() -> None:
    root = read("{a: on, b: 12:30, c: 010, d: 1_0, e: ~, f: 'x', g: 1e3, h: 2001-01-01}", "x").root
    assert root == {
        "a": "on", "b": "12:30", "c": "010", "d": "1_0", "e": None, "f": "x", "g": "1e3",
        "h": "2001-01-01",
    }  # fmt: skip
    assert isinstance(root, dict)
    assert isinstance(root["f"], Quoted)


@pytest.mark.parametrize(
    ("text", "code", "what"),
    [
        ("a: !!python/object:os.system x\n", Code.SYNTAX, "means nothing here"),
        ("a: !secret x\n", Code.SYNTAX, "means nothing here"),
        ("? [a]\n: b\n", Code.SHAPE, "a key must be a word"),
        ("a: " + "[" * 14 + "]" * 14, Code.SIZE, "nested too deeply"),
        ("a: " + "[" * 5000, Code.SYNTAX, "nested too deeply"),
        ("a: &a [*a]\n", Code.SIZE, "nested too deeply"),
    ],
)
def test_what_yaml_can_and_we_need_not_is_refused(text: str, code: Code, what: str) -> None:
    findings = read(text, "x").findings
    assert [finding.code for finding in findings] == [code]
    assert what in findings[0].text


def test_laughter_that_doubles_a_billion_times_is_cut_short() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    document = read("\n".join(lines), "x")
    assert Code.SIZE in [finding.code for finding in document.findings]
    assert len(document.values) <= VALUES_MAX + 100
