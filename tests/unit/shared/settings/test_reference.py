"""The page of the documentation: current, complete, and true."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import load, schema
from shared.settings.findings import Code
from shared.settings.reference import reference
from tests.unit.shared.settings.samples import NAME, examined

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
FULL = (ROOT / "deploy" / "equipoise.yaml").read_text()


def keys(section: schema.SectionType, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key of the schema with the heading it belongs under."""
    for key, field in schema.fields(section).items():
        yield path, key
        inner, many = schema.section_of(field)
        if inner is not None:
            below = f"{path}.{key}" if path else key
            yield from keys(inner, f"{below}.NAME" if many else below)


def test_the_page_is_current() -> None:
    assert reference() == PAGE, "run: python -m shared.settings"


def test_every_key_is_in_the_page() -> None:
    for path, key in keys(schema.File):
        section = PAGE.partition(f"### `{path}`\n" if path else "## Keys\n")[2].partition("\n##")[0]
        assert f"\n| `{key}` | " in section, f"{path}.{key}"


def test_every_code_is_in_the_page() -> None:
    for code in Code:
        assert f'<a id="{code.lower()}"></a>`{code}` | {code.summary} |' in PAGE


def test_the_commented_sample_has_every_key_but_tcp_which_follows_from_the_protocol() -> None:
    for path, key in keys(schema.File):
        written = re.search(rf"(^|[ {{]){key}:( |\n)", FULL, re.MULTILINE)
        assert written or key == "tcp", f"{path}.{key}"


@pytest.mark.parametrize("name", ["equipoise.yaml", "with-docker.yaml"])
def test_what_containers_are_configured_by_is_right(name: str) -> None:
    report = load.examine(ROOT / "deploy" / "compose" / name, {})
    assert report.valid, report.text()


def test_the_recipe_for_two_machines_has_a_right_configuration(tmp_path: Path) -> None:
    recipe = (ROOT / "deploy" / "compose" / "README.md").read_text()
    found = re.search(r"```yaml\n(.*?)```", recipe, re.DOTALL)
    assert found is not None
    assert examined(found[1], tmp_path).valid


def test_what_the_sample_calls_a_default_is_one(tmp_path: Path) -> None:
    without = "\n".join(
        line for line in FULL.splitlines() if not re.search(r"^ +[a-z]+: .*# default", line)
    )
    assert without.count("\n") < FULL.count("\n") - 12
    text = re.sub(r"^(bus|heartbeat|policy):.*$", r"\1:", without, flags=re.MULTILINE)
    full, bare = examined(FULL, tmp_path).settings, examined(text, tmp_path).settings
    assert full is not None
    assert bare is not None
    assert (full.cluster, full.log_level) == (bare.cluster, bare.log_level)


def test_the_report_in_the_page_is_what_people_will_see() -> None:
    assert f"{NAME}: 5 errors; nothing was changed" in PAGE
