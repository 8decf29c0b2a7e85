"""The request that proves a plan: what is asked through the load balancer, what its answer proves.

HTTP: the probe's path, with a secret header; HAProxy adds the name of the instance that answered.
It must be one that the plan has serving, and its answer one that the probe accepts.
TCP: HAProxy accepts a connection before it has one itself, and closes it when its last retry has
found nobody; so a byte, or a connection that stays open for longer than that, is proof.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.traffic_switcher.core.haproxy_file import (
    INSTANCE_HEADER,
    VERIFY_HEADER,
    connect_timeout_us,
    retries_of,
)
from services.traffic_switcher.core.state import Outcome
from shared.cluster import Protocol, Service
from shared.instant import MILLISECOND, SECOND, Duration, milliseconds
from shared.rules import Rule, serving

# A request to a hung instance is freed after 250 ms; the verification may live to see it.
WITHIN_US: Duration = SECOND
OPEN_LONGER_US: Duration = 100 * MILLISECOND  # than all of HAProxy's retries may take
HEAD_MAX = 16_384  # HAProxy's own bound for the head of an answer
SEEN_MAX = 100  # of an answer, in a sentence
STATUS_LINE = re.compile(r"HTTP/1\.[01] ([0-9]{3})( |$)")


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back, and how it ended."""

    content: bytes  # the beginning, at most HEAD_MAX
    is_open: bool  # the other side had not closed when we stopped listening
    fault: str  # "" or why there is nothing: "connection refused"
    took_us: Duration


def request(service: Service, token: str) -> bytes:
    """Return what is sent; nothing to a service of which we know only that it speaks TCP."""
    if service.protocol is not Protocol.HTTP:
        return b""
    return (
        f"GET {service.probe.path or '/'} HTTP/1.1\r\n"
        f"Host: {service.name}\r\n{VERIFY_HEADER}: {token}\r\nConnection: close\r\n\r\n"
    ).encode()


def listens_for(service: Service) -> Duration:
    """Return how long an answer may take, or silence must last to be a good sign."""
    if service.protocol is Protocol.HTTP:
        return WITHIN_US
    return (retries_of(service) + 1) * connect_timeout_us(service) + OPEN_LONGER_US


def is_complete(service: Service, content: bytes) -> bool:
    """Say whether enough was heard to judge."""
    if service.protocol is not Protocol.HTTP:
        return bool(content)
    return b"\r\n\r\n" in content or len(content) >= HEAD_MAX


def is_answer(heard: Heard) -> bool:
    """Say whether anybody answered, whatever that was; silence on an open connection is TCP's."""
    return not heard.fault and bool(heard.content or heard.is_open)


def judge(service: Service, rules: Mapping[str, Rule], heard: Heard) -> Outcome:
    """Return what an answer proves."""
    if heard.fault:
        return Outcome(service.name, confirmed=False, detail=f"{service.name}: {heard.fault}")
    if service.protocol is Protocol.HTTP:
        return _judge_http(service, rules, heard)
    if heard.content or heard.is_open:
        return _confirmed(service, f"connected in {milliseconds(heard.took_us):.1f} ms")
    return _unconfirmed(service, "closed at once without a byte")


def _judge_http(service: Service, rules: Mapping[str, Rule], heard: Heard) -> Outcome:
    head = heard.content.split(b"\r\n\r\n", 1)[0].decode("latin-1")
    first, *lines = head.split("\r\n")
    status_line = STATUS_LINE.match(first)
    if status_line is None:
        return _unconfirmed(service, f"no HTTP answer: {first[:SEEN_MAX]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in map(_parts, lines)}
    instance, status = headers.get(INSTANCE_HEADER, ""), int(status_line[1])
    if not instance:
        return _unconfirmed(service, f"HTTP {status} from nobody the load balancer would name")
    if instance not in serving(rules):
        return _unconfirmed(
            service, f"HTTP {status} from {instance[:SEEN_MAX]}, which is not to serve"
        )
    if not any(low <= status <= high for low, high in service.probe.expect):
        return _unconfirmed(
            service, f"HTTP {status} from {instance}, which the probe does not accept"
        )
    took_ms = milliseconds(heard.took_us)
    return _confirmed(service, f"HTTP {status} from {instance} in {took_ms:.1f} ms")


def _parts(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _confirmed(service: Service, seen: str) -> Outcome:
    return Outcome(service.name, confirmed=True, detail=f"{service.name}: {seen}")


def _unconfirmed(service: Service, seen: str) -> Outcome:
    return Outcome(service.name, confirmed=False, detail=f"{service.name}: {seen}")
