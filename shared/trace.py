"""The ids of an incident's trace, which every program derives for itself (pure)."""

import hashlib


def trace_id_of(cluster: str, incident: str) -> str:
    """Return an incident's trace id: 32 hexadecimal digits."""
    return _digest(f"equipoise/{cluster}/{incident}")[:32]


def span_id_of(trace_id: str, key: str) -> str:
    """Return the id of the span with this key in a trace: 16 hexadecimal digits."""
    return _digest(f"{trace_id}/{key}")[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
