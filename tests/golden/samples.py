"""One sample of every message, made from its type alone, always the same."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson

from shared.messages.codec import Envelope, encode
from shared.messages.table import TABLE, Message, Row, subject_of
from shared.rules import Admission, Rule

CLUSTER = "pair"
DIRECTORY = Path(__file__).parent

# What fields hold in real life; others hold their own name.
_TEXTS = {
    "node": "node-a",
    "observer": "node-b",
    "arbiter": "witness",
    "asker": "witness",
    "service": "shop",
    "target": "node-b",
    "boot_id": "5f1c2a9d00e14b77",
    "configuration": "c0ffee00",
    "digest": "00d1ce5700d1ce57",
    "original_digest": "00d1ce5700d1ce57",
    "id": "shop-node-a-7",
    "incident": "shop-node-a-7",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "owner": "ann",
    "reason": "because node-a refuses connections",
    "cause": "connection refused",
    "detail": "connection refused",
    "value": "0.3 ms",
    "threshold": "fall 2 of 2",
    "identity": "1.4.2",
}
_KEYS = {"services": "shop", "instances": "shop"}


def sample(row: Row) -> Message:
    """Return the sample of a row's message."""
    message: Message = _value(row.message, "", 1)
    return message


def recorded(row: Row) -> Path:
    """Return where a row's message is recorded."""
    return DIRECTORY / f"{row.type}.json"


def event(row: Row) -> bytes:
    """Return a row's sample as it is sent, laid out for people."""
    message = sample(row)
    envelope = Envelope(
        id="1",
        source=f"/{CLUSTER}/node-a/{row.said_by}",
        cluster=CLUSTER,
        time="2026-11-22T12:00:00.000000Z",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    payload = encode(message, envelope, subject_of(message, to="node-a") or "operator.pause")
    laid_out = orjson.dumps(orjson.loads(payload), option=orjson.OPT_INDENT_2)
    return laid_out + b"\n"


def rows() -> tuple[Row, ...]:
    """Return the table's rows."""
    return TABLE


def _value(kind: Any, name: str, number: int) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _value(next(a for a in arguments if a is not NoneType), name, number)
    if origin is tuple:
        members = arguments[:1] if arguments[-1] is Ellipsis else arguments
        return tuple(_value(member, name, number + at) for at, member in enumerate(members))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key = _KEYS.get(name, "node-a")
        # Below a service there are nodes.
        return {key: _value(arguments[1], "" if key == "shop" else name, number)}
    if kind is Rule:
        return Rule(Admission.SERVING, 100)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(
            **{f.name: _value(hints[f.name], f.name, at) for at, f in enumerate(fields(kind), 1)}
        )
    return _scalar(kind, name, number)


def _scalar(kind: type, name: str, number: int) -> Any:
    if kind is str:
        return _TEXTS.get(name, name or "text")
    if kind is bool:
        return True
    if kind is int:
        return 1_000 * number
    assert issubclass(kind, StrEnum)
    return tuple(kind)[-1]
