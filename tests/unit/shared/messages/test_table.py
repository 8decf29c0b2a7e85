"""The table is whole: every message has its row, every subject its one meaning."""

from typing import get_args, get_type_hints

import pytest

from shared.bus.wire import matches
from shared.messages.table import BY_MESSAGE, BY_TYPE, TABLE, Message, Row, subject_of
from tests.golden.samples import sample

every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.type)


def test_every_message_has_one_row() -> None:
    assert set(BY_MESSAGE) == set(get_args(Message))
    assert len(TABLE) == len(BY_MESSAGE) == len(BY_TYPE)


@every_row
def test_a_type_ends_in_its_version(row: Row) -> None:
    *words, version = row.type.split(".")
    assert words
    assert version[0] == "v"
    assert version[1:].isdigit()
    assert row.type == row.type.lower()


@every_row
def test_the_fields_of_a_subject_exist(row: Row) -> None:
    for name in row.fields:
        if name == "to":
            continue
        kind: type = row.message
        for part in name.split("."):
            kind = get_type_hints(kind)[part]
        assert issubclass(kind, str)


@every_row
def test_a_message_s_subject_matches_its_row_s_pattern(row: Row) -> None:
    subject = subject_of(sample(row), to="node-a")
    assert "{" not in row.pattern
    assert subject == row.pattern == "" or matches(row.pattern, subject)


def test_subjects_of_different_kinds_do_not_meet() -> None:
    patterns = {row.pattern for row in TABLE if row.subject}
    for one in patterns:
        for other in patterns - {one}:
            assert not matches(one, other.replace("*", "x")), (one, other)


def test_who_shares_a_subject_is_the_same_speaker_and_keeps_alike() -> None:
    for row in TABLE:
        sharing = [other for other in TABLE if other.pattern == row.pattern and row.subject]
        assert len({(other.said_by, other.kept) for other in sharing}) <= 1


def test_only_what_has_a_subject_is_kept() -> None:
    assert all(row.subject for row in TABLE if row.kept)


def test_the_subject_of_a_command_is_its_node_s() -> None:
    (command,) = (row for row in TABLE if row.type == "command.failover.v1")
    assert subject_of(sample(command), to="node-b") == "command.node-b"
    assert command.pattern == "command.*"


def test_the_pattern_of_a_field_of_a_field_is_one_token() -> None:
    (opened,) = (row for row in TABLE if row.type == "incident.opened.v1")
    assert opened.subject == "incident.{incident.id}"
    assert opened.pattern == "incident.*"
