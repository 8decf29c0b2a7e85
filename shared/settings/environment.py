"""Variables that win over the file, and those that only a single program reads.

`EQUIPOISE_` and a key's path make a variable: parts are joined by two underscores, `-` is one,
and letters are upper case. `policy.after.service` is `EQUIPOISE_POLICY__AFTER__SERVICE`, the
capacity of node-a is `EQUIPOISE_NODES__NODE_A__CAPACITY`. Nodes, VIPs and services are named in
the file; variables change what is there. An empty variable is one that is not set.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from shared.settings import schema
from shared.settings.document import Document, read
from shared.settings.findings import Code, Finding, KeyPath, Place, Severity
from shared.settings.kinds import nearest

PREFIX = "EQUIPOISE_"
JOINT = "__"
NEAR_ENOUGH = 0.85  # a variable so near to one of ours is a mistake, not somebody else's

# Names of their own for what people set most; they win over the general ones.
SHORT: Mapping[str, KeyPath] = {
    "EQUIPOISE_KEY_FILE": ("key",),
    "EQUIPOISE_LOG_FORMAT": ("telemetry", "log", "format"),
    "EQUIPOISE_LOG_LEVEL": ("telemetry", "log", "level"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("telemetry", "otlp"),
}
# Not in the file, since they differ between members or between people.
OUTSIDE: Mapping[str, str] = {
    "EQUIPOISE_CONFIG": "The path of this file. Default: `/etc/equipoise/equipoise.yaml`.",
    "EQUIPOISE_NODE": "Which member this is: the name of a node, or `witness`.",
    "EQUIPOISE_RUN_DIR": "Sockets, and what a restart may lose. Default: `/run/equipoise`.",
    "EQUIPOISE_STATE_DIR": "What a restart must find again. Default: `/var/lib/equipoise`.",
    "EQUIPOISE_HAPROXY": "The program that checks HAProxy's configuration; `none`: HAProxy's master"
    " does, in a container of its own. Default: in the PATH.",
    "EQUIPOISE_LIBNFTABLES": "The library that guards virtual IPs. Default: the system's.",
    "EQUIPOISE_HEALTH": "The `ADDRESS:PORT` where a service answers `/livez`, `/readyz` and"
    " `/metrics` on TCP as well. Default: only on a socket in the run directory.",
    "EQUIPOISE_API_LISTEN": "The `ADDRESS:PORT` where the console answers questions on TCP as well;"
    " wishes are taken on its socket only. Default: only on `api.sock` in the run directory.",
    "EQUIPOISE_API": "Where the command line finds the console.",
    "EQUIPOISE_CONTEXT": "Which of several clusters the command line means.",
}
SECRET = "EQUIPOISE_KEY"  # noqa: S105 - the name of a variable that we refuse
NOT_BY_VARIABLE = ("version", "key")  # what the file says of itself; `key` has its short name


def override(document: Document, environ: Mapping[str, str]) -> list[Finding]:
    """Let the variables win over the document's values; return what is wrong with them."""
    known = variables(document)
    settings: list[tuple[bool, int, str]] = []
    findings: list[Finding] = []
    for variable in sorted(environ):
        if not environ[variable].strip():
            continue
        if variable in known:
            settings.append((variable in SHORT, len(known[variable]), variable))
        elif variable.startswith(PREFIX) and variable not in OUTSIDE:
            findings.append(_unknown(variable, environ[variable], known))
    for _, _, variable in sorted(settings):
        path = known[variable]
        document.put(path, _value(path, variable, environ[variable].strip()))
    return findings


def variables(document: Document) -> dict[str, KeyPath]:
    """Return every variable that can change this document, with the path it changes."""
    paths = {PREFIX + JOINT.join(map(_part, path)): path for path in _paths(document)}
    return {**paths, **SHORT}


