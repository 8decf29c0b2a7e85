"""A document against the schema: every misfit is a finding, and the rest is still judged.

What does not fit is replaced by its default or, where there is none, by the schema's example,
so that relations between all other keys can be judged in the same run. Whatever is then said
about a replaced value is dropped: it was not written by anyone.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from shared.settings import schema
from shared.settings.document import Document, Value
from shared.settings.findings import Code, Finding, KeyPath, Place, Severity, dotted, quoted
from shared.settings.kinds import nearest
from shared.settings.schema import File

# What other programs call our keys; a mistyped word may be near to one of these.
OTHER_NAMES: Mapping[str, str] = {
    "check": "probe",
    "health": "probe",
    "host": "address",
    "interval": "every",
    "ip": "address",
    "period": "every",
    "share": "capacity",
    "weight": "capacity",
}
BELOW = "*"  # ends a path that stands for everything below it
KEY_COMMAND = "(umask 077; head -c 32 /dev/urandom | base64 > {path})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """A file that fits the schema, and what had to be replaced to make it so."""

    file: File
    findings: tuple[Finding, ...]
    replaced: frozenset[KeyPath]

    def stands(self, path: KeyPath) -> bool:
        """Return whether a value is what was written or its default; '*': and all below it."""
        *around, last = path
        if last == BELOW and any(bad[: len(around)] == tuple(around) for bad in self.replaced):
            return False
        return not any(path[: len(bad)] == bad for bad in self.replaced)


def validate(document: Document) -> Validated:
    """Return the file that a document describes, with all its misfits."""
    tree: Any = {} if document.root is None else copy.deepcopy(document.root)
    findings: list[Finding] = []
    replaced: set[KeyPath] = set()
    if not isinstance(tree, dict):
        findings.append(_shape(document, (), tree, "a mapping"))
        replaced = {(key,) for key in schema.fields(File)}
        tree = {}
    elif misfits := _misfits(tree):
        findings += [_finding(document, misfit) for misfit in _unexplained(misfits)]
        replaced |= _replace_all(tree, misfits)
    replaced |= _replace_all(tree, _misfits(tree))  # required keys of what was emptied
    return Validated(
        file=File.model_validate(tree), findings=tuple(findings), replaced=frozenset(replaced)
    )


def _replace_all(tree: dict[str, Any], misfits: list[Mapping[str, Any]]) -> set[KeyPath]:
    paths = {_replaceable(tuple(misfit["loc"])) for misfit in misfits}
    for path in sorted(paths, key=len):
        _replace(tree, path)
    return paths


def _misfits(tree: object) -> list[Mapping[str, Any]]:
    try:
        File.model_validate(tree)
    except ValidationError as error:
        return list(error.errors(include_url=False))
    return []


def _unexplained(misfits: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return misfits without required keys that are there, mistyped."""
    meant = {
        (*misfit["loc"][:-1], _meant(tuple(misfit["loc"])))
        for misfit in misfits
        if misfit["type"] == "extra_forbidden"
    }
    return [m for m in misfits if m["type"] != "missing" or tuple(m["loc"]) not in meant]


def _replaceable(path: KeyPath) -> KeyPath:
    """Return the path itself, or the whole list when it is of an entry."""
    numbers = [i for i, part in enumerate(path) if isinstance(part, int)]
    return path[: numbers[0]] if numbers else path


def _replace(tree: dict[str, Any], path: KeyPath) -> None:
    """Put the default or the example where something does not fit."""
    *parents, last = path
    section: Any = tree
    for part in parents:
        if isinstance(section, dict) and section.get(part) is None:
            section[str(part)] = {}  # an empty section, which lacks what it needs
        section = section[part] if isinstance(section, dict) else None
    if not isinstance(section, dict):
        return
    section.pop(str(last), None)
    if (example := _example(path)) is not None:
        section[str(last)] = example


def _example(path: KeyPath) -> Value:
    """Return what may stand in for a required value, or for what bears a name."""
    field = schema.field_at(path)
    if field is not None:
        return _as_written(field.examples[0]) if field.is_required() and field.examples else None
    around = schema.field_at(path[:-1]) if len(path) > 1 else None
    if around is not None and schema.section_of(around)[1] and around.examples:
        return _as_written(next(iter(around.examples[0].values())))
    return None


