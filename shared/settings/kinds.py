"""The kinds of values that keys have: how each is read, written, and described to editors.

A `Kind` is metadata of a pydantic field. Values come as they are written in the file; a kind
refuses one with a stable code, what is wrong, and how to mend it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from shared.instant import HOUR, MILLISECOND, MINUTE, SECOND, Duration
from shared.settings.document import Quoted
from shared.settings.findings import Code, quoted

PORT_MAX = 65_535
NAME_MAX = 32  # a DNS label and a HAProxy name hold more; tables and subjects stay readable
PATH_MAX = 256  # characters of an HTTP path; more is not a health check
HEADER_MAX = 64  # characters of a header's name
FILE_MAX = 4096  # PATH_MAX of Linux
SOCKET_MAX = 100  # bytes of a Unix socket's path: the kernel takes 107
CONTAINER_MAX = 128  # compose joins project, service and number: a third of it
URL_MAX = 2048  # what every HTTP library takes
STATUS_MIN, STATUS_MAX = 100, 599
RATE_MAX = 1_000_000  # requests/s of one instance; ten times what HAProxy was seen to do
MOVES_MAX = 1_000
WORDS = "words"  # a key of our own in pydantic's JSON Schema, not in the published one
UNITS: Mapping[str, Duration] = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR}

NAME_PATTERN = "^[a-z](-?[a-z0-9])*$"
NAME_WORDS = f"a-z, 0-9 and single '-', beginning with a letter, {NAME_MAX} characters at most"
DURATION_PATTERN = "^(0|[1-9][0-9]{0,8})(ms|s|m|h)$"
URL_PATTERN = "^[a-z]+://[^\\s@]+$"
HTTP_PATH_PATTERN = "^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$"
HEADER_PATTERN = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
STATUSES_PATTERN = "^[1-5][0-9]{2}(-[1-5][0-9]{2})?(, *[1-5][0-9]{2}(-[1-5][0-9]{2})?)*$"
SOCKET_PATTERN = "^/[!-~]+$"
CONTAINER_PATTERN = "^([A-Za-z0-9]|[{]node[}])([A-Za-z0-9_.-]|[{]node[}])*$"
RATE_PATTERN = "^[1-9][0-9]{0,6}/s$"
MOVES_PATTERN = "^[1-9][0-9]{0,3} per [1-9][0-9]{0,8}(ms|s|m|h)$"

Written = str | int | bool
Reader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of a key are read and written."""

    words: str  # what is needed, as in "must be ..."
    read: Reader
    write: Callable[[Any], Written]
    schema: Mapping[str, Any]  # JSON Schema
    quotable: bool = True  # whether quotation marks change nothing
    absent: str | None = None  # how None is written; None: not at all

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Tell pydantic that values are read here alone."""
        return core_schema.no_info_plain_validator_function(
            self._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(self._written),
        )

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Tell editors what this module checks; `json_schema` moves the words."""
        return {**self.schema, WORDS: self.words}

    def _validated(self, value: object) -> object:
        if value is None:
            raise wrong(Code.EMPTY, f"has no value; it must be {self.words}", "write one")
        if not isinstance(value, str):
            what = "a mapping" if isinstance(value, dict) else "a list"
            raise wrong(Code.SHAPE, f"must be {self.words}, got {what}")
        if isinstance(value, Quoted) and not self.quotable:
            text = f"must be {self.words}, got the text {quoted(value)}"
            raise wrong(Code.NUMBER, text, "remove the quotation marks")
        return self.read(str(value))

    def _written(self, value: object) -> Written | None:
        return self.absent if value is None else self.write(value)


def wrong(code: Code, text: str, mend: str = "") -> PydanticCustomError:
    """Return the refusal of a value; pydantic adds where it stands."""
    return PydanticCustomError(code.value, "{text}", {"text": text, "help": mend})


def whole(minimum: int, maximum: int, noun: str = "a whole number") -> Kind:
    """Return the kind of whole numbers in a range."""
    words = f"{noun} from {minimum} to {maximum}"

    def read(value: str) -> int:
        if re.fullmatch("0|[1-9][0-9]{0,8}", value) and minimum <= int(value) <= maximum:
            return int(value)
        mend = ""
        if re.fullmatch("0[0-9]+|[0-9]+(_[0-9]+)+|[0-9]+[.]0*", value):
            mend = f"write {int(value.partition('.')[0])}"
        raise wrong(Code.NUMBER, f"must be {words}, got {quoted(value)}", mend)

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Kind(words, read, int, schema, quotable=False)