def variable_of(path: KeyPath) -> str:
    """Return the variable that changes a key."""
    short = next((name for name, of in SHORT.items() if of == path), None)
    return short or PREFIX + JOINT.join(map(_part, path))


def _part(part: str | int) -> str:
    return str(part).upper().replace("-", "_")


def _paths(document: Document) -> Iterator[KeyPath]:
    root = document.root if isinstance(document.root, dict) else {}
    for path in _below(schema.File, root, ()):
        if path[0] not in NOT_BY_VARIABLE:
            yield path


def _below(section: schema.SectionType, written: object, path: KeyPath) -> Iterator[KeyPath]:
    entries = written if isinstance(written, dict) else {}
    for key, field in schema.fields(section).items():
        here: KeyPath = (*path, key)
        yield here
        inner, many = schema.section_of(field)
        if inner is None:
            continue
        if not many:
            yield from _below(inner, entries.get(key), here)
            continue
        named = entries.get(key)
        for name, entry in named.items() if isinstance(named, dict) else ():
            yield from _below(inner, entry, (*here, name))


def _value(path: KeyPath, variable: str, text: str) -> Document:
    """Return a variable's text as a document: YAML where the key holds more than one value."""
    field = schema.field_at(path)
    assert field is not None
    is_list = getattr(field.annotation, "__origin__", None) is list
    if schema.section_of(field)[0] is not None or (is_list and text.startswith("[")):
        return read(text, variable)
    document = Document(name=variable, lines=[text], root=text)
    document.values[()] = _place(variable, text)
    if is_list:  # nats://a:4222,nats://b:4222
        entries = list(re.finditer(r"[^,\s][^,]*", text))
        document.root = [entry[0].rstrip() for entry in entries]
        for index, entry in enumerate(entries):
            document.values[(index,)] = replace(
                document.values[()], column=entry.start() + 1, length=len(entry[0].rstrip())
            )
    return document


def _place(variable: str, text: str) -> Place:
    return Place(file=variable, line=1, column=1, length=len(text), excerpt=text)


def _unknown(variable: str, value: str, known: Mapping[str, KeyPath]) -> Finding:
    if variable == SECRET:
        return Finding(
            severity=Severity.ERROR,
            code=Code.SECRET,
            path="key",
            text="the key itself does not belong into the environment, which others can read",
            help="write the path of its file into EQUIPOISE_KEY_FILE",
            place=Place(file=variable),
        )
    near = _nearest(variable, (*known, *OUTSIDE))
    if not near and JOINT not in variable:
        return Finding(
            severity=Severity.WARNING,
            code=Code.FOREIGN_VARIABLE,
            path="",
            text="this variable is not a setting, and is ignored",
            help="settings and their variables: docs/configuration.md",
            place=Place(file=variable),
        )
    return Finding(
        severity=Severity.ERROR,
        code=Code.VARIABLE,
        path="",
        text="there is no setting of this name",
        help=f"did you mean '{near}'?"
        if near
        else "nodes, VIPs and services are named in the file; a variable changes what is there",
        place=_place(variable, value),
    )


def _nearest(variable: str, known: Iterable[str]) -> str:
    """Return the variable that was probably meant: mistyped, or with too few underscores."""
    flat = {name.replace(JOINT, "_"): name for name in known}
    if variable.replace(JOINT, "_") in flat:
        return flat[variable.replace(JOINT, "_")]
    # Not too near: image builders and orchestrators make variables like EQUIPOISE_SERVICE_HOST.
    names = [name.removeprefix(PREFIX) for name in flat.values()]
    near = nearest(variable.removeprefix(PREFIX), names, cutoff=NEAR_ENOUGH)
    return PREFIX + near if near else ""


def origin(document: Document, path: KeyPath) -> str:
    """Return where a value comes from: a line of the file, a variable, or the defaults."""
    place = document.values.get(path)
    if place is None:
        return "default"
    return f"{place.file}:{place.line}" if place.file == document.name else place.file
