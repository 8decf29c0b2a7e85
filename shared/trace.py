"""The ids of an incident's trace, which every program derives for itself (pure)."""

import hashlib
from enum import StrEnum


class SpanKind(StrEnum):
    """What a span's work is to those outside of its program, as OpenTelemetry has it."""

    INTERNAL = "internal"
    CLIENT = "client"  # asks somebody and waits
    SERVER = "server"  # is asked
    PRODUCER = "producer"  # says something on the bus
    CONSUMER = "consumer"  # does what was said there


def trace_id_of(cluster: str, incident: str) -> str:
    """Return an incident's trace id: 32 hexadecimal digits."""
    return _digest(f"equipoise/{cluster}/{incident}")[:32]


def span_id_of(trace_id: str, key: str) -> str:
    """Return the id of the span with this key in a trace: 16 hexadecimal digits."""
    return _digest(f"{trace_id}/{key}")[:16]


def sent_key(subject: str, number: tuple[int, int]) -> str:
    """Return the key of the span in which a plan was sent: its receivers refer to it."""
    epoch, sequence = number
    return f"send/{subject}/{epoch}.{sequence}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
