"""One incident of the real cluster is one trace, and every service that had a part is in it."""

import itertools

import pytest

from shared.trace import trace_id_of
from tests.e2e.drilling import said, until_ready_for_drills
from tests.e2e.running import RunningSandbox, wait_until
from tests.fakes.otlp_receiver import OtlpReceiver, ReceivedSpan

pytestmark = pytest.mark.sandbox

PHASES = ["detect", "decide", "switch", "verify"]


def test_a_killed_instance_is_one_trace_of_all_services_whose_phases_add_up(
    sandbox: RunningSandbox, collector: OtlpReceiver
) -> None:
    until_ready_for_drills(sandbox)
    known = incidents_of_shop(sandbox)
    sandbox.control.send("node-b/shop", "KILL")
    wait_until(lambda: bool(incidents_of_shop(sandbox) - known), "an incident is opened")
    (incident,) = incidents_of_shop(sandbox) - known
    trace_id = trace_id_of(sandbox.folder.name, incident)
    wait_until(lambda: root_of(collector, trace_id) is not None, "its root span arrives")
    root = root_of(collector, trace_id)
    assert root is not None
    wait_until(
        lambda: (
            {"equipoise-health_probe", "equipoise-traffic_switcher"}
            <= {str(span.resource["service.name"]) for span in collector.trace(trace_id)}
        ),
        "the spans of the other services arrive",
    )
    spans = collector.trace(trace_id)

    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), "no span is recorded twice"
    assert all(span.parent_id in by_id for span in spans if span.span_id != root.span_id)

    below = children_of(root, spans)
    phases = [span for span in below if span.name in PHASES][: len(PHASES)]
    assert [span.name for span in phases] == PHASES
    check_sum(root, phases)
    detect, _, switch, verify = phases
    check_hops(spans, phases)
    probes = children_of(detect, spans)
    assert probes, "whoever gave the evidence shows its probe"
    assert "equipoise-health_probe" in {span.resource["service.name"] for span in probes}
    installs = [span for span in children_of(switch, spans) if span.kind == "consumer"]
    for found in (installs, children_of(verify, spans)):
        members = {span.resource["service.instance.id"] for span in found}
        assert members == {"node-a", "node-b"}, "there is a span for every node"
    (installed, *_) = installs
    assert children_of(installed, spans), "a node's switch has a span for every rule"


def incidents_of_shop(running: RunningSandbox) -> set[str]:
    """Return the names of those of the instance, open and closed."""
    found = said(running, "incidents")["incidents"]
    return {str(x["id"]) for x in found if (x["service"], x["node"]) == ("shop", "node-b")}


def root_of(collector: OtlpReceiver, trace_id: str) -> ReceivedSpan | None:
    """Return a trace's span without a parent, once it is there."""
    return next((span for span in collector.trace(trace_id) if span.parent_id is None), None)


def check_sum(root: ReceivedSpan, phases: list[ReceivedSpan]) -> None:
    """Look whether phases add up to the time until it was handled."""
    for before, after in itertools.pairwise(phases):
        assert before.end_wall_us == after.begin_wall_us, "phases follow one another without gaps"
    assert phases[0].begin_wall_us == root.begin_wall_us
    whole = phases[-1].end_wall_us - root.begin_wall_us
    assert sum(span.duration_us for span in phases) == whole


def check_hops(spans: list[ReceivedSpan], phases: list[ReceivedSpan]) -> None:
    """Look whether the bus's own part in the commands of the switch is there."""
    switch = phases[PHASES.index("switch")]
    sent = {span.span_id: span for span in children_of(switch, spans) if span.kind == "producer"}
    followed = {span_id for span in children_of(switch, spans) for _, span_id in span.links}
    assert followed, "each node's switch follows from what was sent to it"
    assert followed <= set(sent)
    commands = [span for span in spans if span.parent_id in sent]
    assert {span.resource["service.name"] for span in commands} == {"nats"}
    assert {span.name.rpartition(".")[2] for span in commands} == {"node-a", "node-b"}
    assert all(span.attributes["equipoise.receivers"] for span in commands), "somebody heard it"
    begun_at = min(span.begin_wall_us for span in commands)
    assert phases[0].begin_wall_us <= begun_at <= phases[-1].end_wall_us, "while it was handled"


def children_of(parent: ReceivedSpan, spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    """Return the spans below one, in the order of their beginning."""
    return [span for span in spans if span.parent_id == parent.span_id]
