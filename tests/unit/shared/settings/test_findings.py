"""How problems are shown: to people, to programs, to GitHub."""

import json
from pathlib import Path

from shared.settings import findings as found
from shared.settings.findings import Code, Finding, Place, Severity, dotted
from tests.unit.shared.settings.samples import NAME, VALID, changed, examined


def finding_at(excerpt: str, column: int, length: int) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code=Code.UNKNOWN_KEY,
        path="a.b",
        text="unknown key 'x'",
        help="",
        place=Place(file="f.yaml", line=7, column=column, length=length, excerpt=excerpt),
    )


def test_the_report_has_the_form_that_compilers_made_common(tmp_path: Path) -> None:
    text = changed("capacity: 100", "capacty: 100").replace("every: 50ms", "every: 20ms")
    assert examined(text, tmp_path).text() == (
        "equipoise.yaml:7:5: error: nodes.node-a.capacty: unknown key 'capacty' [EQ-C010]\n"
        "  |\n"
        "7 |     capacty: 100\n"
        "  |     ^^^^^^^\n"
        "  = help: did you mean 'capacity'? keys allowed here: address, capacity\n"
        "\n"
        "equipoise.yaml:34:10: warning: heartbeat.every: beats every 20ms need quiet machines "
        "[EQ-C103]\n"
        "   |\n"
        "34 |   every: 20ms\n"
        "   |          ^^^^\n"
        "   = help: below 50ms, a machine that is merely busy can look silent: watch for false "
        "alarms\n"
        "\n"
        "equipoise.yaml: 1 error, 1 warning; nothing was changed"
    )


def test_the_verdict_counts(tmp_path: Path) -> None:
    assert examined(VALID, tmp_path).text() == "equipoise.yaml: no errors"
    report = examined(changed("every: 50ms", "every: 20ms"), tmp_path)
    assert report.text().endswith("equipoise.yaml: no errors, 1 warning")
    two = changed("ramp: 10s", "ramp: x").replace("level: info", "level: x")
    assert examined(two, tmp_path).text().endswith(": 2 errors; nothing was changed")


def test_as_json_an_editor_finds_everything(tmp_path: Path) -> None:
    (shown,) = json.loads(json.dumps(examined(changed("ramp: 10s", "ramp: x"), tmp_path).as_json()))
    assert shown == {
        "file": NAME,
        "line": 36,
        "column": 9,
        "length": 1,
        "severity": "error",
        "code": "EQ-C015",
        "path": "policy.ramp",
        "message": "must be a duration from 0s to 1h, got 'x'",
        "help": "write a whole number and its unit: ms, s, m or h",
    }


def test_github_gets_one_line_that_it_understands(tmp_path: Path) -> None:
    report = examined(changed("cluster: shop", 'cluster: "50%\\n::error::x"'), tmp_path)
    (line,) = report.as_annotations().splitlines()
    assert line.startswith(
        "::error file=equipoise.yaml,line=2,col=10,endColumn=27,title=EQ-C016::cluster: names are"
    )
    assert "50%25" in line


def test_properties_of_annotations_are_escaped() -> None:
    finding = Finding(
        severity=Severity.WARNING,
        code=Code.NO_WITNESS,
        path="",
        text="a, b: c",
        help="",
        place=Place(file="a,b:c\n.yaml"),
    )
    assert finding.as_annotation() == "::warning file=a%2Cb%3Ac%0A.yaml,title=EQ-C102::a, b: c"


def test_tabs_do_not_move_the_carets() -> None:
    lines = finding_at("\ta: b", 2, 1).report().splitlines()
    assert lines[2:4] == ["7 |  a: b", "  |  ^"]


def test_a_long_line_is_cropped_around_the_culprit() -> None:
    lines = finding_at("x" * 500 + "CULPRIT" + "y" * 500, 501, 7).report().splitlines()
    assert len(lines[2]) < 140
    start = lines[2].index("CULPRIT")
    assert lines[3][start : start + 7] == "^" * 7


def test_control_characters_and_passwords_are_not_printed() -> None:
    shown = finding_at("a: \x1b[31m nats://u:secret@h", 4, 4).report()
    assert "\x1b" not in shown
    assert "secret" not in shown
    assert "\\u001b[31m nats://***@h" in shown


def test_a_flood_of_findings_is_cut(tmp_path: Path) -> None:
    text = VALID + "".join(f"x{i}: 1\n" for i in range(150))
    shown = examined(text, tmp_path).text()
    assert shown.count(": error: ") == found.SHOWN_MAX
    assert "\nand 50 more\n" in shown
    assert shown.endswith("150 errors; nothing was changed")


def test_paths_are_written_as_people_write_them() -> None:
    assert dotted(("bus", "servers", 1)) == "bus.servers[1]"
    assert dotted(("nodes", "node-a", "address")) == "nodes.node-a.address"
    assert dotted(()) == ""


def test_a_password_in_a_url_is_refused_and_hidden(tmp_path: Path) -> None:
    text = changed("[nats://10.0.0.13:4222]", "[nats://user:secret@10.0.0.13:4222]")
    report = examined(text, tmp_path)
    assert [finding.code for finding in report.findings] == [Code.SECRET]
    for shown in (report.text(), report.as_annotations(), str(report.as_json())):
        assert "secret" not in shown


def test_codes_are_unique_and_explained() -> None:
    assert len({code.value for code in Code}) == len(Code)
    assert all(code.summary.endswith(".") for code in Code)
    assert all(
        code.summary.startswith("Warning") == (code.value[4] == "1")
        for code in Code
        if code.value[5:]
    )
