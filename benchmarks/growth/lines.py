"""One connection to the bus: the real codec on nats-py, without what a real program adds."""

import sys
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus import Received
from shared.bus.wire import Speaker, Wire
from shared.clock import SystemClock
from shared.log import Logger, as_json
from shared.messages.table import Message

Hear: TypeAlias = Callable[[Received], Awaitable[None]]
SUBSCRIBED_WITHIN_S = 10


def speaker(cluster: str, member: str, program: str) -> Speaker:
    """Return who speaks on a line."""
    clock = SystemClock()
    fields = {"program": program, "member": member}

    def write(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    log = Logger(write, clock=clock, level="warning", render=as_json, fields=fields)
    return Speaker(cluster=cluster, member=member, program=program, clock=clock, log=log)


class Line:
    """What one member says and hears."""

    def __init__(self, who: Speaker) -> None:
        self.wire = Wire(who)
        self.client = Client()

    async def connect(self, server: str) -> None:
        """Connect."""
        await self.client.connect([server], name=self.wire.cluster)

    async def say(self, message: Message) -> None:
        """Publish a message."""
        parcel = self.wire.pack(message)
        await self.client.publish(parcel.subject, parcel.payload, headers=parcel.headers)

    async def hear(self, pattern: str, hear: Hear) -> None:
        """Hear messages, read."""

        async def read(message: Msg) -> None:
            received = self.wire.read(message.subject, message.data)
            if received is not None:
                await hear(received)

        await self.hear_raw(pattern, read)

    async def hear_raw(self, pattern: str, hear: Callable[[Msg], Awaitable[None]]) -> None:
        """Hear messages as they came."""
        await self.client.subscribe(self.wire.prefix + pattern, cb=hear)

    async def answer(self, pattern: str, answer: Callable[[], Message]) -> None:
        """Answer whoever asks."""

        async def reply(message: Msg) -> None:
            parcel = self.wire.pack(answer(), answers=message.subject)
            await self.client.publish(message.reply, parcel.payload)

        await self.hear_raw(pattern, reply)

    async def subscribed(self) -> None:
        """Wait until the server has read what we asked for."""
        await self.client.flush(SUBSCRIBED_WITHIN_S)

    async def close(self) -> None:
        """Leave."""
        await self.client.close()


def number_of(message: Msg) -> tuple[int, int]:
    """Return a command's number, without reading the plan in it."""
    name = (message.headers or {})["Nats-Msg-Id"]
    epoch, sequence = name.rsplit(".", 2)[1:]
    return int(epoch), int(sequence)
