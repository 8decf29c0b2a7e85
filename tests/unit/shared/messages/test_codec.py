"""Whatever we send is read as it was meant; whatever else arrives is a `MessageError`."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from shared.errors import MessageError
from shared.messages.codec import (
    ITEMS_MAX,
    NUMBER_MAX,
    SIZE_MAX,
    TEXT_MAX,
    Envelope,
    decode,
    encode,
)
from shared.messages.table import PREFIX, TABLE, Message, Row
from tests.golden.samples import CLUSTER, event, sample
from tests.unit.shared.messages.strategies import json, values

ENVELOPE = Envelope(id="1", source="/pair/a/test", cluster=CLUSTER, time="2026-11-22T12:00:00Z")
BY_NAME = {row.type: row for row in TABLE}
every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.type)


def read_or_refuse(payload: bytes) -> Message | None:
    """Read a payload; None when it was refused as it must be. Anything else fails the test."""
    try:
        return decode(payload, cluster=CLUSTER)[0]
    except MessageError as error:
        refused = str(error)
    assert len(refused) < TEXT_MAX
    return None


def refusal(payload: bytes) -> str:
    with pytest.raises(MessageError) as caught:
        decode(payload, cluster=CLUSTER)
    return str(caught.value)


def changed(row: Row, **parts: Any) -> bytes:
    """Return a row's sample with parts of its data changed (`...` takes one away)."""
    plain = orjson.loads(event(row))
    for name, value in parts.items():
        if value is ...:
            del plain["data"][name]
        else:
            plain["data"][name] = value
    return orjson.dumps(plain)


class TestRoundTrip:
    @every_row
    def test_every_message_is_read_as_it_was_meant(self, row: Row) -> None:
        @settings(max_examples=15, deadline=None)
        @given(values(row.message), values(Envelope))
        def check(message: Message, envelope: Envelope) -> None:
            payload = encode(message, envelope, "a.b")
            assert decode(payload, cluster=envelope.cluster) == (message, envelope)

        check()

    @every_row
    def test_a_message_is_a_cloud_event(self, row: Row) -> None:
        plain = orjson.loads(encode(sample(row), ENVELOPE, "a.b"))
        assert plain["specversion"] == "1.0"
        assert plain["type"] == PREFIX + row.type
        assert plain["source"] == "/pair/a/test"
        assert plain["subject"] == "a.b"
        assert plain["datacontenttype"] == "application/json"
        assert "traceparent" not in plain
        # CloudEvents: attribute names are lower-case letters and digits.
        assert all(name.isalnum() and name.islower() for name in plain)

    @every_row
    def test_unknown_fields_are_ignored(self, row: Row) -> None:
        plain = orjson.loads(event(row))
        _everywhere(plain, "from_the_future")
        assert decode(orjson.dumps(plain), cluster=CLUSTER)[0] == sample(row)


class TestAnythingElse:
    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes_are_refused(self, payload: bytes) -> None:
        assert read_or_refuse(payload) is None

    @settings(max_examples=200, deadline=None)
    @given(json)
    def test_any_json_is_refused(self, value: Any) -> None:
        assert read_or_refuse(_dumps(value)) is None

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(TABLE), json)
    def test_any_data_is_read_or_refused(self, row: Row, value: Any) -> None:
        plain = orjson.loads(event(row))
        plain["data"] = value
        read_or_refuse(_dumps(plain))

    @settings(max_examples=400, deadline=None)
    @given(st.data(), st.sampled_from(TABLE), json)
    def test_a_message_with_one_part_replaced_is_read_or_refused(
        self, draw: st.DataObject, row: Row, value: Any
    ) -> None:
        plain = orjson.loads(event(row))
        places = list(_places(plain))
        holder, key = draw.draw(st.sampled_from(places))
        if draw.draw(st.booleans()):
            holder[key] = value
        else:
            del holder[key]
        read_or_refuse(_dumps(plain))

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(TABLE), st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
    def test_a_message_with_some_bytes_replaced_is_read_or_refused(
        self, row: Row, at: int, noise: bytes
    ) -> None:
        payload = event(row)
        at %= len(payload)
        read_or_refuse(payload[:at] + noise + payload[at + len(noise) :])
        read_or_refuse(payload[:at])

    def test_deep_nesting_is_refused(self) -> None:
        for depth in (500, 100_000):
            assert "JSON" in refusal(b"[" * depth + b"]" * (depth - 1))
            nested = b'{"specversion":"1.0","data":' + b"[" * depth + b"]" * depth + b"}"
            assert read_or_refuse(nested) is None


