"""Every incident's trace is a whole tree, whichever way the incident went."""

from dataclasses import replace

from services.arbiter.adapters.incident_spans import IncidentSpans
from services.arbiter.core.state import Order
from shared.messages.facts import (
    Incident,
    IncidentClosed,
    IncidentState,
    IncidentUpdated,
    Phase,
)
from shared.messages.table import BY_MESSAGE
from shared.messages.traffic import Failback, Failover
from shared.telemetry import ROOT_KEY, Link
from shared.trace import SpanKind, sent_key
from tests.fakes.recorded_spans import Recording
from tests.golden.samples import sample

OTHERS_NEED = {"detect", "switch", "verify", "failback"}
PHASES = tuple(Phase(name=name, duration_us=10) for name in ("detect", "decide", "switch"))
HANDLED = (*PHASES, Phase(name="verify", duration_us=10))
BEGAN = 1_000


def incident(**changes: object) -> Incident:
    closed = sample(BY_MESSAGE[IncidentClosed])
    assert isinstance(closed, IncidentClosed)
    blank = replace(
        closed.incident, began_wall_us=BEGAN, phases=HANDLED, recovery=(), merged_into=""
    )
    return replace(blank, **changes)  # type: ignore[arg-type]


def arbiter(recording: Recording, since_wall_us: int = 0) -> IncidentSpans:
    return IncidentSpans(recording, "pair", since_wall_us)


def over(**changes: object) -> IncidentClosed:
    return IncidentClosed(
        incident=incident(state=IncidentState.CLOSED, closed_wall_us=5_000, **changes)
    )


def handled() -> IncidentUpdated:
    return IncidentUpdated(incident=incident(state=IncidentState.HANDLED))


def test_phases_follow_one_another_and_are_drawn_once() -> None:
    recording = Recording()
    spans = arbiter(recording)
    for message in (handled(), handled(), over(recovery=(Phase(name="ramp", duration_us=99),))):
        spans.hear(message)
    found = recording.whole()
    phases = [found[phase.name] for phase in HANDLED]
    assert [(span.begin, span.end) for span in phases] == [
        (BEGAN + 10 * number, BEGAN + 10 * number + 10) for number in range(4)
    ]
    assert found["failback/0/ramp"].parent == "failback"
    assert (found["failback"].begin, found["failback"].end) == (1_040, 1_139)
    assert (found[ROOT_KEY].begin, found[ROOT_KEY].end) == (BEGAN, 5_000)


def test_an_incident_that_ends_before_it_was_handled_is_whole_too() -> None:
    for phases in ((), PHASES[:1], PHASES):
        recording = Recording()
        arbiter(recording).hear(over(phases=phases))
        assert set(recording.whole()) >= OTHERS_NEED


def test_a_new_arbiter_does_not_draw_again_what_the_one_before_it_drew() -> None:
    recording = Recording()
    arbiter(recording).hear(handled())
    successor = arbiter(recording, since_wall_us=BEGAN + 41)
    successor.hear(handled())
    successor.hear(over())
    assert set(recording.whole()) >= OTHERS_NEED


def test_an_incident_that_was_part_of_another_is_linked_with_it_both_ways() -> None:
    recording = Recording()
    spans = arbiter(recording)
    spans.hear(over(id="SIGN", phases=(), merged_into="CAUSE"))
    spans.hear(over(id="CAUSE"))
    assert recording.whole("SIGN")[ROOT_KEY].links == (Link("CAUSE"),)
    assert recording.whole("CAUSE")[ROOT_KEY].links == (Link("SIGN"),)


def test_a_command_is_drawn_when_it_is_sent_and_not_when_it_is_repeated() -> None:
    recording = Recording()
    spans = arbiter(recording)
    failover = sample(BY_MESSAGE[Failover])
    assert isinstance(failover, Failover)
    order = Order(command=failover, to=("node-a", "node-b"))
    spans.sent(order, 7, 9)
    spans.sent(order, 57, 59)
    assert [span.key for span in recording.spans] == [
        sent_key(f"command.{node}", failover.plan.number) for node in order.to
    ]
    (first, _) = recording.spans
    assert (first.parent, first.begin, first.end) == ("switch", 7, 9)
    assert first.kind is SpanKind.PRODUCER
    assert (
        first.attributes.items()
        >= {
            "messaging.system": "nats",
            "messaging.operation.type": "send",
            "messaging.destination.name": "equipoise.pair.command.node-a",
        }.items()
    )


def test_what_brings_load_back_belongs_to_the_way_back() -> None:
    recording = Recording()
    failback = sample(BY_MESSAGE[Failback])
    assert isinstance(failback, Failback)
    arbiter(recording).sent(Order(command=failback, to=("node-a",)), 7, 9)
    assert recording.spans[0].parent == "failback"


def test_a_plan_without_an_incident_is_in_no_trace() -> None:
    recording = Recording()
    failover = sample(BY_MESSAGE[Failover])
    assert isinstance(failover, Failover)
    plain = replace(failover, plan=replace(failover.plan, incident=None))
    arbiter(recording).sent(Order(command=plain, to=("node-a",)), 7, 9)
    assert recording.spans == []