def duration(minimum: str, maximum: str, *, why: str = "") -> Kind:
    """Return the kind of durations in a range; `why` the range is what it is."""
    words = f"a duration from {minimum} to {maximum}"
    low, high = duration_of(minimum), duration_of(maximum)
    assert low is not None
    assert high is not None

    def read(value: str) -> Duration:
        length_us = duration_of(value)
        if length_us is None:
            raise wrong(Code.DURATION, f"must be {words}, got {quoted(value)}", _as_duration(value))
        if not low <= length_us <= high:
            raise wrong(Code.DURATION, f"must be {words}, got {quoted(value)}", why)
        return length_us

    return Kind(words, read, written_duration, {"type": "string", "pattern": DURATION_PATTERN})


def automatic_or(limits: Kind) -> Kind:
    """Return the kind of durations that may be left to us by `auto`, which is None."""
    words = f"'auto' or {limits.words}"

    def read(value: str) -> Duration | None:
        if value == "auto":
            return None
        if duration_of(value) is None:
            mend = _as_duration(value)
            raise wrong(Code.DURATION, f"must be {words}, got {quoted(value)}", mend)
        length_us: Duration = limits.read(value)
        return length_us

    schema = {"type": "string", "pattern": f"^auto$|{DURATION_PATTERN}"}
    return Kind(words, read, written_duration, schema, absent="auto")


def duration_of(text: str) -> Duration | None:
    """Return what 200ms, 2s, 5m or 1h means; None when it means nothing."""
    found = re.fullmatch(DURATION_PATTERN, text)
    return None if found is None else int(found[1]) * UNITS[found[2]]


def written_duration(length_us: Duration) -> str:
    """Return a duration in the largest unit that says it exactly."""
    unit = next(name for name in ("h", "m", "s", "ms") if length_us % UNITS[name] == 0)
    if length_us == 0:
        unit = "s"
    return f"{length_us // UNITS[unit]}{unit}"


def _as_duration(value: str) -> str:
    """Return how to write what was probably meant."""
    found = re.fullmatch(r"\s*([0-9]+)(?:[.]([0-9]{1,3}))?\s*([A-Za-z]*)\s*", value)
    if found is None or len(value) > 16:  # noqa: PLR2004 - no number of seconds is longer
        return "write a whole number and its unit: ms, s, m or h"
    whole_part, fraction, unit = int(found[1]), found[2], found[3].lower()
    if not unit:
        return f"write its unit: {whole_part}ms, {whole_part}s, {whole_part}m or {whole_part}h"
    factor = _meant_unit(unit)
    if factor is None:
        return "units are ms, s, m and h"
    length_us = whole_part * factor + int((fraction or "0").ljust(3, "0")) * factor // 1000
    if length_us % MILLISECOND:
        return "a millisecond is the smallest unit"
    return f"write {written_duration(length_us)}"


def _meant_unit(unit: str) -> Duration | None:
    meanings: Mapping[Duration, tuple[str, ...]] = {
        MILLISECOND: ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
        SECOND: ("s", "sec", "secs", "second", "seconds"),
        MINUTE: ("m", "min", "mins", "minute", "minutes"),
        HOUR: ("h", "hr", "hrs", "hour", "hours"),
        24 * HOUR: ("d", "day", "days"),
    }
    return next((length for length, names in meanings.items() if unit in names), None)


def choice(words: type[StrEnum] | Iterable[str]) -> Kind:
    """Return the kind of a few words; an enum's values become its members."""
    values = tuple(str(word) for word in words)
    make: Reader = words if isinstance(words, type) else str
    needed = listed([f"'{value}'" for value in values], "or")

    def read(value: str) -> object:
        if value in values:
            return make(value)
        text = f"must be {needed}, got {quoted(value)}"
        raise wrong(Code.CHOICE, text, did_you_mean(value, values))

    return Kind(needed, read, str, {"type": "string", "enum": list(values)})


def yes() -> Kind:
    """Return the kind of keys that are said or left out."""

    def read(value: str) -> bool:
        if value == "true":
            return True
        text = f"must be true, got {quoted(value)}"
        raise wrong(Code.CHOICE, text, "write true, or remove the line")

    return Kind("true", read, bool, {"const": True}, quotable=False)


