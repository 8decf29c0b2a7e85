"""Three nodes: what is lost goes to the right one, nothing else moves, and all comes home.

One sandbox for all, in this order.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sandbox.network import Wire
from shared.instant import SECOND
from shared.libnftables import NAME, OF_ENVIRONMENT, find
from tests.e2e.drilling import assert_share, records_of, said, until_ready_for_drills
from tests.e2e.holding import (
    HOME,
    WITHIN_US,
    alarms,
    holders,
    one_holder_at_most,
    run,
    status,
    until,
    until_home,
)
from tests.e2e.running import RunningSandbox, running_sandbox, wait_until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

NODES = ("node-a", "node-b", "node-c")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    line = ("--nodes", "3", "--rate", "300", "--capacities", "300,100", "--drill", "error-instance")
    with running_sandbox(*line) as running:
        wait_until(lambda: "goes on running" in running.story(), "the drill is over", WITHIN_US)
        yield running


@pytest.fixture(autouse=True)
def as_originally_set(sandbox: RunningSandbox) -> Iterator[None]:
    until_home(sandbox)
    yield
    until_home(sandbox)
    until_ready_for_drills(sandbox)
    assert said(sandbox, "rules")["differs"] is False


def test_three_nodes_keep_weights_of_3_to_1_before_during_and_after_a_demonstration(
    sandbox: RunningSandbox,
) -> None:
    original = {"node-a": 3 / 5, "node-b": 1 / 5, "node-c": 1 / 5}
    assert_story(sandbox.story())
    assert_share(records_of(sandbox, 2 * SECOND), "shop", original)
    sandbox.control.hold("node-b/shop")
    sandbox.control.send("node-b/shop", "KILL")
    wait_until(
        lambda: said(sandbox, "incidents")["incidents"][0]["state"] == "handled",
        "the incident is handled",
    )
    during = records_of(sandbox, SECOND)
    assert_share(during, "shop", {"node-a": 3 / 4, "node-b": 0, "node-c": 1 / 4})
    sandbox.control.release("node-b/shop")
    until_ready_for_drills(sandbox)
    assert_share(records_of(sandbox, 2 * SECOND), "shop", original)


def assert_story(story: str) -> None:
    """Look for everything that a person is told."""
    for part in (
        "▶ shop on node-c answers 500 to everything",  # what was done to it
        "▲ shop/node-c: home → ",  # what happened, a line each
        "clients since the fault:",  # what clients felt
        "✓ error-instance: ",
        "Incident ",  # the explanation
        "Restored  exactly",
        " status -w",  # what to try
        "Ctrl-C ends it",
    ):
        assert part in story, story


def test_the_vip_of_a_lost_node_goes_to_the_one_that_holds_fewest_and_nothing_else_moves(
    sandbox: RunningSandbox,
) -> None:
    before = term(sandbox, "web")
    with one_holder_at_most(sandbox, NODES):
        sandbox.control.ask("kill", member="node-b")
        until(lambda: holders(sandbox) == HOME | {"api": "node-c"}, "node-c takes it")
        sandbox.control.ask("revive", member="node-b")
        until_home(sandbox)
    assert term(sandbox, "web") == before


def test_a_node_that_holds_two_and_loses_its_clients_gives_both_up(
    sandbox: RunningSandbox,
) -> None:
    with one_holder_at_most(sandbox, NODES):
        sandbox.control.ask("kill", member="node-b")
        until(lambda: holders(sandbox).get("api") == "node-c", "node-c takes one")
        plug(sandbox, "node-a", up=False)
        until(lambda: holders(sandbox).get("web") == "node-c", "node-c takes the other")
        plug(sandbox, "node-c", up=False)
        until(lambda: not holders(sandbox), "nobody can hold any")
        assert "has no carrier" in alarms(sandbox)
        plug(sandbox, "node-a", up=True)
        until(lambda: holders(sandbox) == dict.fromkeys(HOME, "node-a"), "node-a takes both")
        plug(sandbox, "node-c", up=True)
        sandbox.control.ask("revive", member="node-b")
        until_home(sandbox)


def test_without_libnftables_a_node_holds_nothing_says_so_and_balances_on(
    sandbox: RunningSandbox,
) -> None:
    switcher = "node-b/traffic_switcher"
    places = libraries()
    with one_holder_at_most(sandbox, NODES):
        for path in places:
            run(sandbox, "node-b", "mount", "--bind", "/dev/null", path)
        sandbox.control.send(switcher, "KILL")
        sandbox.control.until_ready(WITHIN_US, [switcher])
        until(lambda: holders(sandbox).get("api") == "node-c", "another takes its VIP")
        until(lambda: NAME in alarms(sandbox), "it is said what is missing")
        assert NAME in sandbox.log(switcher)
        sandbox.control.hold("node-a/shop")
        sandbox.control.send("node-a/shop", "KILL")
        until(lambda: is_switched(sandbox, "node-b", "shop", "node-a"), "its rules are switched")
        sandbox.control.release("node-a/shop")
        for path in places:
            run(sandbox, "node-b", "umount", path)
        until_home(sandbox)  # it need not be started again
    until(lambda: NAME not in alarms(sandbox), "it is over")


def term(running: RunningSandbox, name: str) -> object:
    return next(vip["term"] for vip in status(running)["vips"] if vip["name"] == name)


def plug(running: RunningSandbox, node: str, *, up: bool) -> None:
    running.control.ask("link", member=node, up=up, wires=[Wire.CLIENTS])


def libraries() -> list[str]:
    """Return where the machine has the library of the guard."""
    find({})
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    found = {path for path in mapped if Path(path).name.startswith("libnftables.so")}
    own = OF_ENVIRONMENT / NAME
    return sorted(found | ({str(own.resolve())} if own.exists() else set()))


def is_switched(running: RunningSandbox, node: str, service: str, target: str) -> bool:
    """Whether a node's load balancer has something else than the original settings."""
    return any(
        row["installed"] not in (None, row["original"])
        for row in said(running, "rules")["rules"]
        if (row["node"], row["service"], row["target"]) == (node, service, target)
    )
