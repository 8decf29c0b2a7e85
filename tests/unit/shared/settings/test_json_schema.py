"""The published schema: accepts what we accept, refuses what a schema can know."""

import re
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import pytest
import yaml

from shared.settings.findings import Code
from shared.settings.json_schema import as_text, json_schema
from shared.settings.reference import MINIMAL
from tests.unit.shared.settings.samples import VALID, changed, examined
from tests.unit.shared.settings.test_mistakes import MISTAKES, Mistake, made, marked

ROOT = Path(__file__).parents[4]
FULL = (ROOT / "deploy" / "equipoise.yaml").read_text()
Checker: TypeAlias = type[jsonschema.Draft7Validator] | type[jsonschema.Draft202012Validator]
CHECKERS: list[Checker] = [jsonschema.Draft7Validator, jsonschema.Draft202012Validator]

# What only the program can know: relations, and what a machine's address is.
BEYOND_A_SCHEMA = {
    Code.HOME, Code.SAME_ADDRESS, Code.FAMILIES, Code.PORTS, Code.PROBE_TIMEOUT, Code.NO_WITNESS,
    Code.FAST_HEARTBEAT, Code.NO_EFFECT, Code.SHARED_PORT, Code.IDENTITY, Code.CAPACITIES,
    Code.NEAR_PORT, Code.DUPLICATE, Code.VIP, Code.TAKEN_NAME, Code.LEASE, Code.BUS_ON_VIP,
    Code.ONE_HOME, Code.ENGINE, Code.UNUSED_VIP, Code.PREFIXES,
}  # fmt: skip
RANGES_OF_TEXT = {
    "11s",
    "6 per 10s",
    "299-200",
    "0.0.0.0",
    "fe80::1",
    "::ffff:10.0.0.12",
    "witness",
    "2s",
    "10.0.0.100/33",
    "10.0.0.300/24",
    "10.0.0.0/24",
    "10.0.0.255/24",
    "127.0.0.5/8",
    "fe80::1/64",
    "10.0.0.100/32",
}
EQUAL_TO_EDITORS = {"100.0", "08080"}  # a number that is whole; a leading zero
UNKNOWABLE = {f"«{value}»" for value in RANGES_OF_TEXT | EQUAL_TO_EDITORS}


class Yaml12(yaml.SafeLoader):
    """Reads scalars as editors do: YAML 1.2's core schema."""


Yaml12.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?[0-9]+[.][0-9]*$", "-+0123456789"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
):
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))
Yaml12.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def as_an_editor_reads(text: str) -> object:
    return yaml.load(text, Loader=Yaml12)


def refusals(text: str, checker: Checker = jsonschema.Draft7Validator) -> list[Any]:
    validator = checker(json_schema(), format_checker=checker.FORMAT_CHECKER)
    return list(validator.iter_errors(as_an_editor_reads(text)))


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_schema_is_one_in_both_dialects(checker: Checker) -> None:
    checker.check_schema(json_schema())


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("text", [VALID, MINIMAL, FULL], ids=["valid", "minimal", "full"])
def test_the_samples_are_accepted(text: str, checker: Checker) -> None:
    assert refusals(text, checker) == []


def test_empty_sections_are_accepted_where_we_accept_them(tmp_path: Path) -> None:
    for text in (VALID + "x:\n", MINIMAL + "policy:\n", MINIMAL + "policy:\n  after:\n"):
        assert (refusals(text) == []) == examined(text, tmp_path).valid
    empty = MINIMAL.replace("witness: {address: 10.0.0.13}", "witness:")
    assert refusals(empty)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.code.name}-{m.new.strip()[:30]}")
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_mistake_that_a_schema_can_know_is_refused(mistake: Mistake, checker: Checker) -> None:
    knowable = mistake.code not in BEYOND_A_SCHEMA and not any(
        value in mistake.new for value in UNKNOWABLE
    )
    assert bool(refusals(marked(made(mistake))[0], checker)) == knowable


def test_editors_are_told_what_each_key_means_and_its_default() -> None:
    schema = json_schema()
    assert schema["title"] == "Equipoise"
    probe = schema["definitions"]["ProbeSection"]["properties"]
    assert probe["every"]["default"] == "100ms"
    assert "Must be a duration from 20ms to 1h." in probe["every"]["description"]
    assert probe["fall"]["default"] == 2
    for section in (schema, *schema["definitions"].values()):
        for key, value in section["properties"].items():
            assert "description" in value or "$ref" in value or "allOf" in value, key


def test_no_keyword_means_different_things_in_the_two_dialects() -> None:
    text = as_text()
    for keyword in (
        "prefixItems",
        "unevaluated",
        "$defs",
        "dependentSchemas",
        "nullable",
        '"words"',
    ):
        assert keyword not in text


def test_the_schema_in_the_repository_is_current() -> None:
    assert (ROOT / "deploy" / "equipoise.schema.json").read_text() == as_text(), (
        "run: python -m shared.settings"
    )


def test_the_editor_sees_the_mistake_that_yaml_1_1_hides() -> None:
    assert refusals(changed("port: 8080", "port: 12:30"))
