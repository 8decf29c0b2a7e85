"""The bytes of a connection to the bus: ours are sorted out, nats-py gets the rest in whole."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlparse

import pytest
import uvloop

from shared.bus.transport import LINE_MAX, TURN_MAX, Transport
from shared.clock import SystemClock

Heard = list[tuple[str, bytes, str]]

STREAM = (
    b'INFO {"a": 1}\r\n'
    b"MSG a.b 1 2\r\nhi\r\n"
    b"PING\r\n"
    b"MSG _INBOX.x 7 6\r\nPING\r\n\r\n"  # a payload that looks like lines; not ours
    b"MSG a.c 1 _INBOX.y 4\r\n\r\n\r\n\r\n"
    b"HMSG a.d 1 12 14\r\nNATS/1.0\r\n\r\nok\r\n"
    b"HMSG a.e 1 _INBOX.z 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    b"PONG\r\n"
)
OURS = [
    ("a.b", b"hi", ""),
    ("a.c", b"\r\n\r\n", "_INBOX.y"),
    ("a.d", b"ok", ""),
    ("a.e", b"", "_INBOX.z"),
]
REST = b'INFO {"a": 1}\r\nPING\r\nMSG _INBOX.x 7 6\r\nPING\r\n\r\nPONG\r\n'


def connected(body: Callable[[Transport, socket.socket], object]) -> None:
    """Run a body with a transport and its other end, on both kinds of loops."""

    async def run() -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            transport = Transport()
            address = f"nats://127.0.0.1:{listener.getsockname()[1]}"
            await transport.connect(urlparse(address), LINE_MAX, 5)
            server, _ = listener.accept()
            with closing(server):
                await body(transport, server)  # type: ignore[misc]
            transport.close()

    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(run())


async def read_on(transport: Transport, size: int) -> bytes:
    """Return as many bytes as nats-py would read."""
    read = b""
    async with asyncio.timeout(10):
        while len(read) < size:
            read += await transport.read(LINE_MAX)
    return read


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 20, len(STREAM)])
def test_it_does_not_matter_where_the_bytes_are_cut(piece: int) -> None:
    heard: Heard = []

    async def body(transport: Transport, server: socket.socket) -> None:
        heard.clear()
        transport.sort_out(1, lambda *said: heard.append(said))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(STREAM), piece):
            server.sendall(STREAM[at : at + piece])
            await SystemClock().sleep(0)
        assert await read_on(transport, len(REST)) == REST
        assert heard == OURS

    connected(body)


def test_who_hears_it_over_one_connection_hears_it_over_the_next() -> None:
    heard: Heard = []

    async def body(transport: Transport, _: socket.socket) -> None:
        heard.clear()
        transport.sort_out(1, lambda *said: heard.append(said))
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            address = f"nats://127.0.0.1:{listener.getsockname()[1]}"
            await transport.connect(urlparse(address), LINE_MAX, 5)
            with closing(listener.accept()[0]) as server:
                server.sendall(STREAM)
                assert await read_on(transport, len(REST)) == REST
        assert heard == OURS

    connected(body)


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a.b 1\r\n",
        b"MSG a.b 1 -1\r\n",
        b"MSG a.b 1 x y 3\r\n",
        b"HMSG a.b 1 3\r\n",
        b"MSG a.b 1 " + b"9" * 5_000 + b"\r\n",
        b"-ERR 'Permissions Violation'\r\n",
        b"x" * (LINE_MAX + 1),
    ],
)
def test_what_is_no_message_is_left_to_nats_py(line: bytes) -> None:
    async def body(transport: Transport, server: socket.socket) -> None:
        transport.sort_out(1, lambda *_: pytest.fail("nothing was to be heard"))
        server.sendall(line)
        assert await read_on(transport, len(line)) == line

    connected(body)


def test_others_have_their_turn_while_much_arrives() -> None:
    heard: Heard = []
    message = b"MSG a 1 1000\r\n" + b"x" * 1_000 + b"\r\n"
    count = 20 * TURN_MAX // len(message)

    async def body(transport: Transport, server: socket.socket) -> None:
        heard.clear()
        transport.sort_out(1, lambda *said: heard.append(said))
        server.setblocking(False)  # noqa: FBT003 - positional by its own definition
        sending = asyncio.ensure_future(
            asyncio.get_running_loop().sock_sendall(server, message * count)
        )
        turns = 0
        async with asyncio.timeout(30):
            while len(heard) < count:
                before = len(heard)
                await SystemClock().sleep(0)
                turns += len(heard) > before
        await sending
        assert turns > 3

    connected(body)


def test_a_message_is_published_as_nats_has_it() -> None:
    async def body(transport: Transport, server: socket.socket) -> None:
        assert transport.say("a.b", b"hi", None)
        assert transport.say("a.c", b"ho", {"Nats-Msg-Id": "7", "x": "y"})
        expected = (
            b"PUB a.b 2\r\nhi\r\nHPUB a.c 34 36\r\nNATS/1.0\r\nNats-Msg-Id: 7\r\nx: y\r\n\r\nho\r\n"
        )
        await SystemClock().sleep(0)
        server.settimeout(10)
        said = b""
        while len(said) < len(expected):
            said += server.recv(4_096)
        assert said == expected

    connected(body)


def test_nothing_is_published_on_a_closed_connection() -> None:
    async def body(transport: Transport, _: socket.socket) -> None:
        transport.close()
        assert not transport.say("a.b", b"hi", None)

    connected(body)


def test_what_nobody_reads_does_not_pile_up_for_ever() -> None:
    async def body(transport: Transport, _: socket.socket) -> None:
        said = [transport.say("a.b", b"x" * 1_000_000, None) for _ in range(60)]
        assert said[0]
        assert not said[-1]

    connected(body)