def _as_written(example: object) -> Value:
    if isinstance(example, dict):
        return {key: _as_written(value) for key, value in example.items()}
    return str(example)


def _finding(document: Document, misfit: Mapping[str, Any]) -> Finding:
    path: KeyPath = tuple(misfit["loc"])
    match misfit["type"]:
        case "extra_forbidden":
            return _unknown(document, path)
        case "missing":
            return _missing(document, path)
        case "model_type" | "dict_type":
            return _shape(document, path, misfit["input"], "a mapping")
        case "list_type":
            return _shape(document, path, misfit["input"], "a list, such as [a, b]")
        case code:
            context = misfit["ctx"]
            mend = context["help"]
            if code == Code.EMPTY:
                mend = _default_words(path)
            return _error(Code.of(code), document.place(path), path, context["text"], mend)


def _unknown(document: Document, path: KeyPath) -> Finding:
    section = schema.section_at(path[:-1])
    assert section is not None
    known = tuple(schema.fields(section))
    key = str(path[-1])
    meant = _meant(path)
    mend = f"did you mean '{meant}'?" if meant else _elsewhere(key, path[:-1])
    allowed = f"keys allowed here: {', '.join(sorted(known))}"
    mend = f"{mend} {allowed}" if mend else allowed
    return _error(
        Code.UNKNOWN_KEY, document.key_place(path), path, f"unknown key {quoted(key)}", mend
    )


def _meant(path: KeyPath) -> str:
    """Return the key that an unknown one probably stands for; empty when none is near."""
    section = schema.section_at(path[:-1])
    known = schema.fields(section) if section is not None else {}
    others = {other: key for other, key in OTHER_NAMES.items() if key in known}
    near = nearest(str(path[-1]), (*known, *others))
    return others.get(near, near)


def _elsewhere(key: str, here: KeyPath) -> str:
    """Return where a key belongs, when there is exactly one such place."""
    places = [path for path in _all_keys(schema.File, ()) if path[-1] == key]
    if len(places) != 1 or places[0][:-1] == here:
        return ""
    if key == "<<":
        return ""
    return f"it belongs under '{dotted(places[0][:-1])}';"


def _all_keys(section: schema.SectionType, path: KeyPath) -> Iterable[KeyPath]:
    for key, field in schema.fields(section).items():
        here: KeyPath = (*path, key)
        yield here
        inner, many = schema.section_of(field)
        if inner is not None:
            yield from _all_keys(inner, (*here, "NAME") if many else here)


def _missing(document: Document, path: KeyPath) -> Finding:
    field = schema.field_at(path)
    assert field is not None
    assert field.examples is not None
    key, example = path[-1], field.examples[0]
    shown = f"{key}: {example}" if not isinstance(example, dict) else f"{key}:"
    if len(path) == 1:
        mend = f"add '{shown}' at the left margin"
    else:
        mend = f"add '{shown}' under '{path[-2]}:'"
    if key == "key":
        mend += "; make the file with: " + KEY_COMMAND.format(path=example)
    return _error(
        Code.MISSING, document.key_place(path), path, f"required key '{key}' is missing", mend
    )


def _shape(document: Document, path: KeyPath, value: object, needed: str) -> Finding:
    if isinstance(value, str):
        got = quoted(value)
    elif value is None:
        got = "nothing"
    else:
        got = "a mapping" if isinstance(value, dict) else "a list"
    section = schema.section_at(path)
    mend = f"keys allowed here: {', '.join(sorted(schema.fields(section)))}" if section else ""
    if section is None and needed == "a mapping":
        mend = "write one entry a line, each beginning with its name and ':'"
    text = f"must be {needed}, got {got}"
    return _error(Code.SHAPE, document.place(path), path, text, mend)


def _default_words(path: KeyPath) -> str:
    field = schema.field_at(path)
    if field is None or field.is_required():
        return "write one"
    if field.default is None:
        return "write one, or remove the line"
    return f"write one, or remove the line for the default, {field.default}"


def _error(code: Code, place: Place, path: KeyPath, text: str, mend: str) -> Finding:
    return Finding(
        severity=Severity.ERROR, code=code, path=dotted(path), text=text, help=mend, place=place
    )
