"""What both buses share: messages to subject and bytes, and bytes to messages.

Whatever arrives and cannot be read (garbage, another cluster's, too large, a message on a subject
that is not its own) is counted, dropped and logged seldom; it never stops anything.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import orjson

from shared.bus import Received
from shared.bus.hops import Hops, OnHop
from shared.clock import Clock
from shared.errors import MessageError
from shared.log import Log, Seldom, timestamp
from shared.messages.codec import Envelope, decode, encode, packed
from shared.messages.table import BY_MESSAGE, Message, subject_of
from shared.messages.traffic import Drain, Failback, Failover, Restore

ROOT = "equipoise"
# `last` is the newest message that can be read: garbage on a subject must not hide the last word.
LAST_AMONG = 16

# A token of a subject that we send: what names of members, services and incidents are made of.
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

Traceparent: TypeAlias = Callable[[Message, str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who speaks on a bus, and by what clock."""

    cluster: str
    member: str  # "" for the command line
    program: str
    clock: Clock
    log: Log
    traceparent_of: Traceparent | None = None  # set where traces are recorded
    on_hop: OnHop | None = None  # hears of the bus's own part; set where traces are recorded


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message ready to be sent."""

    subject: str  # in full
    payload: bytes
    headers: dict[str, str] | None


class Wire:
    """Packs what one speaker says and reads what it hears."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._clock = speaker.clock
        self.cluster = speaker.cluster
        self.prefix = f"{ROOT}.{speaker.cluster}."
        self.hops = Hops(f"{self.prefix}hop.{speaker.member or '-'}.{speaker.program}")
        self.rejected = 0
        self._seldom = Seldom(speaker.clock)
        # CloudEvents wants ids unique per source: a random start and a count.
        self._session = secrets.token_hex(4)
        self._count = 0
        self._source = f"/{speaker.cluster}/{speaker.member or '-'}/{speaker.program}"
        self._command: tuple[Message, orjson.Fragment] | None = None  # the newest, and its bytes

    def pack(self, message: Message, *, to: str = "", answers: str = "") -> Parcel:
        """Return a message as it is sent; `answers` is the subject of the request it answers."""
        subject = subject_of(message, to=to) or answers
        assert _sendable(subject), f"not a subject: {subject!r}"
        once = _identity(message, subject)
        envelope = Envelope(
            id=once or self._next_id(),
            source=self._source,
            cluster=self.cluster,
            time=timestamp(self._clock.wall()),
        )
        headers = None if once is None else {"Nats-Msg-Id": once}
        if self._speaker.traceparent_of is not None:
            traceparent = self._speaker.traceparent_of(message, subject)
            if traceparent is not None:
                headers = {**(headers or {}), "traceparent": traceparent}
                if self._speaker.on_hop is not None and not answers:
                    kind = type(message).__name__
                    headers |= self.hops.asked_of(traceparent, subject, kind)
                envelope = replace(envelope, traceparent=traceparent)
        data = None if once is None else self._packed(message)
        return Parcel(self.prefix + subject, encode(message, envelope, subject, data), headers)

    def _packed(self, message: Message) -> orjson.Fragment:
        """Return a command's plan as it was packed for the first of all who are told it."""
        if self._command is None or self._command[0] is not message:
            self._command = (message, packed(message))
        return self._command[1]

    def read(self, subject: str, payload: bytes) -> Received | None:
        """Return what a payload says, or None when it is of no use: counted, and logged seldom."""
        below = subject.removeprefix(self.prefix)
        try:
            message, envelope = decode(payload, cluster=self.cluster)
            _belongs(message, below)
        except MessageError as error:
            self.reject(below, error)
            return None
        return Received(message=message, envelope=envelope, subject=below, at=self._clock.now())

    def read_answer(self, payload: bytes) -> Message:
        """Return what an answer says; raise `MessageError` (and count it) if it says nothing."""
        try:
            return decode(payload, cluster=self.cluster)[0]
        except MessageError:
            self.rejected += 1
            raise

    def reject(self, subject: str, error: MessageError) -> None:
        """Count a message that is of no use."""
        self.rejected += 1
        held_back = self._seldom.due("rejected")
        if held_back is not None:
            self._speaker.log.warning(
                "message_rejected",
                subject=subject[:200],
                because=str(error)[:400],
                rejected=self.rejected,
                not_logged=held_back,
            )

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._session}-{self._count}"


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a pattern, as NATS has it: `*` one token, `>` one or more."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(
        part in ("*", token) for part, token in zip(wanted, tokens, strict=True)
    )


def _identity(message: Message, subject: str) -> str | None:
    """Return the id of a command's plan: what is repeated until acknowledged is kept once.

    JetStream drops the repetitions by this id (`Nats-Msg-Id`), core subscribers hear every one. A
    node that stays away would otherwise fill the stream, twenty plans a second.
    """
    if not isinstance(message, Failover | Failback | Drain | Restore):
        return None
    return f"{subject}.{message.plan.epoch}.{message.plan.sequence}"


def _belongs(message: Message, subject: str) -> None:
    """Refuse a message that came on another subject than its own words say.

    Permissions are granted by subject: without this, whoever may say `heartbeat.a` could say there
    that b is alive.
    """
    row = BY_MESSAGE[type(message)]
    own = subject_of(message, to=subject.rpartition(".")[2]) if row.subject else "a reply only"
    if own != subject:
        raise MessageError(f"{row.type} belongs on '{own[:200]}', it came on '{subject[:200]}'")


@lru_cache(maxsize=4096)  # an installation has some hundreds of subjects
def _sendable(subject: str) -> bool:
    return _SUBJECT.fullmatch(subject) is not None
