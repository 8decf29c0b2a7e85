"""What both buses share: packing what is said, reading what is heard."""

import pytest
from hypothesis import given, strategies as st

from shared.bus.memory_bus import MemoryBroker
from shared.bus.wire import Wire, matches
from shared.messages.codec import SIZE_MAX
from shared.messages.health import Heartbeat
from shared.messages.table import TABLE, Row
from tests.golden.samples import sample
from tests.integration.bus.said import beat, command, wish
from tests.integration.bus.world import CLUSTER, speaker

tokens = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "subject", "matching"),
        [
            ("heartbeat.a", "heartbeat.a", True),
            ("heartbeat.a", "heartbeat.b", False),
            ("heartbeat.*", "heartbeat.a", True),
            ("heartbeat.*", "heartbeat.a.b", False),
            ("heartbeat.*", "heartbeat", False),
            ("*.*", "heartbeat.a", True),
            ("heartbeat.>", "heartbeat.a.b", True),
            ("heartbeat.>", "heartbeat", False),
            (">", "leader", True),
            ("probe.*.b.*", "probe.a.b.c", True),
            ("probe.*.b.*", "probe.a.c.b", False),
        ],
    )
    def test_they_match_as_nats_has_it(self, pattern: str, subject: str, matching: bool) -> None:  # noqa: FBT001
        assert matches(pattern, subject) is matching

    @given(tokens)
    def test_a_subject_matches_itself_and_everything(self, subject: list[str]) -> None:
        name = ".".join(subject)
        assert matches(name, name)
        assert matches(">", name)
        assert matches(".".join("*" for _ in subject), name)
        assert not matches(name + ".>", name)


class TestWords:
    def test_a_command_is_packed_once_for_all_and_read_by_each(self) -> None:
        wire = Wire(speaker([]))
        first, second = command(1), command(2)
        for message in (first, first, second, first):
            for node in ("node-a", "node-b"):
                parcel = wire.pack(message, to=node)
                received = wire.read(parcel.subject, parcel.payload)
                assert received is not None
                assert received.message == message
                assert received.envelope.id.startswith(f"command.{node}.")

    @pytest.mark.parametrize("row", TABLE, ids=lambda row: row.type)
    def test_every_message_is_read_as_it_was_packed(self, row: Row) -> None:
        wire = Wire(speaker([]))
        parcel = wire.pack(sample(row), to="node-a", answers="operator.pause")
        assert parcel.subject.startswith(f"equipoise.{CLUSTER}.")
        if row.subject:
            received = wire.read(parcel.subject, parcel.payload)
            assert received is not None
            assert received.message == sample(row)
        else:
            assert wire.read_answer(parcel.payload) == sample(row)
            assert wire.read(parcel.subject, parcel.payload) is None  # only ever an answer

    def test_a_payload_beyond_the_limit_is_rejected(self) -> None:
        wire = Wire(speaker([]))
        payload = wire.pack(beat()).payload
        assert wire.read(f"equipoise.{CLUSTER}.heartbeat.a", payload) is not None
        assert wire.read(f"equipoise.{CLUSTER}.heartbeat.a", payload + b" " * SIZE_MAX) is None
        assert wire.rejected == 1

    @given(st.binary(max_size=64), st.text(max_size=20))
    def test_any_bytes_on_any_subject_are_rejected(self, payload: bytes, subject: str) -> None:
        lines: list[str] = []
        wire = Wire(speaker(lines))
        assert wire.read(subject, payload) is None
        assert wire.rejected == len(lines) == 1

    def test_a_name_that_would_break_out_of_its_subject_is_our_mistake(self) -> None:
        wire = Wire(speaker([]))
        for name in ("a.b", "a b", "a\r\nPUB x 0\r\n", "*", ">", "", "é"):
            message = Heartbeat(node=name, boot_id="b", sequence=1, configuration="k")
            if name == "a.b":  # a subject, though another one than meant: refused where it is read
                parcel = wire.pack(message)
                assert wire.read(f"equipoise.{CLUSTER}.heartbeat.a", parcel.payload) is None
                continue
            with pytest.raises(AssertionError, match="not a subject"):
                wire.pack(message)

    def test_a_command_s_repetitions_have_one_id_and_others_have_their_own(self) -> None:
        wire = Wire(speaker([]))
        first, again = wire.pack(command(1), to="a"), wire.pack(command(1), to="a")
        assert first.headers == again.headers == {"Nats-Msg-Id": "command.a.1.1"}
        others = [wire.pack(command(2), to="a"), wire.pack(command(1), to="b")]
        assert [other.headers for other in others] == [
            {"Nats-Msg-Id": "command.a.1.2"},
            {"Nats-Msg-Id": "command.b.1.1"},
        ]
        assert wire.pack(wish()).headers is None


def test_a_memory_broker_keeps_what_the_table_says() -> None:
    wire = Wire(speaker([]))
    broker = MemoryBroker()
    for row in TABLE:
        broker._keep(wire.pack(sample(row), to="node-a", answers="operator.pause"))
    kept = {subject for subject, _ in broker.kept(f"equipoise.{CLUSTER}.>")}
    expected = {
        wire.pack(sample(row), to="node-a").subject for row in TABLE if row.kept and row.subject
    }
    assert kept == expected | {f"equipoise.{CLUSTER}.operator.pause"}
