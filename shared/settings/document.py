"""A YAML text as plain values that know where they stand.

Scalars stay as they are written: `on`, `12:30` and `010` are text, which the schema turns into
what each key needs. Duplicate keys, tags and growth through aliases are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml
from yaml.reader import ReaderError

from shared.settings.findings import Code, Finding, KeyPath, Place, Severity, dotted, quoted

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"

TEXT_MAX = 1 << 20  # characters; 200 services with all keys and comments are a third of it
DEPTH_MAX = 12  # the schema needs 5
VALUES_MAX = 50_000  # 200 services and 100 nodes with all keys are 5,000; aliases multiply
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # as YAML 1.1 counts lines
NULLS = frozenset(("", "~", "null", "Null", "NULL"))
# What PyYAML gives to values without a tag of their own.
PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in (
        *("bool", "float", "int", "merge", "null", "str", "timestamp", "value"),
        *("map", "seq"),
    )
)


class Quoted(str):
    """A scalar in quotation marks: text, never a number."""

    __slots__ = ()


@dataclass(slots=True)
class Document:
    """The values of a text with their places, and what was found while reading it."""

    name: str
    lines: list[str]
    root: Value = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def place(self, path: KeyPath) -> Place:
        """Return the place of a value, or of the nearest key around it that is written."""
        return self.values.get(path) or self.key_place(path)

    def key_place(self, path: KeyPath) -> Place:
        """Return the place of a key, or of the nearest key around it that is written."""
        while path and path not in self.keys:
            path = path[:-1]
        return self.keys.get(path) or Place(file=self.name, line=1, column=1)

    def put(self, path: KeyPath, other: "Document") -> None:
        """Replace one value by another text's; parents are made where they are missing."""
        parent = self._parent(path)
        if parent is None:
            return  # a scalar stands where a mapping must: reported as that
        parent[str(path[-1])] = other.root
        for places in (self.keys, self.values):
            for old in [old for old in places if old[: len(path)] == path]:
                del places[old]
        self.values |= {path + below: place for below, place in other.values.items()}
        self.keys |= {path + below: place for below, place in other.keys.items()}
        self.keys[path] = other.place(())
        self.findings += other.findings

    def _parent(self, path: KeyPath) -> dict[str, Value] | None:
        if self.root is None:
            self.root = {}
        parent: Value = self.root
        for part in path[:-1]:
            if not isinstance(parent, dict):
                return None
            if parent.get(str(part)) is None:
                parent[str(part)] = {}
            parent = parent[str(part)]
        return parent if isinstance(parent, dict) else None


def read(text: str, name: str) -> Document:
    """Return what a text says; whatever it is, problems are findings."""
    document = Document(name=name, lines=LINE_BREAK.split(text))
    if len(text) > TEXT_MAX:
        what = f"the file has {len(text)} characters; {TEXT_MAX} is the most"
        document.findings.append(_finding(Code.SIZE, Place(file=name), what, ""))
        return document
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        document.findings.append(_syntax(document, error))
    except (RecursionError, ValueError, OverflowError):  # PyYAML on deep nesting and odd escapes
        what = "nested too deeply, or an escape such as '\\U' is no character"
        document.findings.append(_finding(Code.SYNTAX, Place(file=name), what, ""))
    else:
        if node is not None:
            _Reader(document).read(node)
    return document


