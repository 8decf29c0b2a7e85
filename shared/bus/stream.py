"""The cluster's stream: what JetStream keeps of the bus, so that newcomers can read the past.

It is recorded beside the traffic: nothing on the way from a fault to switched traffic waits for
it. Losing the server that leads it stops writes for 4 to 9 s (measured), and costs nothing else.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from shared.errors import BusError
from shared.instant import HOUR, SECOND
from shared.messages.table import TABLE

NANOSECONDS_PER_US = 1_000
MAX_AGE_US = 30 * 24 * HOUR  # people ask about last week's incident, seldom about last quarter's
MAX_BYTES = 256 * 1024 * 1024  # 60,000 messages of 4 kB; a small disk bears it
# A flapping instance must not push out what all others said: each subject keeps its newest.
MAX_PER_SUBJECT = 1_000
MAX_SIZE = 1_048_576  # the codec reads no more
# JetStream forgets a repetition after this; a command is repeated for seconds, at most minutes.
DUPLICATES_WITHIN_US = 120 * SECOND
# Batches of a read: the server sends a batch at once, and we hold it at once.
BATCH = 256
# A read of the newest N looks back this far first, in messages per wanted one.
LOOK_BACK = 4

_NAME_IN_USE = 10058  # JetStream: the stream exists with another configuration
_NOT_FOUND = "404"


@dataclass(frozen=True, slots=True)
class Reply:
    """What JetStream's API answers."""

    headers: Mapping[str, str]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as the stream keeps it."""

    subject: str  # in full
    payload: bytes
    position: int  # in the stream: JetStream's sequence
    later: int  # how many matching messages come after it


class Courier(Protocol):
    """Asks JetStream; raises `BusError` when it does not answer."""

    async def request(self, subject: str, payload: bytes) -> Reply:
        """Return the one answer."""

    async def batch(self, subject: str, payload: bytes) -> list[Reply]:
        """Return all answers up to the one that ends the batch (a status without payload)."""


class Stream:
    """One cluster's stream, by JetStream's JSON API."""

    def __init__(self, cluster: str, prefix: str, courier: Courier) -> None:
        self.name = f"EQUIPOISE-{cluster}"
        self._prefix = prefix
        self._courier = courier

    async def ensure(self) -> None:
        """Make the stream, or bring it to what this version wants; whoever comes first does it."""
        wanted = orjson.dumps(self._configuration())
        answer = await self._api(f"$JS.API.STREAM.CREATE.{self.name}", wanted)
        if answer.get("error", {}).get("err_code") == _NAME_IN_USE:
            answer = await self._api(f"$JS.API.STREAM.UPDATE.{self.name}", wanted)
        if "error" in answer:
            text = str(answer["error"].get("description", "no reason given"))
            raise BusError(f"JetStream refused the stream {self.name}: {text}")

    async def last(self, subject: str) -> Kept | None:
        """Return the newest kept message of a subject (or pattern)."""
        return await self._get({"last_by_subj": self._prefix + subject})

    async def newest(self, pattern: str, limit: int) -> AsyncIterator[Kept]:
        """Yield the newest `limit` kept messages that match, oldest first.

        JetStream reads forward only. So we find a position with enough matches after it by
        looking back in doubling steps (each a round trip of 0.3 ms), and read from there.
        """
        last = await self.last(pattern)
        if last is None or limit < 1:
            return
        position, surplus = await self._position(pattern, last.position, limit)
        while position <= last.position:
            batch = await self._batch(pattern, position)
            for kept in batch:
                if surplus > 0:
                    surplus -= 1
                elif kept.position <= last.position:
                    yield kept
            if not batch:
                return
            position = batch[-1].position + 1

    async def _position(self, pattern: str, newest: int, limit: int) -> tuple[int, int]:
        """Return where to read from, and how many matching messages there to skip."""
        reach = LOOK_BACK * limit
        while True:
            position = max(1, newest - reach)
            first = await self._get(self._from(pattern, position, 1))
            found = 0 if first is None else first.later + 1
            if found >= limit or position == 1:
                return position, max(0, found - limit)
            reach *= 2

    async def _batch(self, pattern: str, position: int) -> list[Kept]:
        payload = orjson.dumps(self._from(pattern, position, BATCH))
        replies = await self._courier.batch(f"$JS.API.DIRECT.GET.{self.name}", payload)
        return [kept for reply in replies if (kept := _kept(reply)) is not None]

    async def _get(self, wanted: Mapping[str, Any]) -> Kept | None:
        # DIRECT.GET: answered by any replica in one round trip (0.7 ms measured), and a grant for
        # it covers this stream alone; STREAM.MSG.GET would ask the leader, which may be dying.
        payload = orjson.dumps(wanted)
        reply = await self._courier.request(f"$JS.API.DIRECT.GET.{self.name}", payload)
        return _kept(reply)

    def _from(self, pattern: str, position: int, batch: int) -> dict[str, Any]:
        return {"seq": position, "next_by_subj": self._prefix + pattern, "batch": batch}

    async def _api(self, subject: str, payload: bytes) -> dict[str, Any]:
        reply = await self._courier.request(subject, payload)
        try:
            answer = orjson.loads(reply.payload)
        except orjson.JSONDecodeError as error:
            raise BusError(f"JetStream answered nonsense on {subject}") from error
        return answer if isinstance(answer, dict) else {}

    def _configuration(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "subjects": sorted({self._prefix + row.pattern for row in TABLE if row.kept}),
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": MAX_AGE_US * NANOSECONDS_PER_US,
            "max_bytes": MAX_BYTES,
            "max_msgs_per_subject": MAX_PER_SUBJECT,
            "max_msg_size": MAX_SIZE,
            "duplicate_window": DUPLICATES_WITHIN_US * NANOSECONDS_PER_US,
            "num_replicas": 1,
            "allow_direct": True,
            # Without this JetStream's acknowledgement is delivered as the *reply* to every core
            # request on a captured subject (`operator.*`), before the real answer.
            "no_ack": True,
        }


def _kept(reply: Reply) -> Kept | None:
    """Return the message in an answer to DIRECT.GET; None when there is none."""
    status = reply.headers.get("Status")
    if status is not None and not reply.payload:
        if status == _NOT_FOUND:
            return None
        raise BusError(f"JetStream answered {status} {reply.headers.get('Description', '')}")
    try:
        return Kept(
            subject=reply.headers["Nats-Subject"],
            payload=reply.payload,
            position=int(reply.headers["Nats-Sequence"]),
            later=int(reply.headers.get("Nats-Num-Pending", 0)),
        )
    except (KeyError, ValueError) as error:
        raise BusError("JetStream answered a read without saying what it is") from error
