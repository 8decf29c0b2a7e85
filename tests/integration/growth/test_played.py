"""The clusters that benchmarks play: a real arbiter takes them for real ones."""

import asyncio

import pytest

from benchmarks.growth.cluster import ARBITER, CROWD, LISTENERS, LOOKS
from benchmarks.growth.flock import said_by
from benchmarks.growth.lines import Line, speaker
from benchmarks.growth.many import make_streams, streams_of
from benchmarks.growth.said import observed
from benchmarks.growth.scene import Scene, Size, cluster_file, in_a_folder, scene
from services.sandbox.configuration import BUS_PORT
from shared.bus import Received
from shared.bus.wire import Wire
from shared.cluster import Cluster
from shared.messages.facts import Situation, VipState
from shared.messages.health import Heartbeat, Picture, Presence
from shared.messages.leases import Grant, LeaseBeat
from shared.messages.traffic import Failover, Measured
from shared.rules import Admission
from shared.settings.load import load
from tests.eventually import PATIENCE_S

# The second is beyond the sizes in which everybody looks after everybody and all is told.
SIZES = (Size(2, 2), Size(12, 20))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.nodes}x{size.services}")
def test_a_played_cluster_is_served_and_a_played_failure_is_answered(size: Size) -> None:
    with scene() as stage:
        cluster = stage.configure(size).cluster
        arbiter = stage.start(ARBITER)
        stage.until(ARBITER, arbiter, LOOKS)
        listeners = stage.start(LISTENERS, stage.address, str(BUS_PORT), str(stage.configured))
        stage.until(LISTENERS, listeners)
        crowd = stage.start(CROWD, str(stage.configured), stage.url)
        stage.until(CROWD, crowd)
        stage.until(ARBITER, arbiter)
        asyncio.run(served_and_answered(stage, cluster))
        assert stage.errors(ARBITER) == {}


async def served_and_answered(stage: Scene, cluster: Cluster) -> None:
    """Wait until all is well; let an instance fail; look at the command of every node."""
    line = Line(speaker(cluster.name, "test", "test"))
    await line.connect(stage.url)
    served, told = asyncio.Event(), asyncio.Event()
    commands: dict[str, Failover] = {}

    async def situated(received: Received) -> None:
        if isinstance(received.message, Situation) and is_served(received.message, cluster):
            served.set()

    async def commanded(received: Received) -> None:
        if isinstance(received.message, Failover):
            commands[received.subject] = received.message
        if len(commands) == len(cluster.nodes):
            told.set()

    try:
        await line.hear("situation", situated)
        await line.hear("command.*", commanded)
        await asyncio.wait_for(served.wait(), PATIENCE_S)
        node, service = list(cluster.nodes)[-1], next(iter(cluster.services))
        await line.say(observed(node, service, node, 10, well=False))
        await asyncio.wait_for(told.wait(), PATIENCE_S)
    finally:
        await line.close()
    for command in commands.values():
        rules = command.plan.services[service]
        assert [name for name, rule in rules.items() if rule.admission is Admission.OUT] == [node]


def is_served(situation: Situation, cluster: Cluster) -> bool:
    """Whether everything is as originally set, and every address answers."""
    return (
        situation.settled
        and situation.readiness.ready
        and len(situation.vips) == len(cluster.vips)
        and all(vip.state is VipState.HELD for vip in situation.vips.values())
    )


def test_what_a_flock_says_is_read_by_the_real_codec() -> None:
    with in_a_folder(cluster_file(Size(2, 2), "nats://127.0.0.1:4222", "flock")) as place:
        cluster = load(place, {"EQUIPOISE_NODE": "witness"}).cluster
    wire = Wire(speaker("flock", "test", "test"))
    kinds = []
    for words in said_by(cluster).values():
        payload = b"123456790".join(words.often) + b"123456790".join(words.seldom)
        while payload:
            head, _, payload = payload.partition(b"\r\n")
            _, subject, length = head.split()
            received = wire.read(subject.decode(), payload[: int(length)])
            assert received is not None
            kinds.append(type(received.message))
            payload = payload[int(length) + 2 :]
    assert {*kinds} == {Heartbeat, Presence, LeaseBeat, Picture, Measured, Grant}
    assert kinds.count(Heartbeat) == kinds.count(Presence) == 3


def test_a_server_has_room_for_the_streams_that_it_was_given_room_for() -> None:
    made, why = streams_of(512, 3)
    assert made == 2
    assert "insufficient storage" in why
    with scene(store_mb=2_000) as stage:
        assert asyncio.run(make_streams(stage.url, ["a", "b", "c"])) == (3, "")
