"""A server that greets like NATS, says a version of our choice, and does nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def nats_greeting(*greetings: bytes) -> AsyncIterator[str]:
    """Greet one connection after the other on loopback, answer each PING, and yield the URL.

    The last greeting is for all further connections too.
    """
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greetings[min(len(writers), len(greetings) - 1)])
        writers.append(writer)
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()
