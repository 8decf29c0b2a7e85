"""The whole cluster, broken on purpose: nothing is lost, everything comes back, and we would know.

Half of these tests are about the drills themselves: a harness that cannot fail proves nothing.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from math import sqrt
from pathlib import Path
from typing import IO, Any

import pytest

from services.sandbox.audit import distribution
from services.sandbox.control import SOCKET
from services.sandbox.drills.catalogue import DRILLS
from services.sandbox.drills.catalogue.drill import Aim, Injected
from services.sandbox.drills.catalogue.instances import Hang, Kill
from services.sandbox.drills.judgement import Toll
from services.sandbox.drills.names import Name
from services.sandbox.drills.play import Patience
from services.sandbox.drills.scene import Scene
from services.sandbox.parts import journal
from services.sandbox.records import Record
from services.sandbox.supervisor import Stage
from shared.clock import SystemClock
from shared.errors import MachineError
from shared.instant import MILLISECOND, SECOND
from tests.e2e.drilling import played, until_ready_for_drills
from tests.e2e.running import (
    Ran,
    RunningSandbox,
    ended,
    in_namespace,
    launched,
    namespace_of,
    ordinary_user,
    ran,
    read_from,
    running_sandbox,
    runtime_directory,
    wait_until,
)

pytestmark = pytest.mark.sandbox

WITHIN_US = 20 * SECOND
SHOP_ON_B = Aim(service="shop", node="node-b")
# Those in which a node is lost are in test_node_drills.
OF_PARTS = [
    name
    for name, drill in DRILLS.items()
    if drill.opens_incident and drill.toll is not Toll.TAKEOVER
]
PHASES = ["detect", "decide", "switch", "verify"]
# How far a count may lie from what is expected, in standard deviations of fair chance. HAProxy
# takes turns and is far more even; at 5, chance alone fails once in 1.7 million.
DEVIATIONS_MAX = 5
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


def said(running: RunningSandbox, *words: str) -> Mapping[str, Any]:
    """Return what the command line answers, as JSON."""
    code, out, talk = running.equipoise(*words, "-o", "json")
    assert code == 0, talk
    answer: dict[str, Any] = json.loads(out)
    return answer


def assert_share(records: list[Record], service: str, shares: Mapping[str, float]) -> None:
    """Hold the requests for a service against the shares, as closely as chance would lie."""
    counts = distribution(records, service)
    total = sum(counts.values())
    assert total > 100, counts
    for node, share in shares.items():
        deviation = sqrt(total * share * (1 - share))
        assert abs(counts.get(node, 0) - total * share) <= DEVIATIONS_MAX * deviation, counts


def records_of(running: RunningSandbox, length_us: int) -> list[Record]:
    """Return the requests of the next stretch of time."""
    begin_at = SystemClock().now()
    records = running.recorded_until(begin_at + length_us)
    return [record for record in records if begin_at <= record.scheduled_at < begin_at + length_us]


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
            cluster.control.until_stage(switcher, Stage.HELD, WITHIN_US)
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
        cluster.control.until_stage("node-b/shop", Stage.HELD, WITHIN_US)
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

    impatient = Patience(handled_us=SECOND, closed_us=20 * SECOND, restored_us=5 * SECOND)
    play = played(cluster, Awake(), SHOP_ON_B, impatient)
    assert not play["ok"]
    assert "no incident of shop/node-b was opened within 1 s" in play["findings"]
    assert any("not stopped" in text for text in play["findings"]), play["findings"]
    assert play["restored"]


def test_three_nodes_keep_weights_of_3_to_1_before_during_and_after_a_demonstration() -> None:
    original = {"node-a": 3 / 5, "node-b": 1 / 5, "node-c": 1 / 5}
    line = ("--nodes", "3", "--rate", "300", "--capacities", "300,100", "--drill", "error-instance")
    with running_sandbox(*line) as running:
        wait_until(lambda: "goes on running" in running.story(), "it stays", 60 * SECOND)
        assert_story(running.story())
        assert_share(records_of(running, 2 * SECOND), "shop", original)
        running.control.hold("node-b/shop")
        running.control.send("node-b/shop", "KILL")
        wait_until(
            lambda: said(running, "incidents")["incidents"][0]["state"] == "handled",
            "the incident is handled",
        )
        during = records_of(running, SECOND)
        assert_share(during, "shop", {"node-a": 3 / 4, "node-b": 0, "node-c": 1 / 4})
        running.control.release("node-b/shop")
        until_ready_for_drills(running)
        assert_share(records_of(running, 2 * SECOND), "shop", original)


def assert_story(story: str) -> None:
    """Look for everything that a person is told."""
    for part in (
        "▶ shop on node-c answers 500 to everything",  # what was done to it
        "▲ shop/node-c: home → suspect",  # what happened, a line each
        "clients since the fault:",  # what clients felt
        "✓ error-instance: ",
        "Incident ",  # the explanation
        "Restored  exactly",
        " status -w",  # what to try
        "Ctrl-C ends it",
    ):
        assert part in story, story


def test_two_at_once_each_play_a_drill_and_only_one_has_done_an_order_twice() -> None:
    line = ("--once", "-o", "json", "--rate", "100", "--drill", "planned-failover")
    with (
        runtime_directory() as runtime,
        tempfile.TemporaryFile() as said_1,
        tempfile.TemporaryFile() as said_2,
        tempfile.TemporaryFile() as talk,
        launched((*line, "--name", "one"), runtime, said_1, talk=talk) as first,
        launched((*line, "--name", "two"), runtime, said_2, talk=talk) as second,
    ):
        order = plant_a_double(second, runtime / "equipoise" / "two", talk)
        good, bad = ended(first, said_1, talk), ended(second, said_2, talk)
    assert (good.code, json.loads(good.out)["findings"]) == (0, []), good.talk
    assert bad.code == 1
    assert json.loads(bad.out)["findings"] == [f"1 POSTs were done twice, such as {order}"]


def plant_a_double(launcher: subprocess.Popen[bytes], folder: Path, talk: IO[bytes]) -> str:
    """Write an order that one instance did into another's journal, as if both had done it."""
    done, other = (journal(folder, node, "orders") for node in ("node-a", "node-b"))
    wait_until(
        lambda: launcher.poll() is not None or (done.exists() and done.stat().st_size > 64),
        "orders are done",
        60 * SECOND,
    )
    assert launcher.poll() is None, read_from(talk)
    order = done.read_text().split()[0]
    with other.open("a") as file:
        file.write(f"{order}\n")
    return order


