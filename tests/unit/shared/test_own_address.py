"""Whether a member's address is still on its machine."""

import asyncio
from collections.abc import Iterator

import pytest

from shared.clock import Clock
from shared.errors import MachineError
from shared.instant import Duration, Instant
from shared.own_address import GONE_FOR_US, LOOK_EVERY_US, has, table_for, until_vanished

MINE = "10.79.0.11"
TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.79.0.0/24 2 0 2
        |-- 10.79.0.0
           /24 link UNICAST
        |-- 10.79.0.11
           /32 host LOCAL
        |-- 10.79.0.111
           /32 host LOCAL
        |-- 10.79.0.255
           /32 link BROADCAST
"""
WITHOUT = TRIE.replace("10.79.0.11\n", "10.79.0.13\n")
SIX = "fd000000000000000000000000000002 04 40 00 82     eth0\n"


class Steps(Clock):
    """A clock whose sleeps take no time."""

    def __init__(self) -> None:
        self.at = 0

    def now(self) -> Instant:
        return self.at

    def wall(self) -> int:
        return self.at

    async def sleep(self, length_us: Duration) -> None:
        self.at += length_us


def test_an_address_is_found_whole_and_as_our_own() -> None:
    assert has(MINE, TRIE)
    assert not has(MINE, WITHOUT)
    assert not has("10.79.0.1", TRIE)
    assert not has("10.79.0.255", TRIE)
    assert has("fd00::2", SIX)
    assert not has("fd00::3", SIX)


def test_the_kernel_s_table_has_the_loopback() -> None:
    assert has("127.0.0.1", table_for("127.0.0.1"))
    assert not has("203.0.113.9", table_for("203.0.113.9"))


def watched(tables: Iterator[str]) -> Steps:
    clock = Steps()
    asyncio.run(until_vanished("node-a", MINE, clock, lambda _: next(tables)))
    return clock


def test_an_address_that_is_gone_for_long_ends_the_service() -> None:
    misses = GONE_FOR_US // LOOK_EVERY_US
    with pytest.raises(MachineError, match=r"10\.79\.0\.11 of node-a has gone"):
        watched(iter([TRIE, *[WITHOUT] * misses]))


def test_one_that_comes_back_soon_or_never_was_ends_nothing() -> None:
    misses = GONE_FOR_US // LOOK_EVERY_US
    short = [TRIE, *[WITHOUT] * (misses - 1)]
    for tables in ([*short, *short, TRIE], [WITHOUT] * 10, [""] * 10):
        with pytest.raises(RuntimeError):  # the tables are at their end
            watched(iter(tables))
