"""What was once sent is read as it was meant."""

from typing import Any

import orjson
import pytest

from shared.messages.codec import decode, to_plain
from shared.messages.table import TABLE, Row
from tests.golden.samples import CLUSTER, DIRECTORY, recorded, sample


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.type)
class TestEveryRow:
    def test_it_is_recorded(self, row: Row) -> None:
        assert recorded(row).exists(), "run `make golden`"

    def test_its_record_is_read_as_it_was_meant(self, row: Row) -> None:
        payload = recorded(row).read_bytes()
        message, envelope = decode(payload, cluster=CLUSTER)
        assert type(message) is row.message
        assert envelope.traceparent is not None
        assert contains(to_plain(message), orjson.loads(payload)["data"])

    def test_its_record_is_its_sample(self, row: Row) -> None:
        # A field that was added since is in the sample only.
        data = orjson.loads(recorded(row).read_bytes())["data"]
        assert contains(to_plain(sample(row)), data)


def test_no_record_is_of_a_type_that_left_the_table() -> None:
    names = {path.name for path in DIRECTORY.glob("*.json")}
    assert names == {recorded(row).name for row in TABLE}


def test_a_lost_field_is_noticed() -> None:
    assert contains({"a": [{"b": 1, "new": 2}]}, {"a": [{"b": 1}]})
    assert not contains({"a": [{"b": 1}]}, {"a": [{"b": 1, "lost": 2}]})
    assert not contains({"a": [1]}, {"a": [1, 2]})


def contains(whole: Any, part: Any) -> bool:
    """Whether all that the part says is in the whole."""
    match part:
        case dict():
            return isinstance(whole, dict) and all(
                key in whole and contains(whole[key], value) for key, value in part.items()
            )
        case list():
            return (
                isinstance(whole, list)
                and len(whole) == len(part)
                and all(contains(*pair) for pair in zip(whole, part, strict=True))
            )
        case _:
            return bool(whole == part)
