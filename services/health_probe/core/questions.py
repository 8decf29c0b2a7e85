"""What is asked over a connection, and what its answer means: without the connection.

A question is put once; the first of `read`, `stayed`, `failed` and `overdue` that returns
something has answered it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.health_probe.core import http, identity, signs
from services.health_probe.core.http import Garbage
from services.health_probe.core.signs import Outcome
from shared.cluster import Identity
from shared.instant import Duration

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Named:
    """What an instance says it is; None: it did not say."""

    value: str | None


class Question(Protocol[R_co]):
    """Something to be found out over one new connection."""

    @property
    def timeout_us(self) -> Duration:
        """How long the whole may take."""

    @property
    def words(self) -> bytes:
        """What is sent when the connection is there; nothing: that it stays is all we ask."""

    def read(self, received: bytes, took_us: Duration, *, ended: bool) -> R_co | None:
        """Return what the bytes mean, or None if more are needed; `ended`: none will come."""

    def stayed(self, took_us: Duration) -> R_co:
        """Return what it means that nothing happened to a connection without words."""

    def failed(self, code: int, reason: str, took_us: Duration) -> R_co:
        """Return what an error of the connection means."""

    def overdue(self, took_us: Duration, *, connected: bool) -> R_co:
        """Return what it means that the time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptQuestion:
    """Whether it accepts a connection, and keeps it."""

    timeout_us: Duration
    words: bytes = b""

    def read(self, received: bytes, took_us: Duration, *, ended: bool) -> Outcome | None:
        """Return the outcome of being greeted, or closed at once."""
        if received:
            return signs.connected(took_us)
        return signs.hung_up("closed right after connecting", took_us) if ended else None

    def stayed(self, took_us: Duration) -> Outcome:
        """Return the outcome of an accepted connection."""
        return signs.connected(took_us)

    def failed(self, code: int, reason: str, took_us: Duration) -> Outcome:
        """Return the outcome of an error."""
        return signs.failed(code, reason, took_us)

    def overdue(self, took_us: Duration, *, connected: bool) -> Outcome:
        """Return the outcome of silence."""
        assert not connected
        return signs.overdue("connection", self.timeout_us, took_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusQuestion:
    """Whether it answers a request with an expected status."""

    words: bytes
    expect: Sequence[tuple[int, int]]
    timeout_us: Duration

    def read(self, received: bytes, took_us: Duration, *, ended: bool) -> Outcome | None:
        """Return the outcome of an answer."""
        head = http.read_head(received)
        if isinstance(head, Garbage):
            return signs.unreadable(head.detail, took_us)
        if head is not None:
            return signs.answered(head.status, self.expect, took_us)
        if not ended:
            return None
        if received:
            return signs.unreadable("the answer ended within its headers", took_us)
        return signs.hung_up("closed without an answer", took_us)

    def stayed(self, took_us: Duration) -> Outcome:
        """Never asked: there are words."""
        raise AssertionError(took_us)

    def failed(self, code: int, reason: str, took_us: Duration) -> Outcome:
        """Return the outcome of an error."""
        return signs.failed(code, reason, took_us)

    def overdue(self, took_us: Duration, *, connected: bool) -> Outcome:
        """Return the outcome of silence."""
        what = "answer" if connected else "connection"
        return signs.overdue(what, self.timeout_us, took_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityQuestion:
    """What it is: which version, which build."""

    words: bytes
    identity: Identity
    timeout_us: Duration

    def read(self, received: bytes, took_us: Duration, *, ended: bool) -> Named | None:
        """Return what an answer says."""
        _ = took_us
        head = http.read_head(received)
        if head is None or isinstance(head, Garbage):
            return Named(None) if ended or head is not None else None
        if not 200 <= head.status < 300:  # noqa: PLR2004 - an error page is nobody's identity
            return Named(None)
        if self.identity.header is not None:
            return Named(identity.text(http.header(head, self.identity.header) or ""))
        body = http.read_body(head, received, ended=ended)
        if body is None:
            return None
        return Named(None if isinstance(body, Garbage) else identity.text(body))

    def stayed(self, took_us: Duration) -> Named:
        """Never asked: there are words."""
        raise AssertionError(took_us)

    def failed(self, code: int, reason: str, took_us: Duration) -> Named:
        """Return that nothing was said."""
        _ = code, reason, took_us
        return Named(None)

    def overdue(self, took_us: Duration, *, connected: bool) -> Named:
        """Return that nothing was said in time."""
        _ = took_us, connected
        return Named(None)
