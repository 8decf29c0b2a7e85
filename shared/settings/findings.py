"""What is wrong with a configuration, and how it is shown: to people, to programs, to GitHub.

The codes are stable: a code is never used for something else, and is explained in
`docs/configuration.md`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]  # keys and list indexes from the root of the file

SHOWN_MAX = 100  # a file with more problems has one cause: the wrong file
EXCERPT_MAX = 120  # characters of a source line: what fits a wide terminal
VALUE_MAX = 60  # characters of a value that are repeated in a sentence


class Severity(StrEnum):
    """Whether the configuration can be used in spite of it."""

    ERROR = "error"
    WARNING = "warning"


class Code(StrEnum):
    """The stable name of a kind of problem; the text is its explanation in the documentation."""

    summary: str

    def __new__(cls, value: str, summary: str) -> "Code":
        """Make a member that is its code and carries its explanation."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.summary = summary
        return code

    @classmethod
    def of(cls, value: str) -> "Code":
        """Return the member with this code."""
        return next(code for code in cls if code == value)

    FILE = "EQ-C001", "The file cannot be read: missing, no permission, too large, or not UTF-8."
    SYNTAX = "EQ-C002", "The text is not YAML."
    DUPLICATE = "EQ-C003", "A key appears twice in one mapping; YAML would silently keep the last."
    SIZE = "EQ-C004", "The file is nested too deeply or grows too large through its aliases."
    SHAPE = "EQ-C005", "A mapping, a list or a single value stands where another is needed."
    VERSION = "EQ-C006", "The file is of a version that this program does not read."
    UNKNOWN_KEY = "EQ-C010", "The key does not exist here."
    MISSING = "EQ-C011", "A key without a default is missing."
    EMPTY = "EQ-C012", "The key has no value."
    NUMBER = "EQ-C013", "A whole number is needed, written with digits only, in its range."
    CHOICE = "EQ-C014", "The value is not one of the words that are possible here."
    DURATION = "EQ-C015", "A duration such as 200ms, 2s, 5m or 1h is needed, in its range."
    NAME = "EQ-C016", "Names have a form that fits file names, subjects and load balancer rules."
    ADDRESS = "EQ-C017", "An IPv4 or IPv6 address of a machine is needed."
    URL = "EQ-C018", "A URL of the named kind is needed."
    HTTP_PATH = "EQ-C019", "A path on an instance is needed, such as /healthz."
    STATUSES = "EQ-C020", "HTTP status codes or ranges of them are needed, such as 200-299,304."
    RATE = "EQ-C021", "A rate such as 600/s is needed."
    MOVES = "EQ-C022", "A number of moves within a time is needed, such as '6 per 10m'."
    HEADER = "EQ-C023", "The name of an HTTP header is needed, such as X-Version."
    TEXT = "EQ-C024", "The text is too long or holds characters that cannot be printed."
    LIST = "EQ-C025", "The list has too few or too many entries, or one twice."
    VIP_ADDRESS = (
        "EQ-C026",
        "A VIP's address with the length of its network's prefix is needed, such as 10.0.0.100/24.",
    )
    INTERFACE = "EQ-C027", "The name of a network interface is needed, such as eth0."
    TCP_PLACE = "EQ-C028", "An IP address and a port are needed, such as 127.0.0.1:9631."
    CONTAINER = "EQ-C029", "The name of a container is needed, such as shop or shop-{node}."
    COUNT = "EQ-C030", "There are too few or too many nodes, services or VIPs."
    SAME_ADDRESS = "EQ-C031", "Two members of the cluster, or two VIPs, or both, have one address."
    FAMILIES = "EQ-C032", "Members have addresses of both families, and cannot reach each other."
    HOME = "EQ-C033", "The home of a service or of a VIP is not a node."
    PORTS = "EQ-C034", "Two programs would listen on one port of one address."
    PROBE = "EQ-C035", "It is not clear how the instances are to be probed."
    VIP = "EQ-C036", "A service is to be reached through a VIP that is not in the file."
    TAKEN_NAME = "EQ-C037", "A VIP has the name of a node or of a service: commands name all three."
    LEASE = "EQ-C038", "A lease is too short to survive lost beats."
    BUS_ON_VIP = "EQ-C039", "The bus would be reached through a VIP, which needs the bus."
    ENGINE = "EQ-C044", "A service counts on a container, and nothing says where to ask about it."
    KEY_FILE = "EQ-C040", "The cluster's key is missing, too short, too long, or open to everyone."
    MEMBER = "EQ-C041", "EQUIPOISE_NODE does not name a member of the cluster."
    VARIABLE = "EQ-C042", "A variable that looks like a setting is not one."
    SECRET = "EQ-C043", "A secret stands where others can read it."
    PROBE_TIMEOUT = "EQ-C101", "Warning: a probe may still wait when the next one is due."
    NO_WITNESS = "EQ-C102", "Warning: two nodes, or VIPs, without a witness."
    FAST_HEARTBEAT = "EQ-C103", "Warning: beats so frequent need quiet machines."
    NO_EFFECT = "EQ-C104", "Warning: a key has no effect beside the others."
    SHARED_PORT = "EQ-C105", "Warning: two services have one instance."
    IDENTITY = (
        "EQ-C106",
        "Warning: the identity is asked over HTTP, which nothing else here speaks.",
    )
    CAPACITIES = "EQ-C107", "Warning: capacities lie too far apart for weights from 1 to 100."
    NEAR_PORT = (
        "EQ-C108",
        "Warning: one number serves as a TCP port and as the heartbeat's UDP port.",
    )
    FOREIGN_VARIABLE = (
        "EQ-C109",
        "Warning: an EQUIPOISE_ variable is not a setting, and is ignored.",
    )
    KEY_UNSEEN = "EQ-C110", "Warning: the cluster's key could not be judged from here."
    ONE_HOME = (
        "EQ-C111",
        "Warning: all VIPs are at home on one node; the others get no new clients.",
    )
    UNUSED_VIP = "EQ-C112", "Warning: no service is reached through a VIP."
    PREFIXES = "EQ-C113", "Warning: the networks of two VIPs overlap and are not the same."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is written; lines and columns count from 1, line 0 is the whole file."""

    file: str
    line: int = 0
    column: int = 0
    length: int = 0
    excerpt: str = ""  # the line as it stands in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem: where, what, and how to mend it."""

    severity: Severity
    code: Code
    path: str  # nodes.node-a.capacity; "" for the whole file
    text: str
    help: str
    place: Place

    def headline(self) -> str:
        """Return the one line that compilers print and editors understand."""
        where = printable(self.place.file)
        if self.place.line:
            where = f"{where}:{self.place.line}:{self.place.column}"
        about = f"{self.path}: " if self.path else ""
        return f"{where}: {self.severity}: {about}{self.text} [{self.code}]"

    def report(self) -> str:
        """Return the headline, the line with carets under the culprit, and the help."""
        lines = [self.headline()]
        margin = " " * len(str(self.place.line))
        if self.place.line and self.place.excerpt:
            source, caret = _marked(self.place)
            lines += [f"{margin} |", f"{self.place.line} | {source}", f"{margin} | {caret}"]
        if self.help:
            lines.append(f"{margin} = help: {self.help}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, str | int]:
        """Return the finding for editors and CI; keys are only ever added."""
        return {
            "file": printable(self.place.file),
            "line": self.place.line,
            "column": self.place.column,
            "length": self.place.length,
            "severity": self.severity.value,
            "code": self.code.value,
            "path": self.path,
            "message": self.text,
            "help": self.help,
        }

    def as_annotation(self) -> str:
        """Return a workflow command that GitHub shows beside the line."""
        place = {"file": self.place.file}
        if self.place.line:
            end = self.place.column + self.place.length
            place |= {"line": str(self.place.line), "col": str(self.place.column)}
            place |= {"endColumn": str(end)}
        place |= {"title": self.code.value}
        properties = ",".join(f"{key}={_escaped(value)}" for key, value in place.items())
        about = f"{self.path}: " if self.path else ""
        message = f"{about}{self.text}" + (f" ({self.help})" if self.help else "")
        return f"::{self.severity} {properties}::{_escaped(message, property_value=False)}"


def ordered(findings: Iterable[Finding], name: str) -> tuple[Finding, ...]:
    """Return findings as they are read: the file from top to bottom, then variables by name."""

    def position(finding: Finding) -> tuple[bool, str, int, int, str]:
        place = finding.place
        return (place.file != name, place.file, place.line, place.column, finding.code)

    return tuple(sorted(findings, key=position))


def in_one_line(findings: Iterable[Finding]) -> str:
    """Return the errors for a log: each with where, what, and how to mend it."""
    errors = [each for each in findings if each.severity is Severity.ERROR]
    parts = [f"{each.headline()}{each.help and f' ({each.help})'}" for each in errors[:SHOWN_MAX]]
    more = len(errors) - SHOWN_MAX
    return "; ".join([*parts, f"and {more} more"] if more > 0 else parts)


def report(findings: Iterable[Finding], name: str) -> str:
    """Return the whole report for people; its last line is the verdict."""
    found = tuple(findings)
    blocks = [finding.report() for finding in found[:SHOWN_MAX]]
    if len(found) > SHOWN_MAX:
        blocks.append(f"and {len(found) - SHOWN_MAX} more")
    return "\n\n".join([*blocks, verdict(found, name)])


def verdict(findings: Iterable[Finding], name: str) -> str:
    """Return the last line of a report: how many problems, and what was done."""
    severities = [finding.severity for finding in findings]
    errors, warnings = severities.count(Severity.ERROR), severities.count(Severity.WARNING)
    counted = [_counted(errors, "error")] if errors else ["no errors"]
    counted += [_counted(warnings, "warning")] if warnings else []
    outcome = "; nothing was changed" if errors else ""
    return f"{printable(name)}: {', '.join(counted)}{outcome}"


def dotted(path: KeyPath) -> str:
    """Return a path as people write it: nodes.node-a.address, bus.servers[1]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{cropped(part)}"
    return text.removeprefix(".")


def quoted(value: str) -> str:
    """Return a value as a sentence repeats it: short, and safe to print."""
    return f"'{cropped(value)}'"


def cropped(value: str) -> str:
    """Return a value short and safe to print."""
    value = printable(value)
    return value if len(value) <= VALUE_MAX else value[: VALUE_MAX - 1] + "…"


def printable(text: str) -> str:
    """Return text that cannot disturb a terminal, and without the password of a URL."""
    safe = "".join(c if c.isprintable() else _named(c) for c in text)
    return re.sub(r"//[^/@\s]*@", "//***@", safe)


def _named(character: str) -> str:
    return " " if character == "\t" else f"\\u{ord(character):04x}"


def _marked(place: Place) -> tuple[str, str]:
    """Return the excerpt cropped around the culprit, and the line of carets below it."""
    column = place.column - 1
    start = max(0, column - EXCERPT_MAX // 2) if len(place.excerpt) > EXCERPT_MAX else 0
    source = place.excerpt[start : start + EXCERPT_MAX]
    before = printable(source[: column - start])
    culprit = printable(source[column - start :][: max(place.length, 1)])
    after = printable(source[column - start + max(place.length, 1) :])
    if printable(source) != before + culprit + after:  # a password is hidden across the parts
        return printable(source), " " * len(before) + "^"
    return before + culprit + after, " " * len(before) + "^" * max(len(culprit), 1)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _escaped(text: str, *, property_value: bool = True) -> str:
    """Return text as GitHub's workflow commands need it."""
    escapes: Mapping[str, str] = {"%": "%25", "\r": "%0D", "\n": "%0A"}
    if property_value:
        escapes = {**escapes, ":": "%3A", ",": "%2C"}
    return "".join(escapes.get(character, character) for character in text)
