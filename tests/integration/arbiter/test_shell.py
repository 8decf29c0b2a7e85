"""The arbiter's shell on a bus in memory, with the switchers played by the test."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from services.arbiter.shell import Arbiter
from shared.bus import Received
from shared.bus.memory_bus import MemoryBroker
from shared.clock import SystemClock
from shared.cluster import Cluster
from shared.errors import BusError, MachineError
from shared.instant import SECOND
from shared.messages.facts import IncidentOpened, IncidentUpdated, Situation
from shared.messages.health import Grade, Sign, Verdict
from shared.messages.leases import Grant
from shared.messages.operator import Answer, OperatorAnswer, OperatorRequest, Verb
from shared.messages.table import Message
from shared.messages.traffic import Failover, Plan, Recalled, Refused, Restore, Stage
from shared.rules import Admission
from tests.eventually import PATIENCE_US
from tests.fakes.grounds import base_of, bus_of, running, settings_of, until
from tests.unit.arbiter.leasing import LEASE_US, Lease, Switcher, cluster_with
from tests.unit.arbiter.play import applied, cluster_of, evidence


class Neighbours:
    """Two switchers that obey, and an ear for everything the arbiter says."""

    def __init__(
        self, directory: Path, *, plan: Plan | None = None, cluster: Cluster | None = None
    ) -> None:
        self.cluster = cluster or cluster_of()
        self.broker = MemoryBroker()
        self.bus = bus_of(self.broker, self.cluster, "node-a", "traffic_switcher")
        settings = settings_of(self.cluster, "witness", directory)
        self.base = base_of(settings, bus_of(self.broker, self.cluster, "witness", "arbiter"))
        self.arbiter = Arbiter(self.base)
        self.plan = plan
        self.heard: list[Message] = []
        self.answering = True

    async def listen(self) -> None:
        await self.bus.subscribe(">", lambda received: self.heard.append(received.message))
        await self.bus.subscribe("command.*", self._obey)
        for node in self.cluster.nodes:
            await self.bus.answer(f"recall.{node}", self._recall)

    def _obey(self, received: Received) -> None:
        command = received.message
        assert isinstance(command, Failover | Restore)
        node = received.subject.split(".")[1]
        self.plan = command.plan
        for stage in (Stage.INSTALLED, Stage.VERIFIED):
            self._say(applied(node, command.plan, stage))

    def _say(self, message: Message) -> None:
        self.saying = asyncio.ensure_future(self.bus.publish(message))

    async def _recall(self, received: Received) -> Message:
        return Recalled(node=received.subject.split(".")[1], plan=self.plan)

    def has(self, kind: type[Message]) -> Callable[[], bool]:
        return lambda: any(isinstance(each, kind) for each in self.heard)


def refused_evidence() -> Message:
    return evidence(
        "node-b",
        "shop",
        "node-b",
        verdict=Verdict.UNHEALTHY,
        grade=Grade.CONCLUSIVE,
        sign=Sign.REFUSED,
        sequence=1,
    )


def test_conclusive_evidence_on_the_bus_becomes_a_command_and_an_incident(tmp_path: Path) -> None:
    async def scene() -> None:
        near = Neighbours(tmp_path)
        await near.listen()

        async def test() -> None:
            await until(near.has(Situation), "the first situation")
            await near.bus.publish(refused_evidence())
            await until(near.has(IncidentUpdated), "the incident to be handled")
            opened = next(each for each in near.heard if isinstance(each, IncidentOpened))
            assert opened.incident.node == "node-b"
            handled = next(each for each in near.heard if isinstance(each, IncidentUpdated))
            assert [each.name for each in handled.incident.phases] == [
                "detect",
                "decide",
                "switch",
                "verify",
            ]
            assert near.plan is not None
            assert near.plan.services["shop"]["node-b"].admission is Admission.OUT

        await running(near.arbiter.run, near.base, test)

    asyncio.run(scene())


def test_an_arbiter_waits_for_a_switcher_and_answers_people_that_it_does(tmp_path: Path) -> None:
    async def scene() -> None:
        near = Neighbours(tmp_path)

        async def test() -> None:
            request = OperatorRequest(
                verb=Verb.PAUSE, node=None, service=None, owner="ana", reason="a test"
            )
            answer = None
            while answer is None or answer.answer is not Answer.NOT_LEADING:
                with suppress(BusError):  # at first it looks for another arbiter
                    reply = await near.bus.ask(request, timeout_us=SECOND)
                    assert isinstance(reply, OperatorAnswer)
                    answer = reply
            await near.listen()
            await until(near.has(Situation), "the first situation")
            reply = await near.bus.ask(request, timeout_us=PATIENCE_US)
            assert isinstance(reply, OperatorAnswer)
            assert reply.answer is Answer.ACCEPTED

        async def patient() -> None:
            await SystemClock().sleep(0)
            await test()

        await running(near.arbiter.run, near.base, patient)

    asyncio.run(scene())


def test_a_switcher_with_a_newer_plan_is_adopted_from(tmp_path: Path) -> None:
    async def scene() -> None:
        near = Neighbours(tmp_path)
        await near.listen()

        async def test() -> None:
            await until(near.has(Situation), "the first situation")
            newer = Refused(
                node="node-a",
                epoch=1,
                sequence=1,
                fence_epoch=7,
                fence_sequence=3,
                reason="older than the persisted plan",
            )
            await near.bus.publish(newer)
            await until(
                lambda: near.plan is not None and near.plan.epoch == 8, "an epoch above the fence"
            )

        await running(near.arbiter.run, near.base, test)

    asyncio.run(scene())


class Holders(Neighbours):
    """Neighbours whose nodes have virtual IPs, with switchers that beat for them."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, cluster=cluster_with())
        self.clock = SystemClock()
        vips = self.cluster.vips.items()
        self.switchers = {
            node: Switcher(node, leases={name: Lease(address=vip.address) for name, vip in vips})
            for node in self.cluster.nodes
        }

    async def listen(self) -> None:
        await super().listen()
        await self.bus.subscribe("grant.*", self._granted)
        await self.bus.subscribe("command.*", self._placed)

    def _granted(self, received: Received) -> None:
        grant = received.message
        assert isinstance(grant, Grant)
        self.switchers[grant.node].hear(grant, self.clock.now())

    def _placed(self, received: Received) -> None:
        command = received.message
        assert isinstance(command, Failover | Restore)
        self.switchers[received.subject.split(".")[1]].obey(command.plan)

    async def beat(self, node: str) -> None:
        while True:
            await self.bus.publish(self.switchers[node].beat(self.clock.now()))
            await self.clock.sleep(self.cluster.heartbeat.every_us)

    def holds(self, node: str, vip: str) -> Callable[[], bool]:
        return lambda: self.switchers[node].leases[vip].end > self.clock.now()


