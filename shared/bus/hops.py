"""The bus's own part in a message's way, as nats-server (2.11 and newer) reports it.

A message with the header `Nats-Trace-Dest` makes each server that it passes tell that subject when
it came in and when it was handed on (message tracing, NATS ADR-41). Each program asks for this of
what it says itself of an incident, and hears its own reports; the message does not wait for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import orjson

from shared.instant import SECOND

HEADER = "Nats-Trace-Dest"
ASKED_MAX = 256  # kinds of messages that were asked about; the oldest is forgotten
REPORT_MAX = 16_384  # bytes; two nodes and a stream make 1,000
EGRESSES_MAX = 100  # counted; a message that more hear is a fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One server's part in one message's way."""

    traceparent: str
    subject: str
    server: str  # its name
    begin_wall_us: int  # the message came in, by the server's clock
    end_wall_us: int  # it was handed to the last who hears it, or stored
    receivers: int  # connections that it was handed to
    size: int  # bytes of the message, with its headers


OnHop: TypeAlias = Callable[[Hop], None]


class Hops:
    """Which of our messages are asked about: the first of a kind on a subject, of each span.

    A command's trace context names the span in which it was sent, so each plan is asked about once:
    they are repeated until acknowledged, twenty times a second. Other news name the incident.
    """

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._asked: dict[tuple[str, str, str], None] = {}

    def asked_of(self, traceparent: str, subject: str, kind: str) -> dict[str, str]:
        """Return the header that asks; nothing where it was asked for before."""
        asked = (traceparent, subject, kind)
        if asked in self._asked:
            return {}
        self._asked[asked] = None
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        return {HEADER: self.destination}


def read(payload: bytes) -> Hop | None:
    """Return what a server reports; None if it is of no use, since anybody may have sent it."""
    if len(payload) > REPORT_MAX:
        return None
    try:
        return _hop(orjson.loads(payload))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def _hop(report: Any) -> Hop:  # noqa: ANN401 - whatever was sent
    events = report["events"][:EGRESSES_MAX]
    (ingress, *_) = (event for event in events if event["type"] == "in")
    return Hop(
        traceparent=str(report["request"]["header"]["traceparent"][0]),
        subject=str(ingress["subj"])[:200],
        server=str(report["server"]["name"])[:100],
        begin_wall_us=_wall_us(ingress["ts"]),
        end_wall_us=max(_wall_us(event["ts"]) for event in events),
        receivers=sum(event["type"] == "eg" and not event.get("error") for event in events),
        size=int(report["request"]["msgsize"]),
    )


def _wall_us(written: str) -> int:
    return int(datetime.fromisoformat(written).timestamp() * SECOND)
