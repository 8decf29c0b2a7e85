"""Connections that stay: what is noted of them, and which must have lasted."""

import asyncio
from dataclasses import replace
from pathlib import Path

from services.sandbox.client import Target
from services.sandbox.drills.catalogue.people import LAST_ANSWER_US, broken
from services.sandbox.sitting import SEATS_EACH, Seat, read, sit
from shared.clock import SystemClock
from shared.instant import MILLISECOND, SECOND

DRAIN_US = SECOND
MOVED_AT = 10 * SECOND
DRAINED_AT = MOVED_AT + DRAIN_US
MOVES = {"web": [MOVED_AT], "api": []}
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def seat(vip: str, *, opened_at: int = 0, answered_at: int, broken_at: int | None = None) -> Seat:
    return Seat(
        vip=vip,
        service="shop",
        opened_at=opened_at,
        answered_at=answered_at,
        broken_at=broken_at,
        why="" if broken_at is None else "reset",
    )


def test_a_connection_through_a_vip_that_moved_must_be_answered_until_the_drain_time_is_over() -> (
    None
):
    lasted = seat("web", answered_at=DRAINED_AT + 1, broken_at=DRAINED_AT + 2)
    late_enough = seat("web", answered_at=DRAINED_AT - LAST_ANSWER_US, broken_at=DRAINED_AT)
    killed = seat("web", answered_at=DRAINED_AT - SECOND, broken_at=DRAINED_AT - SECOND + 1)
    assert broken([lasted, late_enough], MOVES, DRAIN_US) == []
    assert broken([lasted, killed], MOVES, DRAIN_US) == [
        "1 of 2 connections through web broke within the drain time: reset"
    ]


def test_a_connection_that_was_opened_after_the_move_must_not_end() -> None:
    before = seat("web", answered_at=DRAINED_AT, broken_at=DRAINED_AT)
    after = seat(
        "web", opened_at=MOVED_AT + 1, answered_at=DRAINED_AT + 2, broken_at=DRAINED_AT + 3
    )
    assert broken([before, after], MOVES, DRAIN_US) == [
        "1 of 2 connections through web broke within the drain time: reset"
    ]


def test_each_move_drains_those_who_sat_down_before_it() -> None:
    home_at = MOVED_AT + 3 * SECOND
    moves = {"web": [MOVED_AT, home_at]}
    before = seat("web", answered_at=DRAINED_AT, broken_at=DRAINED_AT)
    between = seat(
        "web",
        opened_at=DRAINED_AT,
        answered_at=home_at + DRAIN_US,
        broken_at=home_at + DRAIN_US,
    )
    assert broken([before, between], moves, DRAIN_US) == []


def test_where_nobody_sat_when_a_vip_moved_nothing_is_proved() -> None:
    late = seat("web", opened_at=MOVED_AT + 1, answered_at=DRAINED_AT)
    assert broken([late], MOVES, DRAIN_US) == [
        "no connection was open through web when it moved: nothing is proved"
    ]


def test_a_connection_through_another_vip_must_not_end_at_all() -> None:
    ended = seat("api", answered_at=DRAINED_AT + SECOND, broken_at=DRAINED_AT + SECOND)
    assert broken([ended], MOVES, DRAIN_US) == ["1 of 1 connections through api broke: reset"]


def test_who_is_asked_to_leave_by_a_move_has_lost_nothing_and_nobody_else_is_asked() -> None:
    asked = replace(seat("web", answered_at=MOVED_AT - 1), left_at=MOVED_AT - 1)
    assert broken([asked], MOVES, DRAIN_US) == []
    stays = seat("web", answered_at=DRAINED_AT)
    for_nothing = replace(asked, left_at=MOVED_AT - SECOND)
    too_late = replace(asked, opened_at=MOVED_AT + 1, left_at=MOVED_AT + SECOND)
    assert broken([stays, for_nothing, too_late], MOVES, DRAIN_US) == [
        "2 of 3 connections through web were asked to leave though it did not move"
    ]


def test_a_connection_that_is_asked_to_leave_is_not_asked_again(tmp_path: Path) -> None:
    report = tmp_path / "sitting.json"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        assert await reader.read() == b""
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = Target("web", "shop", "127.0.0.1", port)
        await sit([target], 100 * MILLISECOND, report, SystemClock())
        server.close()

    asyncio.run(run())
    over, seats = read(report)
    assert over
    assert {each.broken_at for each in seats} == {None}
    assert all(each.left_at == each.answered_at for each in seats if each.answers)


def test_what_becomes_of_connections_is_written_when_they_are_open_and_at_the_end(
    tmp_path: Path,
) -> None:
    report = tmp_path / "sitting.json"
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        number = served = served + 1
        assert read(report)[0] is False
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        if number == 1:
            writer.close()
            return
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = Target("web", "shop", "127.0.0.1", port)
        await sit([target], 300 * MILLISECOND, report, SystemClock())
        server.close()

    assert read(report) == (False, [])
    asyncio.run(run())
    over, seats = read(report)
    assert over
    assert len(seats) == SEATS_EACH + 1  # another for the one that broke
    assert [each.why for each in seats if each.broken_at is not None] == ["closed by the other end"]
    assert all(each.answers >= 2 for each in seats if each.broken_at is None)