class _Reader:
    """Walks the nodes of one document; stops where it gets too large."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0

    def read(self, node: yaml.Node) -> None:
        self._document.root = self._value(node, ())

    def _value(self, node: yaml.Node, path: KeyPath) -> Value:
        block = isinstance(node, yaml.CollectionNode) and not node.flow_style
        key = self._document.keys.get(path) if block else None  # where a person looks for a block
        self._document.values[path] = key or self._place(node)
        self._count += 1
        if len(path) > DEPTH_MAX or self._count > VALUES_MAX:
            if self._count <= VALUES_MAX or self._count == VALUES_MAX + 1:
                self._complain(
                    Code.SIZE, path, node, "this is nested too deeply or grows too large"
                )
            return None
        if node.tag not in PLAIN_TAGS:
            what = f"the tag {quoted(node.tag)} means nothing here"
            self._complain(Code.SYNTAX, path, node, what, "remove what begins with '!'")
        match node:
            case yaml.ScalarNode():
                return self._scalar(node)
            case yaml.SequenceNode():
                return [self._value(child, (*path, i)) for i, child in enumerate(node.value)]
            case _:
                return dict(self._entries(node, path))

    def _scalar(self, node: yaml.ScalarNode) -> Value:
        if node.style is None:
            return None if node.value in NULLS else str(node.value)
        return Quoted(node.value)

    def _entries(self, node: yaml.Node, path: KeyPath) -> Iterator[tuple[str, Value]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._complain(
                    Code.SHAPE, path, key, "a key must be a word", "did you forget quotes?"
                )
                continue
            here: KeyPath = (*path, key.value)
            if key.value in seen:
                what = f"key {quoted(key.value)} appears twice"
                mend = f"first in line {seen[key.value]}: remove one of the two"
                self._complain(Code.DUPLICATE, here, key, what, mend)
                continue
            seen[key.value] = key.start_mark.line + 1
            self._document.keys[here] = self._place(key)
            yield key.value, self._value(value, here)

    def _complain(
        self, code: Code, path: KeyPath, node: yaml.Node, what: str, mend: str = ""
    ) -> None:
        self._document.findings.append(_finding(code, self._place(node), what, mend, path))

    def _place(self, node: yaml.Node) -> Place:
        start, end = node.start_mark, node.end_mark
        lines = self._document.lines
        excerpt = lines[start.line] if start.line < len(lines) else ""
        block = isinstance(node, yaml.CollectionNode) and not node.flow_style
        stop = end.column if end.line == start.line else len(excerpt.rstrip())
        length = 1 if block else stop - start.column
        return Place(
            file=self._document.name,
            line=start.line + 1,
            column=start.column + 1,
            length=max(length, 1),
            excerpt=excerpt,
        )


def _finding(code: Code, place: Place, what: str, mend: str, path: KeyPath = ()) -> Finding:
    return Finding(
        severity=Severity.ERROR, code=code, path=dotted(path), text=what, help=mend, place=place
    )


# Where the beginning of something unfinished is the place to look at, not where it was noticed.
BEGUN = (
    "while scanning a quoted scalar",
    "while scanning a simple key",
    "while parsing a flow sequence",
    "while parsing a flow mapping",
)

# What PyYAML says, and what that means to a person: searched in order, the first match counts.
SYNTAX_WORDS: tuple[tuple[str, str, str], ...] = (
    (r"found character '\\t'", "a tab cannot start a token", "indent with spaces"),
    (
        r"found character (.+) that cannot start any token",
        r"a value cannot begin with \1",
        "quote it",
    ),
    (
        "mapping values are not allowed here",
        "a second ':' in this place is not understood",
        "quote the value, or check the indentation of this line and the one above",
    ),
    (
        "could not find expected ':'",
        "this key has no ':'",
        "write 'key: value'",
    ),
    (
        "while scanning a quoted scalar.*end of stream|unexpected end of stream",
        "a quotation mark is opened and never closed",
        "close it, or remove it",
    ),
    (
        r"while parsing a flow sequence|expected ',' or '\]'",
        "the list that begins with '[' is not closed, or a ',' is missing",
        "write [a, b]",
    ),
    (
        r"while parsing a flow mapping|expected ',' or '}'",
        "the mapping that begins with '{' is not closed, or a ',' is missing",
        "write {a: 1, b: 2}",
    ),
    (
        "expected <block end>|did not find expected <block|while parsing a block",
        "this line does not fit the indentation of those above",
        "entries of one mapping begin in one column",
    ),
    ("found undefined alias", "this alias refers to nothing", "define it first, with '&'"),
    ("found duplicate anchor", "this anchor exists already", "give each '&' a name of its own"),
    ("but found another document", "the file holds more than one document", "remove '---'"),
    (
        "unknown escape character|expected escape sequence",
        "this escape is not known",
        "write \\\\ for one backslash, or use single quotes",
    ),
    ("special characters are not allowed", "this character cannot be printed", "remove it"),
)


def _syntax(document: Document, error: yaml.YAMLError) -> Finding:
    """Return PyYAML's complaint in plain words, at the place where it can be mended."""
    place = Place(file=document.name)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if error.context in BEGUN:
            mark = error.context_mark or mark
        if mark is not None:
            place = _at(document, mark.line, mark.column)
        said = f"{error.context} {error.problem}"
    elif isinstance(error, ReaderError):
        place = _at_position(document, error.position)
        said = str(error.reason)
    else:
        said = str(error)
    for pattern, what, mend in SYNTAX_WORDS:
        if found := re.search(pattern, said):
            return _finding(Code.SYNTAX, place, found.expand(what), mend)
    return _finding(Code.SYNTAX, place, quoted(said).strip("'"), "")


def _at(document: Document, line: int, column: int) -> Place:
    """Return a place for a mark, which may lie behind the last line."""
    if line >= len(document.lines):
        line = max(len(document.lines) - 1, 0)
        column = len(document.lines[line]) if document.lines else 0
    excerpt = document.lines[line] if document.lines else ""
    return Place(file=document.name, line=line + 1, column=column + 1, length=1, excerpt=excerpt)


def _at_position(document: Document, position: object) -> Place:
    """Return a place for a character that the reader refused."""
    rest = position if isinstance(position, int) else 0
    for number, line in enumerate(document.lines):
        if rest <= len(line):
            return _at(document, number, rest)
        rest -= len(line) + 1
    return Place(file=document.name)
