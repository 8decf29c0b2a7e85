"""What HAProxy says for itself, held against the original settings."""

import asyncio
from pathlib import Path

import pytest

from services.sandbox.drills import balancers
from services.sandbox.errors import DrillError
from shared.rules import Admission, Rule

HEAD = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "
    "srv_iweight srv_time_since_last_change\n"
)
ORIGINAL = {"shop": {"node-a": 100, "node-b": 100}, "orders": {"node-a": 100, "node-b": 0}}


def row(service: str, node: str, *, state: int = 2, admin: int = 0, weight: int = 100) -> str:
    return f"3 {service} 1 {node} 10.77.0.11 {state} {admin} {weight} 1 4\n"


def healthy() -> str:
    rows = [row("shop", "node-a"), row("shop", "node-b"), row("shop", "_nobody", weight=1)]
    return HEAD + "".join([*rows, row("orders", "node-a"), row("orders", "node-b", admin=5)])


def test_what_is_as_originally_set_has_no_differences() -> None:
    assert balancers.parse(healthy()) == ORIGINAL
    assert balancers.differences({"node-a": balancers.parse(healthy())}, ORIGINAL) == []


@pytest.mark.parametrize("admin", [0x01, 0x02, 0x08, 0x10, 0x20, 0x28])
def test_maintenance_and_draining_are_weight_0(admin: int) -> None:
    seen = balancers.parse(HEAD + row("shop", "node-b", admin=admin))
    assert seen == {"shop": {"node-b": 0}}


def test_every_difference_is_told_with_where_and_what() -> None:
    text = HEAD + row("shop", "node-a", weight=37) + row("shop", "node-b", state=0)
    text += row("orders", "node-a") + row("orders", "node-b")
    seen = {"node-a": balancers.parse(healthy()), "node-b": balancers.parse(text)}
    assert balancers.differences(seen, ORIGINAL) == [
        "HAProxy on node-b gives orders/node-b weight 100; it must be 0",
        "HAProxy on node-b gives shop/node-a weight 37; it must be 100",
        "HAProxy on node-b gives shop/node-b nothing, it holds it for dead; it must be 100",
    ]


def test_an_instance_that_haproxy_does_not_know_is_a_difference() -> None:
    seen = {"node-a": balancers.parse(HEAD + row("shop", "node-a"))}
    assert len(balancers.differences(seen, {"shop": {"node-a": 100, "node-b": 100}})) == 1


def test_rules_mean_weights() -> None:
    rules = {"orders": {"node-a": Rule(Admission.SERVING, 99), "node-b": Rule(Admission.OUT, 0)}}
    assert balancers.wanted(rules) == {"orders": {"node-a": 99, "node-b": 0}}


@pytest.mark.parametrize("answer", ["", "Permission denied\n", "1\nno names\n"])
def test_nonsense_is_refused(answer: str) -> None:
    with pytest.raises(DrillError, match="nonsense"):
        balancers.parse(answer)


def test_one_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DrillError, match=r"haproxy\.sock does not answer"):
        asyncio.run(balancers.read(tmp_path / "haproxy.sock"))
