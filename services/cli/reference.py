"""The reference of the command: `docs/commands.md` from the commands, schemas from the answers.

`python -m services.cli.reference` writes them; a test says when they are not current.
"""

import json
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import click

from services.cli.exits import MEANINGS
from services.cli.program import equipoise, global_options
from shared import api, api_config, api_why

WIDTH = 90
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROOT = Path(__file__).parent.parent.parent / "docs"

# What each command prints with `-o json`; of `events -o jsonl`, each line is an `event`.
ANSWERS: Mapping[str, type] = {
    "status": api.Status,
    "events": api.Events,
    "event": api.Event,
    "incidents": api.Incidents,
    "explain": api.IncidentView,
    "why": api_why.Why,
    "rules": api.Rules,
    "change": api.Change,
    "maintenance-list": api.Overrides,
    "config-check": api_config.ConfigCheck,
    "config-show": api_config.ConfigShow,
    "version": api.Version,
    "error": api.Failure,
}
_PRINTED = {
    "failover": "change",
    "failback": "change",
    "pause": "change",
    "resume": "change",
    "maintenance start": "change",
    "maintenance end": "change",
    "maintenance list": "maintenance-list",
    "config check": "config-check",
    "config show": "config-show",
}
_SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def schemas(*, closed: bool = False) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each answer; a closed one allows nothing that it does not name.

    What is published is open: a newer version may add fields.
    """
    return {name: _schema(kind, name, closed=closed) for name, kind in ANSWERS.items()}


def _schema(kind: type, name: str, *, closed: bool) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    top = _of(kind, definitions, closed=closed)
    whole = definitions.pop(top["$ref"].removeprefix("#/$defs/"))
    schema = {"$schema": DIALECT, "$id": f"equipoise/{name}.json", **whole}
    return {**schema, "$defs": dict(sorted(definitions.items()))} if definitions else schema


def _of(kind: Any, definitions: dict[str, Any], *, closed: bool) -> dict[str, Any]:  # noqa: ANN401
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind is object:
        return {}
    if is_typeddict(kind):
        return _record(kind, definitions, closed=closed)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    inner = [_of(item, definitions, closed=closed) for item in arguments]
    if origin is list:
        return {"type": "array", "items": inner[0]}
    if origin is dict:
        return {"type": "object", "additionalProperties": inner[1]}
    assert origin in (Union, type(int | str)), f"answers have no fields of type {kind}"
    return {"anyOf": inner}


def _record(kind: Any, definitions: dict[str, Any], *, closed: bool) -> dict[str, Any]:  # noqa: ANN401
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # its place, should it contain itself
        fields = get_type_hints(kind)
        schema: dict[str, Any] = {
            "description": " ".join((kind.__doc__ or "").split()),
            "type": "object",
            "properties": {
                name: _of(item, definitions, closed=closed) for name, item in fields.items()
            },
            "required": list(fields),
        }
        if closed:
            schema["additionalProperties"] = False
        definitions[kind.__name__] = schema
    return {"$ref": f"#/$defs/{kind.__name__}"}


def commands() -> str:
    """Return the page of all commands."""
    context = click.Context(equipoise, info_name="equipoise", terminal_width=WIDTH)
    pages = "\n".join(_page(context, equipoise, ""))
    codes = "\n".join(f"| {code.value} | {text} |" for code, text in MEANINGS.items())
    return f"""\
# Commands

<!-- Made by `python -m services.cli.reference` from the commands; edit those, not this. -->

`equipoise` asks a console over its unix socket: the one of `--api`, of `EQUIPOISE_API`, of a
running sandbox, or `/run/equipoise/api.sock`. Data goes to standard output, talk to standard
error. Colours are shown on a terminal only; `NO_COLOR`, `FORCE_COLOR` and `TERM=dumb` are obeyed.

## Exit codes

| code | meaning |
|---|---|
{codes}

With `-o json` an error is printed in the place of the answer: [error](schemas/error.json).

## Options of every command

```
{_options(context)}
```

{pages}"""


def _options(context: click.Context) -> str:
    records = [record for option in global_options() if (record := option.get_help_record(context))]
    formatter = context.make_formatter()
    formatter.write_dl(records)
    return formatter.getvalue().rstrip()


def _page(context: click.Context, group: click.Group, path: str) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, context, info_name=name, terminal_width=WIDTH)
        full = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from _page(inner, command, full)
            continue
        yield from _command(inner, command, full)


def _command(context: click.Context, command: click.Command, full: str) -> Iterator[str]:
    common = {option.name for option in global_options()}
    shown = [item for item in command.params if item.name not in common]
    formatter = context.make_formatter()
    options = [item for item in shown if isinstance(item, click.Option)]
    records = [record for item in options if (record := item.get_help_record(context))]
    if records:
        formatter.write_dl(records)
    arguments = " ".join(
        item.make_metavar(context) for item in shown if isinstance(item, click.Argument)
    )
    yield f"## equipoise {full}\n"
    yield cleandoc(command.help or "") + "\n"
    usage = f"equipoise {full} {arguments}".rstrip()
    listed = f" [OPTIONS]\n{formatter.getvalue().rstrip()}" if records else ""
    yield f"```\n{usage}{listed}\n```\n"
    answer = _PRINTED.get(full, full)
    if answer in ANSWERS:
        yield f"`-o json`: [{answer}](schemas/{answer}.json)\n"


def files() -> dict[Path, str]:
    """Return every generated file with its content."""
    made = {
        ROOT / "schemas" / f"{name}.json": json.dumps(schema, indent=2) + "\n"
        for name, schema in schemas().items()
    }
    return {ROOT / "commands.md": commands(), **made}


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
