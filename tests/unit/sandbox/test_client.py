"""The client's schedule, what it takes for an answer, and what it never sends twice."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from services.sandbox.client import (
    IDLE_MAX,
    UNSAFE_ONE_IN,
    Answer,
    Load,
    Target,
    judge,
    parse_answer,
    plan,
    read_targets,
)
from services.sandbox.records import Method, Names, Record, RecordReader, RecordWriter, Result
from shared.clock import SystemClock
from shared.instant import SECOND

TARGETS = [
    Target(node, service, "127.0.0.1", 1)
    for service in ("shop", "orders")
    for node in ("node-a", "node-b")
]
GOOD = b'{"service":"shop","instance":"node-a","version":"1.0","served":1}'


def answer(content: bytes = GOOD, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content)


def test_every_lane_gets_the_same_share_of_everything() -> None:
    lanes = 2 * len(TARGETS)
    planned = Counter(plan(number, TARGETS) for number in range(lanes * UNSAFE_ONE_IN * 5))
    assert len(planned) == 2 * lanes  # each lane with GET and with POST
    for (_, _, method), count in planned.items():
        assert count == (5 if method is Method.POST else 5 * (UNSAFE_ONE_IN - 1))


def test_targets_are_virtual_ips_or_nodes_where_there_are_none() -> None:
    content: dict[str, dict[str, object]] = {
        "nodes": {"node-a": "10.78.0.11"},
        "vips": {"web": "10.78.0.201", "api": "10.78.0.202"},
        "services": {"shop": 80, "orders": 81},
    }
    assert read_targets(content) == [
        Target("web", "shop", "10.78.0.201", 80),
        Target("api", "shop", "10.78.0.202", 80),
        Target("web", "orders", "10.78.0.201", 81),
        Target("api", "orders", "10.78.0.202", 81),
    ]
    assert [target.place for target in read_targets({**content, "vips": {}})] == ["node-a"] * 2


def test_requests_go_to_the_nodes_in_turn() -> None:
    nodes = [plan(number, TARGETS)[0].place for number in range(6)]
    assert nodes == ["node-a", "node-b"] * 3


def test_an_answer_is_incomplete_until_its_last_byte() -> None:
    whole = answer()
    assert all(parse_answer(whole[:size]) is None for size in range(len(whole)))
    assert parse_answer(whole) == Answer(200, GOOD, keep=True, size=len(whole))


@pytest.mark.parametrize(
    "received",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc X\r\ncontent-length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_nonsense_is_no_answer(received: bytes) -> None:
    with pytest.raises(ValueError, match=r"asked for|status line|content-length|unpack"):
        parse_answer(received)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged_without_a_crash(received: bytes) -> None:
    try:
        parsed = parse_answer(b"HTTP/1.1 200 OK\r\ncontent-length: " + received)
    except ValueError:
        return
    if parsed is not None:
        judge(parsed, TARGETS[0], None)


def test_only_the_expected_body_counts() -> None:
    def judged(content: bytes, status: int = 200, order: str | None = None) -> object:
        return judge(Answer(status, content, keep=True, size=1), TARGETS[0], order)

    assert judged(GOOD) == (Result.OK, "node-a")
    assert judged(GOOD, status=201) == (Result.OK, "node-a")
    assert judged(GOOD, status=503) == (Result.STATUS, None)
    assert judged(GOOD, order="o1") == (Result.BODY, None)
    assert judged(GOOD.replace(b"shop", b"orders")) == (Result.BODY, None)
    assert judged(GOOD.replace(b'"node-a"', b"7")) == (Result.BODY, None)
    assert judged(b"[1]") == (Result.BODY, None)
    assert judged(b"<html>") == (Result.BODY, None)
    assert judged(GOOD[:-1] + b',"id":"o1"}', order="o1") == (Result.OK, "node-a")


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def play(tmp_path: Path, serve: Serve, *, rate: int, seconds: float) -> list[Record]:
    """Run the client against a server of the test's, and return all that it recorded."""

    async def main() -> None:
        opened = 0

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal opened
            opened += 1
            try:
                await serve(reader, writer, opened)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        writer = RecordWriter(tmp_path / "r", Names(("node-a",), ("shop",)))
        load = Load(
            targets=[Target("node-a", "shop", "127.0.0.1", port)],
            rate=rate,
            writer=writer,
            clock=SystemClock(),
            nodes=frozenset({"node-a"}),
        )
        stopping = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stopping.set)
        await load.run(stopping)
        server.close()

    asyncio.run(main())
    reader = RecordReader(tmp_path / "r")
    records = reader.read()
    # Whatever happened, everything that was due is recorded once.
    assert len({one.scheduled_at for one in records}) == len(records)
    assert all(one.scheduled_at < reader.complete_until for one in records)
    return records


