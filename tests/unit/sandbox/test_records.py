"""Records survive their file; readers follow it; marks say how far the picture is complete."""

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from services.sandbox.records import (
    HEADER_SIZE,
    LAYOUT,
    Method,
    Names,
    Record,
    RecordReader,
    RecordWriter,
    Result,
    decode,
    encode,
)
from shared.errors import StateError

NAMES = Names(("node-a", "node-b"), ("shop", "orders"))
WITH_VIPS = Names(("node-a", "node-b"), ("shop", "orders"), ("web", "api"))


def test_where_there_are_virtual_ips_records_name_them() -> None:
    assert Names.decode(WITH_VIPS.encode()) == WITH_VIPS
    asked = record(7)._replace(place="api")
    assert list(decode(WITH_VIPS, encode(WITH_VIPS, asked))) == [asked]
    assert (NAMES.places, WITH_VIPS.places) == (("node-a", "node-b"), ("web", "api"))


def record(scheduled_at: int, result: Result = Result.OK, *, unsafe: bool = False) -> Record:
    return Record(
        scheduled_at=scheduled_at,
        latency_us=900,
        late_us=10,
        method=Method.POST if unsafe else Method.GET,
        place="node-b",
        service="shop",
        result=result,
        answered_by="node-a" if result is Result.OK else None,
        kept=unsafe,
        retried=not unsafe,
    )


RECORDS = st.builds(
    Record,
    scheduled_at=st.integers(0, 2**62),
    latency_us=st.integers(0, 2**32 - 1),
    late_us=st.integers(0, 2**32 - 1),
    method=st.sampled_from([Method.GET, Method.POST]),
    place=st.sampled_from(NAMES.nodes),
    service=st.sampled_from(NAMES.services),
    result=st.sampled_from(list(Result)),
    answered_by=st.sampled_from([*NAMES.nodes, None]),
    kept=st.booleans(),
    retried=st.booleans(),
)


@given(st.lists(RECORDS))
def test_what_is_written_is_read(records: list[Record]) -> None:
    content = b"".join(encode(NAMES, one) for one in records)
    assert list(decode(NAMES, content)) == records


def test_a_reader_follows_what_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "requests.bin"
    reader = RecordReader(path)
    assert reader.read() == []
    writer = RecordWriter(path, NAMES)
    writer.add(record(1))
    assert reader.read() == []
    writer.flush(5)
    assert reader.read() == [record(1)]
    assert reader.complete_until == 5
    writer.add(record(6))
    writer.add(record(7, Result.RESET, unsafe=True))
    writer.flush(8)
    assert reader.read(lambda one: not one.ok) == [record(7, Result.RESET, unsafe=True)]
    assert reader.complete_until == 8
    assert reader.read() == []


def test_a_client_that_starts_again_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "requests.bin"
    for instant in (1, 2):
        writer = RecordWriter(path, NAMES)
        writer.add(record(instant))
        writer.flush(instant)
        writer.close()
    assert RecordReader(path).read() == [record(1), record(2)]


def test_a_full_file_is_put_aside_and_nothing_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "requests.bin"
    writer = RecordWriter(path, NAMES, size_max=HEADER_SIZE + 4 * LAYOUT.size)
    reader = RecordReader(path)
    seen = []
    for instant in range(20):
        writer.add(record(instant))
        writer.flush(instant)
        seen += reader.read()
    assert seen == [record(instant) for instant in range(20)]
    assert path.with_name("requests.bin.old").exists()


def test_a_record_torn_by_a_kill_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "requests.bin"
    whole = NAMES.encode() + encode(NAMES, record(1))
    path.write_bytes(whole[:-5])
    reader = RecordReader(path)
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(whole[-5:])
    assert reader.read() == [record(1)]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requests.bin"
    path.write_bytes(os.urandom(HEADER_SIZE + 64))
    with pytest.raises(StateError, match="no records of a sandbox's client"):
        RecordReader(path).read()