def test_beats_on_the_bus_are_granted_and_a_silent_nodes_vip_goes_to_the_other(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        near = Holders(tmp_path)
        await near.listen()

        async def test() -> None:
            beats = {node: asyncio.ensure_future(near.beat(node)) for node in near.switchers}
            await until(near.holds("node-a", "web"), "web to be held at home")
            await until(near.holds("node-b", "api"), "api to be held at home")
            await near.clock.sleep(2 * LEASE_US)  # for as long as makes a node regular
            beats["node-a"].cancel()
            end = near.switchers["node-a"].leases["web"].end
            await until(near.holds("node-b", "web"), "web to be held by the other")
            assert near.clock.now() > end
            beats["node-b"].cancel()

        await running(near.arbiter.run, near.base, test)

    asyncio.run(scene())


def test_a_second_arbiter_yields_to_the_one_that_leads_and_names_it(tmp_path: Path) -> None:
    async def scene() -> None:
        near = Neighbours(tmp_path)
        await near.listen()

        async def test() -> None:
            await until(near.has(Situation), "the first situation")
            for member in ("node-a", "witness"):  # elsewhere, and again under the same name
                bus = bus_of(near.broker, near.cluster, member, "arbiter")
                second = Arbiter(base_of(settings_of(near.cluster, member, tmp_path), bus))
                with pytest.raises(MachineError, match="another arbiter leads: on witness, with"):
                    await second.run()
            assert near.plan is not None
            assert near.plan.epoch == 1

        await running(near.arbiter.run, near.base, test)

    asyncio.run(scene())


def test_of_two_arbiters_that_began_together_the_higher_plan_goes_on(tmp_path: Path) -> None:
    async def scene() -> None:
        near = Neighbours(tmp_path)
        await near.listen()

        async def test() -> None:
            await until(near.has(Situation), "the first situation")
            assert near.plan is not None
            newer = replace(near.plan, epoch=9)

            async def answer(_: Received) -> Message:
                return Recalled(node="node-b", plan=newer)

            other = bus_of(near.broker, near.cluster, "node-b", "arbiter")
            await other.answer("recall._arbiter_node-b", answer)
            await near.bus.publish(
                Refused(
                    node="node-a",
                    epoch=near.plan.epoch,
                    sequence=near.plan.sequence,
                    fence_epoch=9,
                    fence_sequence=1,
                    reason="a newer one is persisted",
                )
            )
            await until(lambda: False, "the older one to end")

        with pytest.raises(MachineError, match="another arbiter leads: on node-b"):
            await running(near.arbiter.run, near.base, test)

    asyncio.run(scene())