async def asked(reader: asyncio.StreamReader) -> str:
    """Read one request and return its first line."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode()


def good_for(line: str) -> bytes:
    if line.startswith("POST"):
        order = line.partition("id=")[2].partition(" ")[0]
        return answer(GOOD[:-1] + f',"id":"{order}"}}'.encode(), 201)
    return answer()


def test_half_the_requests_use_kept_connections(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            writer.write(good_for(await asked(reader)))

    records = play(tmp_path, serve, rate=100, seconds=1)
    assert {one.result for one in records} == {Result.OK}
    kept = sum(one.kept for one in records)
    assert len(records) // 2 - IDLE_MAX < kept <= len(records) // 2 + 1
    assert kept > len(records) // 3


def test_a_kept_connection_that_dies_unanswered_repeats_gets_and_never_posts(
    tmp_path: Path,
) -> None:
    seen: Counter[str] = Counter()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(good_for(await asked(reader)))
        line = await asked(reader)  # the second request of a connection: read, and then nothing
        seen[line] += 1
        writer.transport.abort()

    records = play(tmp_path, serve, rate=200, seconds=1)
    kept = [one for one in records if one.kept]
    assert {one.result for one in kept if one.safe} == {Result.OK}
    assert all(one.retried for one in kept if one.safe)
    assert {one.result for one in kept if not one.safe} == {Result.RESET}
    assert not any(one.retried for one in records if not one.safe)
    posts = {line: count for line, count in seen.items() if line.startswith("POST")}
    assert posts
    assert set(posts.values()) == {1}


def test_a_new_connection_that_dies_unanswered_has_failed(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await asked(reader)
        writer.transport.abort()

    records = play(tmp_path, serve, rate=100, seconds=0.3)
    assert {one.result for one in records} == {Result.RESET}
    assert not any(one.retried for one in records)


def test_a_hanging_server_slows_no_question_and_every_wait_is_counted(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        del writer
        await reader.read()

    records = play(tmp_path, serve, rate=100, seconds=0.5)
    assert 45 <= len(records) <= 60  # sent on schedule, although nothing came back
    assert {one.result for one in records} == {Result.TIMED_OUT}
    assert all(one.latency_us >= 2 * SECOND for one in records)


def test_nobody_listening_is_refused_at_once(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        del reader, writer

    async def main() -> None:
        server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        load = Load(
            targets=[Target("node-a", "shop", "127.0.0.1", port)],
            rate=50,
            writer=RecordWriter(tmp_path / "r", Names(("node-a",), ("shop",))),
            clock=SystemClock(),
            nodes=frozenset({"node-a"}),
        )
        stopping = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, stopping.set)
        await load.run(stopping)

    asyncio.run(main())
    records = RecordReader(tmp_path / "r").read()
    assert {one.result for one in records} == {Result.REFUSED}
    del serve


@pytest.mark.parametrize("nonsense", [b"\x00" * 100, b"HTTP/1.1 200 OK\r\n\r\n", answer(b"{}")])
def test_garbage_and_empty_bodies_fail_as_what_they_are(tmp_path: Path, nonsense: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            await asked(reader)
            writer.write(nonsense + b"\r\n\r\n")
            await writer.drain()

    records = play(tmp_path, serve, rate=50, seconds=0.3)
    assert {one.result for one in records} == {Result.BODY}
