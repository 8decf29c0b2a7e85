"""From what is shown to what is wanted, and in which words."""

from dataclasses import replace

from services.traffic_switcher.core.haproxy_words import exchanges
from services.traffic_switcher.core.installed import Gate, Instance
from services.traffic_switcher.core.steps import steps
from shared.cluster import Mode
from shared.rules import Admission, Rule
from tests.unit.traffic_switcher.play import cluster, service

OUT, SERVING = Rule(Admission.OUT, 0), Rule(Admission.SERVING, 100)


def words_of_closing(mode: Mode) -> tuple[str, ...]:
    """Return what HAProxy is told when node-b has drained and is to be out."""
    target = ("shop", "node-b")
    shown = {target: Instance(gate=Gate.DRAINING, weight=100)}
    found = steps(
        cluster(replace(service("shop"), mode=mode)),
        {"shop": {"node-a": SERVING, "node-b": OUT}},
        shown,
        drained=frozenset({target}),
    )
    (exchange,) = exchanges(found)
    return exchange.changes


def test_sessions_are_ended_once_where_maintenance_already_ends_them() -> None:
    assert words_of_closing(Mode.BALANCE) == ("set server shop/node-b state maint",)


def test_a_mirrors_sessions_are_ended_because_maintenance_leaves_them() -> None:
    assert words_of_closing(Mode.MIRROR) == (
        "set server shop/node-b state maint",
        "shutdown sessions server shop/node-b",
    )
