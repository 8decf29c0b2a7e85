"""The configuration in force, with all defaults: as YAML that loads again, and as JSON."""

from collections.abc import Iterator
from typing import Any

import yaml

from shared.settings.environment import origin
from shared.settings.findings import KeyPath, dotted
from shared.settings.load import Report

INDENT = "  "
COMMENT_COLUMN = 38  # where origins begin, when the line is not longer
KEY_COMMENT = "its content: ***"  # the path is no secret; what is in the file is never shown


def as_yaml(report: Report, *, origins: bool = False) -> str:
    """Return the configuration with all defaults; with origins, each value says where from."""
    lines = [
        _line(path, value, _comment(report, path, value, origins=origins))
        for path, value in _entries(_effective(report), ())
    ]
    return "\n".join([*lines, ""])


def as_json(report: Report) -> dict[str, dict[str, Any]]:
    """Return every value with its origin, by path."""
    return {
        dotted(path): {"value": value, "origin": origin(report.document, path)}
        for path, value in _entries(_effective(report), ())
        if not isinstance(value, dict)
    }


def _effective(report: Report) -> dict[str, Any]:
    assert report.file is not None  # whoever shows has seen that the report is valid
    values = report.file.model_dump(by_alias=True)
    for service in values["services"].values():
        if service["probe"]["http"] is None:
            del service["probe"]["expect"]  # a connection has no status
    if not values["vips"]:
        del values["vips"]  # and no service is reached through any
        for service in values["services"].values():
            del service["vips"]
    return values


def _entries(section: dict[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield what is said, in the order of the schema; what is left out has no line."""
    for key, value in section.items():
        if value is None:
            continue
        yield (*path, key), value
        if isinstance(value, dict):
            yield from _entries(value, (*path, key))


def _line(path: KeyPath, value: object, comment: str) -> str:
    text = f"{INDENT * (len(path) - 1)}{_scalar(path[-1])}:"
    if not isinstance(value, dict):
        text += f" {_scalar(value)}"
    return f"{text:<{COMMENT_COLUMN}}  # {comment}" if comment else text


def _comment(report: Report, path: KeyPath, value: object, *, origins: bool) -> str:
    if isinstance(value, dict):
        return ""
    words = [origin(report.document, path)] if origins else []
    if path == ("key",):
        words.append(KEY_COMMENT)
    return "; ".join(words)


def _scalar(value: object) -> str:
    """Return a value or a list in one line, quoted where YAML needs it."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
