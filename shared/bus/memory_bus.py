"""A bus without a server, for tests and the simulation: it passes the same tests as the real one.

Messages are really encoded and decoded on their way, and delivered on a later turn of the loop,
each subscriber's in the order in which they were published.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from shared.bus import Answerer, Handler, Received
from shared.bus.wire import LAST_AMONG, Parcel, Speaker, Wire, matches
from shared.errors import BusError, MessageError
from shared.instant import SECOND, Duration
from shared.messages.codec import SIZE_MAX
from shared.messages.table import TABLE, Message

KEPT_MAX = 100_000  # a test that needs more measures the wrong thing

Deliver = Callable[[str, bytes, "Reply | None"], None]
Reply = Callable[[bytes], None]


class MemoryBroker:
    """What a server does: brings messages to whom they concern, and keeps some."""

    def __init__(self) -> None:
        self.up = True
        self._subscriptions: dict[object, list[tuple[str, Deliver]]] = {}
        self._kept: deque[tuple[str, bytes]] = deque(maxlen=KEPT_MAX)
        self._once: set[str] = set()

    def connect(self, speaker: Speaker) -> "MemoryBus":
        """Return a client's bus."""
        return MemoryBus(self, speaker)

    def subscribe(self, owner: object, pattern: str, deliver: Deliver) -> None:
        """Bring what matches to a subscriber from now on."""
        self._subscriptions.setdefault(owner, []).append((pattern, deliver))

    def leave(self, owner: object) -> None:
        """Forget a client."""
        self._subscriptions.pop(owner, None)

    def send(self, parcel: Parcel, reply: Reply | None = None) -> None:
        """Deliver on the loop's next turn, and keep it if the table says so."""
        assert self.up
        self._keep(parcel)
        loop = asyncio.get_running_loop()
        for owner, subscriptions in self._subscriptions.items():
            for pattern, deliver in subscriptions:
                if matches(pattern, parcel.subject):
                    loop.call_soon(self._deliver, owner, deliver, parcel, reply)

    def kept(self, pattern: str) -> list[tuple[str, bytes]]:
        """Return what is kept, oldest first."""
        return [(subject, payload) for subject, payload in self._kept if matches(pattern, subject)]

    def _deliver(
        self, owner: object, deliver: Deliver, parcel: Parcel, reply: Reply | None
    ) -> None:
        if self.up and owner in self._subscriptions:
            deliver(parcel.subject, parcel.payload, reply)

    def _keep(self, parcel: Parcel) -> None:
        once = (parcel.headers or {}).get("Nats-Msg-Id")
        below = parcel.subject.split(".", 2)[2]
        if once in self._once or not any(row.kept and matches(row.pattern, below) for row in TABLE):
            return
        if once is not None:
            self._once.add(once)
        self._kept.append((parcel.subject, parcel.payload))


class MemoryBus:
    """One client of a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, speaker: Speaker) -> None:
        self._broker = broker
        self._wire = Wire(speaker)
        self._closed = False
        self._answers: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether the broker is up and this client has not left."""
        return self._broker.up and not self._closed

    @property
    def trouble(self) -> str:
        """Why nobody is reachable, in words; "" while the broker is."""
        return "" if self.connected else "the broker is down"

    @property
    def rejected(self) -> int:
        """How many messages were dropped because they could not be read."""
        return self._wire.rejected

    async def publish(self, message: Message, *, to: str = "") -> bool:
        """Say something; `to` is a command's node. False: not connected, and nothing queued."""
        if not self.connected:
            return False
        parcel = self._wire.pack(message, to=to)
        if len(parcel.payload) > SIZE_MAX:
            return False
        self._broker.send(parcel)
        return True

    async def subscribe(self, pattern: str, handler: Handler) -> None:
        """Hear what matches, below the cluster's prefix, until closed."""

        def deliver(subject: str, payload: bytes, _reply: Reply | None) -> None:
            received = self._wire.read(subject, payload)
            if received is not None:
                handler(received)

        self._broker.subscribe(self, self._wire.prefix + pattern, deliver)

    async def answer(self, pattern: str, answerer: Answerer) -> None:
        """Answer requests that match."""

        def deliver(subject: str, payload: bytes, reply: Reply | None) -> None:
            received = self._wire.read(subject, payload)
            if received is None or reply is None:
                return
            task = asyncio.ensure_future(self._answer(answerer, received, reply))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

        self._broker.subscribe(self, self._wire.prefix + pattern, deliver)

    async def ask(self, message: Message, *, to: str = "", timeout_us: Duration) -> Message:
        """Ask and return the answer; raise `BusError` when none came in time."""
        if not self.connected:
            raise BusError("not connected to the bus")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def reply(payload: bytes) -> None:
            if not answer.done():
                answer.set_result(payload)

        parcel = self._wire.pack(message, to=to)
        self._broker.send(parcel, reply)
        try:
            payload = await asyncio.wait_for(answer, timeout_us / SECOND)
            return self._wire.read_answer(payload)
        except TimeoutError as error:
            raise BusError(f"nobody answered on '{parcel.subject}' in time") from error
        except MessageError as error:
            raise BusError(f"the answer on '{parcel.subject}' cannot be read: {error}") from error

    async def last(self, subject: str) -> Received | None:
        """Return the newest kept message of a subject; raise `BusError` if the stream is away."""
        found = None
        async for received in self.past(subject, limit=LAST_AMONG):
            found = received
        return found

    async def past(self, pattern: str, *, limit: int) -> AsyncIterator[Received]:
        """Yield the newest `limit` kept messages that match, oldest first."""
        if not self.connected:
            raise BusError("not connected to the bus")
        kept = self._broker.kept(self._wire.prefix + pattern)
        for subject, payload in kept[max(0, len(kept) - limit) :]:
            received = self._wire.read(subject, payload)
            if received is not None:
                yield received

    async def close(self) -> None:
        """Leave."""
        self._closed = True
        self._broker.leave(self)
        for task in self._answers:
            task.cancel()

    async def _answer(self, answerer: Answerer, received: Received, reply: Reply) -> None:
        message = await answerer(received)
        reply(self._wire.pack(message, answers=received.subject).payload)
