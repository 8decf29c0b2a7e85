"""The whole cluster, broken on purpose: nothing is lost, everything comes back, and we would know.

Half of these tests are about the drills themselves: a harness that cannot fail proves nothing.
"""

import json
from collections.abc import Iterator

import pytest

from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.balancers import HangBalancer
from services.sandbox.drills.catalogue.drill import Aim, Injected
from services.sandbox.drills.catalogue.instances import Hang, Kill
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.play import Patience
from services.sandbox.drills.scene import Scene
from services.sandbox.records import Record
from services.sandbox.supervisor import Stage
from shared.clock import SystemClock
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND
from tests.e2e.drilling import (
    assert_share,
    played,
    records_of,
    said,
    until_ready_for_drills,
)
from tests.e2e.running import (
    Ran,
    RunningSandbox,
    ordinary_user,
    ran,
    running_sandbox,
    wait_until,
)
from tests.eventually import PATIENCE_US

pytestmark = pytest.mark.sandbox

SHOP_ON_B = Aim(service="shop", node="node-b")
# Those in which a node is lost are in test_node_drills.
OF_PARTS = [
    name
    for name, drill in DRILLS.items()
    if drill.opens_incident and drill.toll is not Toll.TAKEOVER
]
PHASES = ["detect", "decide", "switch", "verify"]
CLOCKS_APART_MS = 1.0  # the time of day and the monotonic clock are read one after the other


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningSandbox]:
    with running_sandbox("--rate", "300") as running:
        until_ready_for_drills(running)
        yield running


@pytest.fixture(scope="module")
def all_drills() -> Ran:
    """Play every drill that leaves all nodes alive once, as a user who is not root."""
    with ordinary_user() as user:
        return ran("--once", "-o", "json", *(f"--drill={name}" for name in OF_PARTS), whom=user)


