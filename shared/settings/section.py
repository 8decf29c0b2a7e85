"""What the sections of the file are made of: mappings with known keys, and their defaults."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _filled(value: object) -> object:
    """Read a section whose keys are all left out (or commented out) as an empty mapping."""
    return {} if value is None else value


FILLED = BeforeValidator(_filled)


def defaulting(text: str, description: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    """Return a field with a default, written as in the file."""
    return Field(default=text, description=description)


def optional(description: str, *, example: object) -> Any:  # noqa: ANN401 - as pydantic's Field
    """Return a field that may be left out, and is None then."""
    return Field(default=None, validate_default=False, description=description, examples=[example])


def sectioned(description: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    """Return the field of a section that may be left out, since all its keys may."""
    return Field(default=None, description=description)


def schema_of_section(schema: dict[str, Any]) -> None:
    """Let editors accept a section without keys where we do."""
    if not schema.get("required"):
        schema["type"] = ["object", "null"]


class Section(BaseModel):
    """A mapping of the file: known keys only."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda field: field.replace("_", "-"),
        populate_by_name=False,
        validate_default=True,
        json_schema_extra=schema_of_section,
    )
