"""What a heartbeat adds to the trace of a lost node."""

from dataclasses import replace

import pytest

from services.heartbeat.core.silence import SILENT_BEATS, Silence, silence
from shared.messages.facts import IncidentOpened, IncidentUpdated
from tests.fakes.situations import incident
from tests.unit.heartbeat.test_beats import EVERY, Member, member_that_hears_b

LOST = IncidentOpened(incident=replace(incident("LOST01"), service="", node="b"))


def test_a_lost_nodes_trace_shows_since_when_it_was_not_heard() -> None:
    member = member_that_hears_b()
    heard_at = member.state.peers["b"].heard_at
    assert heard_at is not None
    now = heard_at + SILENT_BEATS * EVERY
    assert silence(member.state, LOST, now) == Silence(
        incident="LOST01", node="b", begin_at=heard_at, end_at=now
    )


@pytest.mark.parametrize(
    "message",
    [
        IncidentUpdated(incident=LOST.incident),
        IncidentOpened(incident=replace(LOST.incident, planned=True)),
        IncidentOpened(incident=replace(LOST.incident, node="nobody")),
        IncidentOpened(incident=replace(LOST.incident, node="a")),
    ],
)
def test_other_news_are_none_of_its_business(message: IncidentOpened | IncidentUpdated) -> None:
    member = member_that_hears_b()
    assert silence(member.state, message, member.now + 10 * EVERY) is None


def test_a_node_that_is_heard_was_not_silent() -> None:
    member = member_that_hears_b()
    assert silence(member.state, LOST, member.now + EVERY) is None


def test_who_never_heard_it_says_nothing() -> None:
    member = Member()
    assert silence(member.state, LOST, member.now + 10 * EVERY) is None