class TestLimits:
    def test_a_message_beyond_its_size_is_not_even_parsed(self) -> None:
        assert f"at most {SIZE_MAX}" in refusal(b"x" * (SIZE_MAX + 1))

    def test_a_text_beyond_its_length_is_refused(self) -> None:
        row = BY_NAME["node.changed.v1"]
        assert read_or_refuse(changed(row, reason="x" * TEXT_MAX)) is not None
        assert refusal(changed(row, reason="x" * (TEXT_MAX + 1))).startswith("data.reason must be")

    def test_a_list_beyond_its_length_is_refused(self) -> None:
        row = BY_NAME["situation.v1"]
        assert read_or_refuse(changed(row, incidents=["i"] * ITEMS_MAX)) is not None
        refused = refusal(changed(row, incidents=["i"] * (ITEMS_MAX + 1)))
        assert refused.startswith("data.incidents must be a list of at most")

    def test_a_mapping_beyond_its_size_is_refused(self) -> None:
        row = BY_NAME["heartbeat.v1"]
        many = {str(number): 1 for number in range(ITEMS_MAX + 1)}
        assert refusal(changed(row, hears_us=many)).startswith("data.hears_us must be an object of")

    def test_a_key_beyond_its_length_is_refused(self) -> None:
        row = BY_NAME["heartbeat.v1"]
        refused = refusal(changed(row, hears_us={"k" * (TEXT_MAX + 1): 1}))
        assert refused.startswith("data.hears_us.* must be a text")

    @pytest.mark.parametrize("number", [NUMBER_MAX, -NUMBER_MAX])
    def test_a_number_at_its_limit_is_read(self, number: int) -> None:
        assert read_or_refuse(changed(BY_NAME["heartbeat.v1"], sequence=number)) is not None

    @pytest.mark.parametrize("value", [NUMBER_MAX + 1, 10**30, 1.0, 1.5, True, "1", None, [1]])
    def test_what_is_no_whole_number_is_refused(self, value: object) -> None:
        plain = orjson.loads(event(BY_NAME["heartbeat.v1"]))
        plain["data"]["sequence"] = "HERE"
        payload = orjson.dumps(plain).replace(b'"HERE"', _number(value))
        assert refusal(payload).startswith("data.sequence must be a whole number")


class TestRefusalsSayWhere:
    def test_another_cluster_s_message_is_refused(self) -> None:
        with pytest.raises(MessageError, match="of cluster 'pair'; this one is 'other'"):
            decode(event(TABLE[0]), cluster="other")

    def test_an_unknown_type_is_refused(self) -> None:
        plain = {**orjson.loads(event(TABLE[0])), "type": "io.equipoise.heartbeat.v9"}
        assert refusal(orjson.dumps(plain)) == "unknown type 'io.equipoise.heartbeat.v9'"

    @pytest.mark.parametrize("kind", [None, 7, [], {}])
    def test_a_type_that_is_no_text_is_refused(self, kind: object) -> None:
        plain = {**orjson.loads(event(TABLE[0])), "type": kind}
        assert refusal(orjson.dumps(plain)).startswith("unknown type")

    @pytest.mark.parametrize("version", ["0.3", 1.0, None])
    def test_another_specification_is_refused(self, version: object) -> None:
        plain = {**orjson.loads(event(TABLE[0])), "specversion": version}
        assert "specversion must be '1.0'" in refusal(orjson.dumps(plain))

    @pytest.mark.parametrize("name", ["id", "source", "cluster", "time"])
    def test_a_missing_attribute_is_named(self, name: str) -> None:
        plain = orjson.loads(event(TABLE[0]))
        del plain[name]
        assert refusal(orjson.dumps(plain)) == f"envelope.{name} is missing"

    def test_a_missing_field_is_named(self) -> None:
        row = BY_NAME["node.changed.v1"]
        assert refusal(changed(row, reason=...)) == "data.reason is missing"

    def test_a_missing_field_with_a_default_is_not_missed(self) -> None:
        row = BY_NAME["heartbeat.v1"]
        assert read_or_refuse(changed(row, late_us=...)) is not None

    def test_a_wrong_part_is_named_by_its_path(self) -> None:
        row = BY_NAME["command.failover.v1"]
        plain = orjson.loads(event(row))
        plain["data"]["plan"]["services"]["shop"]["node-a"]["admission"] = "perhaps"
        refused = refusal(orjson.dumps(plain))
        assert refused.startswith("data.plan.services.*.*.admission must be one of serving, ")

    def test_rules_that_contradict_themselves_are_refused(self) -> None:
        row = BY_NAME["command.failover.v1"]
        plain = orjson.loads(event(row))
        plain["data"]["plan"]["services"]["shop"]["node-a"]["weight"] = 101
        assert "contradicts itself" in refusal(orjson.dumps(plain))


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS) if _fits(value) else b""


def _fits(value: Any) -> bool:
    """Whether orjson can write it: it has no whole numbers beyond 64 bits."""
    if isinstance(value, dict):
        return all(_fits(item) for item in value.values())
    if isinstance(value, list):
        return all(_fits(item) for item in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def _number(value: object) -> bytes:
    return str(value).encode() if type(value) is int else orjson.dumps(value)


def _places(value: Any) -> Any:
    """Yield every place of a JSON value as its holder and the key in it."""
    if isinstance(value, dict):
        for key in list(value):
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for index in range(len(value)):
            yield value, index
            yield from _places(value[index])


def _everywhere(value: Any, name: str) -> None:
    """Add a field to every object but those whose keys are names."""
    if isinstance(value, dict):
        for item in value.values():
            _everywhere(item, name)
        if not set(value) & {"shop", "node-a"}:
            value[name] = [{"any": "thing"}]
    elif isinstance(value, list):
        for item in value:
            _everywhere(item, name)