def test_killed_with_9_in_the_middle_of_a_drill_it_leaves_nothing() -> None:
    with (
        runtime_directory() as runtime,
        tempfile.TemporaryFile() as said_here,
        launched(("--drill", "hang-instance"), runtime, said_here) as launcher,
    ):
        wait_until(
            lambda: "▶ kill -STOP" in read_from(said_here), "the drill has begun", 60 * SECOND
        )
        namespace = namespace_of(launcher)
        assert len(in_namespace(namespace)) > 15
        launcher.kill()
        launcher.wait()
        wait_until(lambda: not in_namespace(namespace), "no process is left")


def test_whoever_reads_may_leave() -> None:
    with runtime_directory() as runtime, tempfile.TemporaryFile() as talk:
        inside, outside = os.pipe()
        with (
            os.fdopen(outside, "wb") as said_here,
            launched(("--drill", "kill-instance"), runtime, said_here, talk=talk) as launcher,
        ):
            said_here.close()
            os.read(inside, 1)
            os.close(inside)
            assert launcher.wait(60) == 141
        assert "Traceback" not in read_from(talk)


def test_interrupted_drills_are_no_success() -> None:
    with (
        runtime_directory() as runtime,
        tempfile.TemporaryFile() as said_here,
        launched(("--once",), runtime, said_here) as launcher,
    ):
        control = runtime / "equipoise" / "sandbox" / SOCKET
        wait_until(control.exists, "it starts", 60 * SECOND)
        launcher.terminate()
        assert launcher.wait(20) == 130


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--drill", "smoke"), "invalid choice: 'smoke'"),
        (("--repeat", "3"), "are about drills"),
        (("--once", "--repeat", "0"), "--repeat is 0"),
        (("--once", "--rate", "0"), "need the whole cluster and clients"),
        (("--once", "--only", "infrastructure"), "need the whole cluster and clients"),
    ],
)
def test_senseless_wishes_for_drills_are_refused(line: tuple[str, ...], said: str) -> None:
    result = ran(*line)
    assert result.code == 2
    assert said in result.talk
