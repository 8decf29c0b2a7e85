"""Messages to bytes and back: structured CloudEvents 1.0 in JSON.

Readers ignore unknown fields and refuse everything else that the table does not say: a missing
or mistyped field, a text or list beyond its limit, another cluster's message. Every refusal is
a `MessageError`; whoever receives counts it, drops the message and goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from shared.errors import MessageError
from shared.messages.table import BY_MESSAGE, BY_TYPE, PREFIX, Message

SIZE_MAX = 1_048_576  # NATS' own default for a payload; a plan of 100 nodes x 20 services is 0.1 MB
TEXT_MAX = 4_096  # the longest sentence we write is under 1,000
ITEMS_MAX = 10_000  # five times 100 nodes x 20 services
NUMBER_MAX = 2**62  # a year is 2**45 microseconds
CONTENT_TYPE = "application/cloudevents+json"

Reader = Callable[[Any], Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What CloudEvents says about a message."""

    id: str
    source: str  # /<cluster>/<member>/<program>
    cluster: str
    time: str  # RFC 3339, for people
    traceparent: str | None = None


def packed(message: Message) -> orjson.Fragment:
    """Return a message that is worked out once, for several events that carry it."""
    return orjson.Fragment(orjson.dumps(message, option=orjson.OPT_SORT_KEYS))


def encode(
    message: Message, envelope: Envelope, subject: str, data: orjson.Fragment | None = None
) -> bytes:
    """Return the CloudEvent that carries a message; `data` is the message packed before."""
    event = {
        "specversion": "1.0",
        "type": PREFIX + BY_MESSAGE[type(message)].type,
        "id": envelope.id,
        "source": envelope.source,
        "cluster": envelope.cluster,
        "time": envelope.time,
        "subject": subject,
        "datacontenttype": "application/json",
        "data": message if data is None else data,
    }
    if envelope.traceparent is not None:
        event["traceparent"] = envelope.traceparent
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def decode(payload: bytes, *, cluster: str) -> tuple[Message, Envelope]:
    """Return the message and its envelope, or raise `MessageError` saying what is wrong where."""
    if len(payload) > SIZE_MAX:
        raise MessageError(f"message of {len(payload)} bytes; at most {SIZE_MAX} are read")
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise MessageError(f"not JSON: {error}") from error
    if not isinstance(event, dict):
        raise MessageError("not a CloudEvent: the top must be an object")
    if event.get("specversion") != "1.0":
        raise MessageError("not a CloudEvent 1.0: specversion must be '1.0'")
    envelope = from_plain(Envelope, event, "envelope")
    if envelope.cluster != cluster:
        raise MessageError(f"message of cluster '{envelope.cluster[:64]}'; this one is '{cluster}'")
    kind = event.get("type")
    row = BY_TYPE.get(kind) if isinstance(kind, str) else None
    if row is None:
        raise MessageError(f"unknown type {str(kind)[:64]!r}")
    return from_plain(row.message, event.get("data")), envelope


def from_plain(kind: type[T], value: object, where: str = "data") -> T:
    """Build a dataclass from decoded JSON, or raise `MessageError`."""
    try:
        built: T = _reader(kind)(value)
    except _Mismatch as error:
        raise MessageError(".".join([where, *reversed(error.path)]) + f" {error}") from error
    return built


def to_plain(value: object) -> Any:  # noqa: ANN401 - JSON is anything
    """Return a dataclass as decoded JSON."""
    return orjson.loads(orjson.dumps(value))


class _Mismatch(Exception):  # noqa: N818 - never leaves this module
    """A value that is not what the table says; its path is collected on the way out.

    Reading what is right must not pay for saying where what is wrong would be.
    """

    def __init__(self, text: str, *path: str) -> None:
        super().__init__(text)
        self.path = list(path)  # innermost first


_READERS: dict[object, Reader] = {}


def _reader(kind: Any) -> Reader:  # noqa: ANN401 - types as values have no better type
    """Return the reader of a type, made once: reading must not look at annotations again."""
    if kind not in _READERS:
        _READERS[kind] = _make(kind)
    return _READERS[kind]


def _make(kind: Any) -> Reader:  # noqa: ANN401
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _optional(arguments)
    if origin is tuple:
        return _sequence(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments[1])
    if is_dataclass(kind) and isinstance(kind, type):
        return _record(kind)
    return _scalar(kind)


def _scalar(kind: type) -> Reader:
    if kind is str:
        return _text
    if kind is bool:
        return _truth
    if kind is int:
        return _number
    assert issubclass(kind, StrEnum), f"messages have no fields of type {kind}"
    values = {member.value: member for member in kind}

    def read(value: Any) -> Any:  # noqa: ANN401
        try:
            return values[value]
        except (KeyError, TypeError):
            raise _Mismatch(f"must be one of {', '.join(values)}") from None

    return read


def _text(value: Any) -> str:  # noqa: ANN401
    if type(value) is not str or len(value) > TEXT_MAX:
        raise _Mismatch(f"must be a text of at most {TEXT_MAX} characters")
    return value


def _truth(value: Any) -> bool:  # noqa: ANN401
    if type(value) is not bool:
        raise _Mismatch("must be true or false")
    return value


def _number(value: Any) -> int:  # noqa: ANN401
    if type(value) is not int or not -NUMBER_MAX <= value <= NUMBER_MAX:
        raise _Mismatch("must be a whole number within 62 bits")
    return value


def _optional(arguments: tuple[Any, ...]) -> Reader:
    (kind,) = (argument for argument in arguments if argument is not NoneType)
    inner = _reader(kind)

    def read(value: Any) -> Any:  # noqa: ANN401
        return None if value is None else inner(value)

    return read


def _sequence(arguments: tuple[Any, ...]) -> Reader:
    if arguments[-1] is Ellipsis:
        inner = _reader(arguments[0])

        def read(value: Any) -> Any:  # noqa: ANN401
            if type(value) is not list or len(value) > ITEMS_MAX:
                raise _Mismatch(f"must be a list of at most {ITEMS_MAX} items")
            return tuple([inner(item) for item in value])

        return read
    readers = tuple(_reader(argument) for argument in arguments)

    def read_exact(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not list or len(value) != len(readers):
            raise _Mismatch(f"must be a list of {len(readers)} items")
        return tuple([reader(item) for reader, item in zip(readers, value, strict=True)])

    return read_exact


def _mapping(kind: Any) -> Reader:  # noqa: ANN401
    inner = _reader(kind)

    def read(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not dict or len(value) > ITEMS_MAX:
            raise _Mismatch(f"must be an object of at most {ITEMS_MAX} entries")
        try:
            return {_text(key): inner(item) for key, item in value.items()}
        except _Mismatch as error:
            error.path.append("*")  # its key is from outside, and may be anything
            raise

    return read


def _record(kind: type) -> Reader:
    hints = get_type_hints(kind)
    readers = {item.name: _reader(hints[item.name]) for item in fields(kind)}
    required = frozenset(
        item.name
        for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING
    )

    def read(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not dict:
            raise _Mismatch("must be an object")
        found: dict[str, Any] = {}
        for name, reader in readers.items():
            if name in value:
                try:
                    found[name] = reader(value[name])
                except _Mismatch as error:
                    error.path.append(name)
                    raise
            elif name in required:
                raise _Mismatch("is missing", name)
        try:
            return kind(**found)
        except AssertionError as error:
            raise _Mismatch(f"contradicts itself: {str(value)[:200]}") from error

    return read
