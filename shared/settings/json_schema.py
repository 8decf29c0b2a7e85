"""The JSON Schema of `equipoise.yaml`, for editors and CI.

It is draft-07, which YAML's language server promises; nothing in it means something else in
2020-12. What a schema cannot know (relations, files, the environment) only `examine` says.
"""

import json
from typing import Any

from shared.settings.kinds import WORDS
from shared.settings.schema import File

DIALECT = "http://json-schema.org/draft-07/schema#"
TITLE = "Equipoise"


def json_schema() -> dict[str, Any]:
    """Return the schema as plain values."""
    made = File.model_json_schema(by_alias=True)
    definitions = {name: _mended(of) for name, of in sorted(made.pop("$defs").items())}
    return {
        "$schema": DIALECT,
        **_mended(made),
        "title": TITLE,
        "definitions": definitions,
    }


def as_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _mended(schema: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return pydantic's output as draft-07 has it, and without what only repeats the names."""
    if isinstance(schema, list):
        return [_mended(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    mended = {key: _mended(value) for key, value in schema.items() if not _is_noise(key, value)}
    _describe(mended)
    _refer(mended)
    if mended.get("type") == "integer" and isinstance(mended.get("default"), str):
        mended["default"] = int(mended["default"])
    return mended


def _is_noise(key: str, value: object) -> bool:
    """Return whether it is a title made of a key, or a default that says nothing."""
    return (key == "title" and isinstance(value, str)) or (key == "default" and not value)


def _describe(mended: dict[str, Any]) -> None:
    """Say in the description what editors cannot know from the keywords alone."""
    words = mended.pop(WORDS, None)
    if isinstance(words, str) and "description" in mended and not mended.keys() & {"enum", "const"}:
        mended["description"] += f" Must be {words}."


def _refer(mended: dict[str, Any]) -> None:
    """Wrap references: whatever stands beside one is ignored in draft-07."""
    choices = mended.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:  # an empty section is empty
        choices.remove({"type": "null"})
        mended["allOf"] = mended.pop("anyOf")
    if "$ref" not in mended:
        return
    reference = {"$ref": mended.pop("$ref").replace("/$defs/", "/definitions/")}
    mended |= {"allOf": [reference]} if mended else reference
