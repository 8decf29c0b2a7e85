"""The bus as services see it; `nats_bus` is the real one, `memory_bus` the one without a server.

Both pass the same tests. Delivery is at most once and nothing is queued while disconnected: what
must arrive is said again until it is acknowledged, and every message is a whole statement.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from shared.instant import Duration, Instant
from shared.messages.codec import Envelope
from shared.messages.table import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message that was read, with what is known of its way."""

    message: Message
    envelope: Envelope
    subject: str  # below `equipoise.<cluster>.`
    at: Instant  # of receipt, on this machine's clock


Handler: TypeAlias = Callable[[Received], None]  # must not block: it puts an event on a queue
Answerer: TypeAlias = Callable[[Received], Awaitable[Message]]


class Bus(Protocol):
    """Publish, subscribe, ask, answer, and read the past."""

    @property
    def connected(self) -> bool:
        """Whether a server is reachable now, as far as is known."""

    @property
    def trouble(self) -> str:
        """Why no server is reachable, in words; "" while one is."""

    @property
    def rejected(self) -> int:
        """How many messages were dropped because they could not be read."""

    async def publish(self, message: Message, *, to: str = "") -> bool:
        """Say something; `to` is a command's node. False: not connected, and nothing queued."""

    async def subscribe(self, pattern: str, handler: Handler) -> None:
        """Hear what matches, below the cluster's prefix (`heartbeat.*`, `>`), until closed."""

    async def answer(self, pattern: str, answerer: Answerer) -> None:
        """Answer requests that match."""

    async def ask(self, message: Message, *, to: str = "", timeout_us: Duration) -> Message:
        """Ask and return the answer; raise `BusError` when none came in time."""

    async def last(self, subject: str) -> Received | None:
        """Return the newest kept message of a subject; raise `BusError` if the stream is away."""

    def past(self, pattern: str, *, limit: int) -> AsyncIterator[Received]:
        """Yield the newest `limit` kept messages that match, oldest first."""

    async def close(self) -> None:
        """Leave; what was published is flushed first."""
