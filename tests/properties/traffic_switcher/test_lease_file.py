"""No truncation and no flipped bit of persisted floors passes for floors, and none is lost."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from services.traffic_switcher.adapters.lease_store import COPIES, LeaseStore
from services.traffic_switcher.core.leases.lease_file import SIZE_STEP, from_bytes, to_bytes
from services.traffic_switcher.core.leases.state import Memory
from shared.errors import StateError

MEMORY = Memory(epoch=3, floors={"web": (3, 7), "api": (2, 1)})
CONTENT = to_bytes(MEMORY, cluster="test", node="node-a", generation=5)
number = st.integers(1, 2**53 - 1)
memory = st.builds(
    Memory,
    epoch=number,
    floors=st.dictionaries(st.text("abc-", min_size=1, max_size=20), st.tuples(number, number)),
)


@contextmanager
def store() -> Iterator[tuple[Path, LeaseStore]]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name), again(Path(name))


def again(directory: Path) -> LeaseStore:
    """Return the store as the next process finds it."""
    return LeaseStore(directory, cluster="test", node="node-a")


@given(memory, st.integers(1, 1_000))
def test_what_was_written_is_read(written: Memory, generation: int) -> None:
    content = to_bytes(written, cluster="test", node="node-a", generation=generation)
    assert from_bytes(content, cluster="test", node="node-a") == (generation, written)


def test_every_truncation_is_noticed() -> None:
    assert len(CONTENT) == SIZE_STEP
    for length in range(len(CONTENT)):
        with pytest.raises(StateError):
            from_bytes(CONTENT[:length], cluster="test", node="node-a")


def test_every_flipped_bit_is_noticed() -> None:
    for position in range(len(CONTENT.rstrip()) + 1):
        for bit in range(8):
            flipped = bytearray(CONTENT)
            flipped[position] ^= 1 << bit
            with pytest.raises(StateError):
                from_bytes(bytes(flipped), cluster="test", node="node-a")


@given(st.binary(max_size=500))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(StateError):
        from_bytes(content, cluster="test", node="node-a")


def test_anothers_floors_are_refused() -> None:
    with pytest.raises(StateError, match="belongs to node-a of cluster test, not to node-b"):
        from_bytes(CONTENT, cluster="test", node="node-b")


@given(st.lists(memory, min_size=1, max_size=5))
def test_the_newest_is_remembered(written: list[Memory]) -> None:
    with store() as (directory, first):
        assert first.remembered() == (None, ())
        for each in written:
            first.write(each)
        assert again(directory).remembered() == (written[-1], ())


@pytest.mark.parametrize("torn", COPIES)
def test_who_finds_one_copy_torn_remembers_nothing_for_it_may_be_the_newer(torn: str) -> None:
    with store() as (directory, first):
        first.write(Memory(epoch=1, floors={"web": (1, 1)}))
        first.write(MEMORY)
        (directory / torn).write_bytes(CONTENT[:100])
        found, complaints = again(directory).remembered()
        assert found is None
        assert torn in complaints[0]


def test_a_whole_memory_is_there_again_after_the_torn_copy_was_written_over() -> None:
    with store() as (directory, first):
        first.write(Memory(epoch=1, floors={"web": (1, 1)}))
        (directory / COPIES[1]).write_bytes(b"torn")
        joined = again(directory)
        assert joined.remembered()[0] is None
        joined.write(MEMORY)
        assert again(directory).remembered() == (MEMORY, ())


def test_a_directory_that_cannot_be_written_is_said() -> None:
    with store() as (directory, first):
        (directory / COPIES[0]).mkdir()
        with pytest.raises(StateError, match="cannot be written"):
            first.write(MEMORY)