def name() -> Kind:
    """Return the kind of names."""

    def read(value: str) -> str:
        if complaint := name_complaint(value):
            raise wrong(Code.NAME, *complaint)
        return value

    schema = {"type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_MAX}
    return Kind(f"a name: {NAME_WORDS}", read, str, schema)


def name_complaint(value: str) -> tuple[str, str] | None:
    """Return what is wrong with a name and how to mend it; None when it is one."""
    if value == "null":
        return "a name cannot be 'null', which YAML reads as nothing", "choose another"
    if re.fullmatch(NAME_PATTERN, value) and len(value) <= NAME_MAX:
        return None
    mended = re.sub("[^a-z0-9]+", "-", value.lower()).strip("-").lstrip("0123456789-")[:NAME_MAX]
    mend = f"for instance '{mended.rstrip('-')}'" if mended.rstrip("-") else ""
    return f"names are {NAME_WORDS}; got {quoted(value)}", mend


def url(schemes: tuple[str, ...], example: str, *, must_hold: str = "") -> Kind:
    """Return the kind of URLs with given schemes."""
    holding = f" that holds {must_hold}" if must_hold else ""
    words = f"a URL such as {example}{holding}"

    def read(value: str) -> str:
        try:
            parts = urlsplit(value)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise wrong(Code.URL, f"must be {words}, got {quoted(value)}") from None
        if "@" in parts.netloc:
            text = f"must be {words}, without user and password"
            raise wrong(Code.SECRET, text, "remove what stands before '@'")
        bare = schemes == ("nats",)  # a server's place, where a path means nothing
        if parts.scheme not in schemes or not host or (bare and (not port or parts.path)):
            mend = f"it begins with {listed([scheme + '://' for scheme in schemes], 'or')}"
            mend += ", then host and port" if bare else ""
            raise wrong(Code.URL, f"must be {words}, got {quoted(value)}", mend)
        if must_hold not in value or len(value) > URL_MAX or not re.fullmatch(URL_PATTERN, value):
            raise wrong(Code.URL, f"must be {words}, got {quoted(value)}")
        return value

    pattern = URL_PATTERN.replace("[a-z]+", f"({'|'.join(schemes)})")
    if must_hold:
        pattern = pattern.removesuffix("$") + f"{re.escape(must_hold)}[^\\s@]*$"
        pattern = pattern.replace("[^\\s@]+", "[^\\s@]*", 1)
    return Kind(words, read, str, {"type": "string", "pattern": pattern, "maxLength": URL_MAX})


def http_path() -> Kind:
    """Return the kind of paths on an instance."""

    def read(value: str) -> str:
        if re.fullmatch(HTTP_PATH_PATTERN, value) and len(value) <= PATH_MAX:
            return value
        mend = "write the path alone, without host and port" if "://" in value else ""
        if not mend and not value.startswith("/"):
            mend = f"write {quoted('/' + value)}"
        raise wrong(Code.HTTP_PATH, f"must be a path such as /healthz, got {quoted(value)}", mend)

    schema = {"type": "string", "pattern": HTTP_PATH_PATTERN, "maxLength": PATH_MAX}
    return Kind("a path such as /healthz", read, str, schema)


def header() -> Kind:
    """Return the kind of names of HTTP headers."""

    def read(value: str) -> str:
        if re.fullmatch(HEADER_PATTERN, value) and len(value) <= HEADER_MAX:
            return value
        text = f"must be the name of a header such as X-Version, got {quoted(value)}"
        raise wrong(Code.HEADER, text)

    schema = {"type": "string", "pattern": HEADER_PATTERN, "maxLength": HEADER_MAX}
    return Kind("the name of a header such as X-Version", read, str, schema)


def statuses() -> Kind:
    """Return the kind of status codes that are accepted."""
    words = "status codes or ranges of them such as 200-299,304"

    def read(value: str) -> tuple[tuple[int, int], ...]:
        if not re.fullmatch(STATUSES_PATTERN, value) or len(value) > PATH_MAX:
            text = f"must be {words}, got {quoted(value)}"
            raise wrong(Code.STATUSES, text, f"codes lie between {STATUS_MIN} and {STATUS_MAX}")
        ranges = [part.split("-") for part in value.replace(" ", "").split(",")]
        pairs = [(int(part[0]), int(part[-1])) for part in ranges]
        for low, high in pairs:
            if low > high:
                text = f"the range {low}-{high} is empty"
                raise wrong(Code.STATUSES, text, f"write {high}-{low}")
        return _merged(pairs)

    def write(ranges: tuple[tuple[int, int], ...]) -> str:
        return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)

    schema = {
        "anyOf": [
            {"type": "string", "pattern": STATUSES_PATTERN, "maxLength": PATH_MAX},
            {"type": "integer", "minimum": STATUS_MIN, "maximum": STATUS_MAX},
        ]
    }
    return Kind(words, read, write, schema)