@pytest.mark.timeout(300)
def test_every_drill_is_survived_without_loss(all_drills: Ran) -> None:
    report = json.loads(all_drills.out)
    found = {play["drill"]: play["findings"] for play in report["drills"] if play["findings"]}
    assert (found, report["findings"]) == ({}, [])
    assert [play["drill"] for play in report["drills"]] == OF_PARTS
    assert all(play["ok"] and play["restored"] for play in report["drills"])
    assert (report["ok"], all_drills.code) == (True, 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", OF_PARTS)
def test_a_drill_tells_what_it_measured(all_drills: Ran, name: Name) -> None:
    (play,) = (x for x in json.loads(all_drills.out)["drills"] if x["drill"] == name)
    assert list(play["phases_ms"]) == PHASES
    assert all(length >= 0 for length in play["phases_ms"].values())
    assert play["sentence"]
    # What Equipoise says of its own time cannot begin before the fault, nor last longer than we
    # waited; a probe on its way when the fault came may have begun a little earlier.
    assert play["first_sign_ms"] > -100
    assert play["switched_ms"] >= play["noticed_ms"] >= play["first_sign_ms"]
    requests = play["requests"]
    assert requests["sent"] == requests["safe_sent"] + requests["unsafe_sent"]
    assert requests["doubled"] == requests["lost"] == 0
    assert requests["safe_failed"] == play["excused"]
    if DRILLS[name].toll is Toll.NOTHING:
        assert requests["safe_failed"] == 0
    assert requests["unsafe_sent"] > 0
    assert play["vip_overlap_ms"] == 0
    assert set(play["vip_dark_ms"]) == {"web", "api"}


def test_without_a_fault_nothing_is_found(cluster: RunningSandbox) -> None:
    cluster.records.read()
    records = cluster.recorded_until(SystemClock().now() + 2 * SECOND)
    assert [record for record in records if not record.ok] == []
    assert said(cluster, "incidents")["incidents"] == []
    assert said(cluster, "rules")["differs"] is False


def test_requests_are_shared_as_originally_set_before_during_and_after(
    cluster: RunningSandbox,
) -> None:
    until_ready_for_drills(cluster)
    assert_evenly_shared(records_of(cluster, 2 * SECOND))
    cluster.control.hold("node-b/shop")
    cluster.control.hold("node-a/orders")
    cluster.control.send("node-b/shop", "KILL")
    cluster.control.send("node-a/orders", "KILL")
    wait_until(
        lambda: (
            all(x["state"] == "handled" for x in said(cluster, "incidents")["incidents"])
            and len(said(cluster, "incidents")["incidents"]) >= 2
        ),
        "both incidents are handled",
    )
    during = records_of(cluster, SECOND)
    assert_share(during, "shop", {"node-a": 1, "node-b": 0})
    assert_share(during, "orders", {"node-a": 0, "node-b": 1})
    cluster.control.release("node-b/shop")
    cluster.control.release("node-a/orders")
    until_ready_for_drills(cluster)
    assert_evenly_shared(records_of(cluster, 2 * SECOND))


def assert_evenly_shared(records: list[Record]) -> None:
    assert_share(records, "shop", {"node-a": 0.5, "node-b": 0.5})
    assert_share(records, "orders", {"node-a": 1, "node-b": 0})


def test_the_command_line_tells_what_happened(cluster: RunningSandbox) -> None:
    play = played(cluster, DRILLS[Name.KILL_INSTANCE], SHOP_ON_B)
    assert play["ok"], play["findings"]
    status = said(cluster, "status")
    assert (status["verdict"], status["settled"]) == ("serving", "yes")
    assert [row["installed"] for row in said(cluster, "rules")["rules"]] == [
        row["original"] for row in said(cluster, "rules")["rules"]
    ]
    explained = said(cluster, "explain", str(play["incident"]))
    assert explained["state"] == "closed"
    assert explained["restored"] == "yes"
    assert {
        phase["name"]: phase["duration_us"] / MILLISECOND for phase in explained["phases"]
    } == play["phases_ms"]
    assert said(cluster, "incidents")["incidents"][0]["id"] == play["incident"]
    code, out, _ = cluster.equipoise("explain", str(play["incident"]))
    assert code == 0
    assert play["sentence"] is not None
    assert play["sentence"] in " ".join(out.split())


def test_nothing_is_called_switched_before_haproxy_says_so(cluster: RunningSandbox) -> None:
    """Ask both HAProxys again and again: the claim may come later than the truth, never earlier."""
    unswitched: list[float] = []

    class Watched(Kill):
        async def inject(self, scene: Scene, aim: Aim) -> Injected:
            injected = await super().inject(scene, aim)
            while True:
                asked_at = scene.clock.now()
                if all(
                    seen[aim.service][aim.node] == 0 for seen in (await scene.weights()).values()
                ):
                    return injected
                unswitched.append((asked_at - injected.begin_at) / MILLISECOND)

    play = played(cluster, Watched(), SHOP_ON_B)
    assert play["ok"], play["findings"]
    assert play["switched_ms"] is not None
    assert unswitched, "the fault was dealt with before it was made"
    assert unswitched[-1] <= play["switched_ms"] + CLOCKS_APART_MS


def test_with_the_switchers_switched_off_a_drill_fails_and_says_why(
    cluster: RunningSandbox,
) -> None:
    until_ready_for_drills(cluster)
    switchers = [f"{node}/traffic_switcher" for node in ("node-a", "node-b")]
    impatient = Patience(handled_us=2 * SECOND, closed_us=2 * SECOND, restored_us=SECOND)
    try:
        for switcher in switchers:
            cluster.control.hold(switcher)
            cluster.control.send(switcher, "KILL")
            cluster.control.until_stage(switcher, Stage.HELD, PATIENCE_US)
        play = played(cluster, DRILLS[Name.KILL_INSTANCE], SHOP_ON_B, impatient, fit=False)
    finally:
        for switcher in switchers:
            cluster.control.release(switcher)
    assert not play["ok"]
    assert not play["restored"]
    assert any("was not handled within 2 s" in text for text in play["findings"]), play["findings"]
    assert any("was not closed" in text for text in play["findings"]), play["findings"]
    until_ready_for_drills(cluster)  # and all is well once the switchers are there again


def test_a_fault_that_cannot_be_made_is_no_drill(cluster: RunningSandbox) -> None:
    until_ready_for_drills(cluster)
    cluster.control.hold("node-b/shop")
    try:
        cluster.control.send("node-b/shop", "KILL")
        cluster.control.until_stage("node-b/shop", Stage.HELD, PATIENCE_US)
        with pytest.raises(MachineError, match="node-b/shop does not run"):
            played(cluster, DRILLS[Name.HANG_INSTANCE], SHOP_ON_B, fit=False)
    finally:
        cluster.control.release("node-b/shop")


def test_a_fault_that_was_not_there_makes_a_drill_fail(cluster: RunningSandbox) -> None:
    """An instance that goes on at once was never hung, whatever signal it was sent."""

    class Awake(Hang):
        async def inject(self, scene: Scene, aim: Aim) -> Injected:
            injected = await super().inject(scene, aim)
            await self.heal(scene, aim)
            return injected

    impatient = Patience(handled_us=SECOND, closed_us=PATIENCE_US, restored_us=PATIENCE_US)
    play = played(cluster, Awake(), SHOP_ON_B, impatient)
    assert not play["ok"]
    assert "no incident of shop/node-b was opened within 1 s" in play["findings"]
    assert any("not stopped" in text for text in play["findings"]), play["findings"]
    assert play["restored"]


def test_a_load_balancer_that_went_on_at_once_was_never_hung_and_its_drill_fails(
    cluster: RunningSandbox,
) -> None:
    class Awake(HangBalancer):
        async def inject(self, scene: Scene, aim: Aim) -> Injected:
            injected = await super().inject(scene, aim)
            await self.heal(scene, aim)
            return injected

    impatient = Patience(handled_us=SECOND, closed_us=PATIENCE_US, restored_us=PATIENCE_US)
    play = played(cluster, Awake(), Aim(node="node-b"), impatient)
    assert not play["ok"]
    assert "no incident of node-b was opened within 1 s" in play["findings"]
    assert "api did not answer elsewhere within 1 s" in play["findings"]
    assert any("not stopped" in text for text in play["findings"]), play["findings"]
    assert play["restored"]
