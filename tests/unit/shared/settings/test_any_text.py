"""Whatever the text: a report or settings, never another exception, always in good time."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from shared.errors import ConfigError
from shared.settings import Settings, show
from shared.settings.load import examine_text, load_text
from tests.unit.shared.settings.samples import NAME, VALID, key_in

WORDS = [
    *("version", "cluster", "key", "nodes", "node-a", "address", "witness", "services", "shop"),
    *("probe", "http", "tcp", "true", "policy", "after", "10s", "auto", "80", "12:30", "~", ""),
    *("200-299", "nats://a:1", "6 per 10m", "::1", "10.0.0.1", "null", "on", "0x1", "1e999"),
]
MARKS = list(":-[]{},&*!|>'\"%@`#?\n\t \\\u2028\x00\udcff\ufeff<=~é")
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.lists(st.sampled_from([*WORDS, *MARKS, ": ", "\n  ", "\n    ", "- "])).map("".join)


def survives(text: str, directory: Path, **environ: str) -> None:
    report = examine_text(text, NAME, environ, directory=directory)
    assert report.valid == all(finding.severity == "warning" for finding in report.findings)
    report.text().encode("utf-8")
    report.as_annotations().encode("utf-8")
    lines = text.count("\n") + text.count("\u2028") + text.count("\x85") + text.count("\r") + 1
    for finding in report.findings:
        assert finding.text
        if finding.place.file == NAME:
            assert 0 <= finding.place.line <= lines
            assert finding.place.column <= len(finding.place.excerpt) + 1
    try:
        loaded = load_text(text, NAME, {"EQUIPOISE_NODE": "node-a", **environ}, directory=directory)
    except ConfigError as error:
        assert str(error).endswith("nothing was changed")  # noqa: PT017 - one of two good ends
    else:
        assert isinstance(loaded, Settings)
        again = load_text(
            show.as_yaml(report), NAME, {"EQUIPOISE_NODE": "node-a"}, directory=directory
        )
        assert again.cluster == loaded.cluster


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return key_in(tmp_path_factory.mktemp("any"))


@FEW
@given(text=texts)
def test_any_text_gives_a_report(directory: Path, text: str) -> None:
    survives(text, directory)


@FEW
@given(text=st.text(max_size=200))
def test_any_characters_give_a_report(directory: Path, text: str) -> None:
    survives(text, directory)


@FEW
@given(st.data())
def test_any_change_of_a_valid_file_gives_a_report(directory: Path, data: st.DataObject) -> None:
    text = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(texts | st.just("")) + text[stop:]
    survives(text, directory)


@FEW
@given(st.data())
def test_any_lines_left_out_doubled_or_swapped_give_a_report(
    directory: Path, data: st.DataObject
) -> None:
    lines = VALID.splitlines(keepends=True)
    chosen = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=20, max_size=50))
    order = sorted(chosen) if data.draw(st.booleans()) else chosen
    survives("".join(lines[i] for i in order), directory)


@FEW
@given(
    name=st.sampled_from(
        [
            *("EQUIPOISE_NODES", "EQUIPOISE_SERVICES", "EQUIPOISE_SERVICES__SHOP__PROBE"),
            *("EQUIPOISE_POLICY", "EQUIPOISE_BUS__SERVERS", "EQUIPOISE_KEY_FILE"),
            *("EQUIPOISE_POLICY__RAMP", "EQUIPOISE_NODES__NODE_A", "EQUIPOISE_X__Y", "EQUIPOISE_Z"),
        ]
    ),
    value=texts,
)
def test_any_variable_gives_a_report(directory: Path, name: str, value: str) -> None:
    survives(VALID, directory, **{name: value})