def _merged(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ranges in order, those that touch as one: equal meanings are equal values."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def rate() -> Kind:
    """Return the kind of rates of requests."""
    words = f"a rate from 1/s to {RATE_MAX}/s"

    def read(value: str) -> int:
        if re.fullmatch(RATE_PATTERN, value) and (number := int(value[:-2])) <= RATE_MAX:
            return number
        mend = f"write {value}/s" if re.fullmatch("[1-9][0-9]*", value) else "such as 600/s"
        raise wrong(Code.RATE, f"must be {words}, got {quoted(value)}", mend)

    schema = {"type": "string", "pattern": RATE_PATTERN}
    return Kind(words, read, lambda number: f"{number}/s", schema)


def moves() -> Kind:
    """Return the kind of a number of moves within a time."""
    limits = duration("1m", "24h")
    words = f"1 to {MOVES_MAX} moves per {limits.words}, such as '6 per 10m'"

    def read(value: str) -> tuple[int, Duration]:
        if not re.fullmatch(MOVES_PATTERN, value):
            raise wrong(Code.MOVES, f"must be {words}, got {quoted(value)}")
        number, _, window = value.split(" ")
        if int(number) > MOVES_MAX:
            raise wrong(Code.MOVES, f"must be {words}, got {quoted(value)}")
        return int(number), limits.read(window)

    def write(value: tuple[int, Duration]) -> str:
        return f"{value[0]} per {written_duration(value[1])}"

    return Kind(words, read, write, {"type": "string", "pattern": MOVES_PATTERN})


def file_path() -> Kind:
    """Return the kind of paths of files."""

    def read(value: str) -> str:
        if value and len(value) <= FILE_MAX and value.isprintable():
            return value
        raise wrong(Code.TEXT, f"must be the path of a file, got {quoted(value)}")

    schema = {"type": "string", "minLength": 1, "maxLength": FILE_MAX}
    return Kind("the path of a file", read, str, schema)


def socket() -> Kind:
    """Return the kind of paths of Unix sockets."""
    words = f"the absolute path of a Unix socket, at most {SOCKET_MAX} characters"

    def read(value: str) -> str:
        if re.fullmatch(SOCKET_PATTERN, value) and len(value) <= SOCKET_MAX:
            return value
        mend = f"write {value.removeprefix('unix://')}" if value.startswith("unix:///") else ""
        raise wrong(Code.TEXT, f"must be {words}, got {quoted(value)}", mend)

    schema = {"type": "string", "pattern": SOCKET_PATTERN, "maxLength": SOCKET_MAX}
    return Kind(words, read, str, schema)


def container() -> Kind:
    """Return the kind of names of containers, with a place for the node's."""
    words = "the name of a container, such as shop or shop-{node}"

    def read(value: str) -> str:
        if re.fullmatch(CONTAINER_PATTERN, value) and len(value) <= CONTAINER_MAX:
            return value
        raise wrong(Code.CONTAINER, f"must be {words}, got {quoted(value)}")

    schema = {"type": "string", "pattern": CONTAINER_PATTERN, "maxLength": CONTAINER_MAX}
    return Kind(words, read, str, schema)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for a mistyped word; empty when nothing is near."""
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else ""


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the known word that is most like this one; empty when none is."""
    words = {known_word.lower(): known_word for known_word in sorted(known)}
    near = get_close_matches(word.lower()[:PATH_MAX], words, n=1, cutoff=cutoff)
    return words[near[0]] if near else ""


def listed(words: Iterable[str], conjunction: str = "and") -> str:
    """Return words as a sentence lists them."""
    *first, last = words
    return f"{', '.join(first)} {conjunction} {last}" if first else last
