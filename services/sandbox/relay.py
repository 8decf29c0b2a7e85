"""Carries bytes between what the sandbox's namespaces cannot reach and what they can.

Traces go from the members to a collector outside: a listener on the bridge, which the inner
program has, carries to a unix socket; the launcher, outside, carries from there to the collector.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeAlias

CHUNK = 64 * 1024
CONNECTIONS_MAX = 64  # a dozen processes export a few spans each
DIAL_TIMEOUT_S = 2.0

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Carrier: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
]


def carrier(dial: Callable[[], Awaitable[Streams]]) -> Carrier:
    """Return what serves a connection by carrying it to another that `dial` opens."""
    room = asyncio.Semaphore(CONNECTIONS_MAX)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with room:
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    far_reader, far_writer = await dial()
            except OSError:  # nobody there: the exporter sees its connection end, and copes
                writer.close()
                return
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    return carry


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # one side is gone: the other is told by the close
    finally:
        writer.close()
