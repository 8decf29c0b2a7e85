"""What every bus does, with a real server and without one: one set of tests for both."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest

from shared.bus import Bus, Received
from shared.bus.wire import Wire
from shared.clock import SystemClock
from shared.errors import BusError
from shared.instant import MILLISECOND, SECOND
from shared.messages.codec import SIZE_MAX
from shared.messages.facts import NodeChanged
from shared.messages.health import Heartbeat
from shared.messages.operator import OperatorAnswer, OperatorRequest, Verb
from shared.messages.table import Message
from shared.messages.traffic import Failover
from tests.eventually import PATIENCE_US, eventually
from tests.integration.bus.said import answer, beat, change, command, wish
from tests.integration.bus.world import CLUSTER, World, memory_world, nats_world, speaker

Test: TypeAlias = Callable[[World], Coroutine[Any, Any, None]]
Play: TypeAlias = Callable[[Test], None]


@pytest.fixture(params=[memory_world, nats_world], ids=["memory", "nats"])
def play(request: pytest.FixtureRequest) -> Play:
    """Play a test in a world of its own."""
    make: Callable[[], AbstractAsyncContextManager[World]] = request.param

    async def run(test: Test) -> None:
        async with make() as world:
            await test(world)

    return lambda test: asyncio.run(run(test))


async def listen(bus: Bus, pattern: str) -> list[Received]:
    heard: list[Received] = []
    await bus.subscribe(pattern, heard.append)
    return heard


async def past(bus: Bus, pattern: str, limit: int = 100) -> list[Message]:
    return [received.message async for received in bus.past(pattern, limit=limit)]


class TestDelivery:
    def test_what_is_said_is_heard_with_what_is_known_of_its_way(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            assert a.trouble == ""
            heard = await listen(b, "heartbeat.*")
            before = SystemClock().now()
            assert await a.publish(beat())
            await eventually(lambda: heard)
            (received,) = heard
            assert received.message == beat()
            assert received.subject == "heartbeat.a"
            assert received.envelope.source == f"/{CLUSTER}/a/test"
            assert received.envelope.cluster == CLUSTER
            assert before <= received.at <= SystemClock().now()

        play(test)

    def test_who_speaks_hears_itself_too(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            heard = await listen(bus, "heartbeat.a")
            await bus.publish(beat())
            await eventually(lambda: heard)

        play(test)

    def test_patterns_match_as_nats_has_it(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            one = await listen(bus, "heartbeat.b")
            each = await listen(bus, "heartbeat.*")
            operators = await listen(bus, "operator.>")
            everything = await listen(bus, ">")
            nothing = await listen(bus, "*.*.*")
            root = await listen(bus, "heartbeat")
            for message in (beat(node="a"), beat(node="b"), wish()):
                await bus.publish(message)
            await eventually(lambda: len(everything) == 3 and operators)
            await eventually(lambda: len(each) == 2)
            assert [received.subject for received in one] == ["heartbeat.b"]
            assert [received.subject for received in operators] == ["operator.pause"]
            assert nothing == root == []

        play(test)

    def test_messages_of_one_speaker_arrive_in_order(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            heard = await listen(b, "heartbeat.a")
            for sequence in range(2_000):
                assert await a.publish(beat(sequence))
            await eventually(lambda: len(heard) == 2_000)
            sequences = [r.message.sequence for r in heard if isinstance(r.message, Heartbeat)]
            assert sequences == list(range(2_000))

        play(test)

    def test_every_message_has_an_id_of_its_own(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("a")
            heard = await listen(b, ">")
            for bus in (a, b, a, b):
                await bus.publish(beat())
            await eventually(lambda: len(heard) == 4)
            assert len({received.envelope.id for received in heard}) == 4

        play(test)

    def test_who_has_left_says_and_hears_nothing_but_what_it_said_before(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            heard, unheard = await listen(b, ">"), await listen(a, ">")
            assert await a.publish(beat(1))
            await a.close()
            await a.close()
            assert not a.connected
            assert a.trouble
            assert not await a.publish(beat(2))
            await b.publish(beat(3))
            await eventually(lambda: len(heard) == 2)
            assert [r.message for r in heard] == [beat(1), beat(3)]
            assert [r.message for r in unheard] in ([], [beat(1)])

        play(test)


class TestAnswers:
    def test_a_request_is_answered(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")

            async def reply(received: Received) -> Message:
                assert isinstance(received.message, OperatorRequest)
                return answer(f"{received.subject} for {received.message.owner}")

            await b.answer("operator.*", reply)
            got = await a.ask(wish("ann", verb=Verb.RESUME), timeout_us=PATIENCE_US)
            assert got == answer("operator.resume for ann")

        play(test)

    def test_each_request_gets_its_own_answer_and_a_slow_one_holds_up_none(
        self, play: Play
    ) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            release = asyncio.Event()

            async def reply(received: Received) -> Message:
                assert isinstance(received.message, OperatorRequest)
                if received.message.owner == "slow":
                    await release.wait()
                return answer(received.message.owner)

            await b.answer("operator.>", reply)
            slow = asyncio.ensure_future(a.ask(wish("slow"), timeout_us=PATIENCE_US))
            names = [str(number) for number in range(20)]
            asked = [a.ask(wish(name), timeout_us=PATIENCE_US) for name in names]
            assert await asyncio.gather(*asked) == [answer(name) for name in names]
            assert not slow.done()
            release.set()
            assert await slow == answer("slow")

        play(test)

    def test_a_command_is_asked_of_one_node(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")

            async def reply(received: Received) -> Message:
                return answer(received.subject)

            await b.answer("command.b", reply)
            assert await a.ask(command(1), to="b", timeout_us=PATIENCE_US) == answer("command.b")

        play(test)

    @pytest.mark.parametrize("kept", [True, False])
    def test_no_answer_in_time_is_an_error(self, play: Play, kept: bool) -> None:  # noqa: FBT001
        async def test(world: World) -> None:
            bus = await world.connect()
            clock = SystemClock()
            begun_at = clock.now()
            with pytest.raises(BusError, match="nobody answer"):
                await bus.ask(wish() if kept else beat(), timeout_us=100 * MILLISECOND)
            assert clock.now() - begun_at < 5 * SECOND

        play(test)

    def test_a_published_request_needs_no_answer(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            asked: list[Received] = []

            async def reply(received: Received) -> Message:
                asked.append(received)
                return answer("yes")

            await bus.answer("operator.*", reply)
            await bus.publish(wish("nobody waits"))
            assert await bus.ask(wish(), timeout_us=PATIENCE_US) == answer("yes")
            assert len(asked) == 1

        play(test)


class TestPast:
    def test_the_last_kept_message_of_a_subject_is_found(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            assert await bus.last("node.a") is None
            for message in (change("1"), change("2"), change("3", node="b")):
                await bus.publish(message)
            await self._kept(bus, "node.*", 3)
            last = await bus.last("node.a")
            assert last is not None
            assert last.message == change("2")
            assert last.subject == "node.a"

        play(test)

    def test_the_newest_are_read_oldest_first(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            # What matches is rare among what does not, and clustered at the beginning.
            for number in range(600):
                await bus.publish(change(str(number), node="rare" if number % 97 == 3 else "b"))
            for number in range(600, 900):
                await bus.publish(change(str(number), node="b"))
            await self._kept(bus, "node.*", 900)
            rare = [str(number) for number in range(600) if number % 97 == 3]
            for limit in (1, 2, 5, 7, 100):
                found = await past(bus, "node.rare", limit)
                assert [m.reason for m in found if isinstance(m, NodeChanged)] == rare[-limit:]
            found = await past(bus, "node.b", 700)
            reasons = [m.reason for m in found if isinstance(m, NodeChanged)]
            assert len(reasons) == 700
            assert reasons == sorted(reasons, key=int)
            assert reasons[-1] == "899"

        play(test)

    def test_nothing_is_found_where_nothing_is_kept(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            await bus.publish(beat())  # not kept
            await bus.publish(change("1"))
            await self._kept(bus, "node.*", 1)
            assert await past(bus, "heartbeat.>") == []
            assert await past(bus, "incident.*") == []
            assert await past(bus, "node.*", 0) == []
            assert await bus.last("heartbeat.a") is None

        play(test)

    def test_a_repeated_command_is_heard_every_time_and_kept_once(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            heard = await listen(b, "command.*")
            for sequence in (1, 1, 1, 2, 2):
                await a.publish(command(sequence), to="b")
            await a.publish(command(2), to="a")
            await eventually(lambda: len(heard) == 6)
            await self._kept(a, "command.*", 3)
            assert await past(a, "command.b") == [command(1), command(2)]

        play(test)

    def test_garbage_does_not_hide_the_last_word(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            await bus.publish(change("readable"))
            await self._kept(bus, "node.a", 1)
            for _ in range(3):
                await world.inject(f"equipoise.{CLUSTER}.node.a", b"garbage")
            last = await bus.last("node.a")
            assert last is not None
            assert last.message == change("readable")
            assert await past(bus, "node.a", 4) == [change("readable")]

        play(test)

    async def _kept(self, bus: Bus, pattern: str, count: int) -> None:
        """Wait until so many are kept: JetStream writes beside what we do."""
        clock = SystemClock()
        deadline = clock.now() + PATIENCE_US
        while len(await past(bus, pattern, 10_000)) < count:
            assert clock.now() < deadline
            await clock.sleep(5 * MILLISECOND)


class TestRejection:
    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\x00\xff\xfe",
            b"null",
            b"[]",
            b"{" * 5_000,
            b'{"specversion":"1.0"}',
            b"x" * 200_000,
            "☃".encode("utf-16"),
        ],
        ids=["empty", "bytes", "null", "list", "nested", "bare", "long", "utf16"],
    )
    def test_garbage_is_counted_and_dropped_and_the_next_message_is_heard(
        self, play: Play, payload: bytes
    ) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            heard = await listen(bus, "heartbeat.*")
            await world.inject(f"equipoise.{CLUSTER}.heartbeat.a", payload)
            await eventually(lambda: bus.rejected == 1)
            await bus.publish(beat())
            await eventually(lambda: heard)
            assert bus.rejected == 1

        play(test)

    def test_a_flood_of_garbage_is_one_line_in_the_log(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            await listen(bus, ">")
            for number in range(20):
                await world.inject(f"equipoise.{CLUSTER}.anything.{number}", b"garbage")
            await eventually(lambda: bus.rejected == 20)
            (line,) = [line for line in world.lines if "message_rejected" in line]
            assert "not JSON" in line

        play(test)

    def test_another_cluster_on_the_same_server_is_not_heard(self, play: Play) -> None:
        async def test(world: World) -> None:
            ours, theirs = await world.connect(), await world.connect(cluster="bank")
            heard, over_there = await listen(ours, ">"), await listen(theirs, ">")
            await theirs.publish(beat(1))
            await ours.publish(beat(2))
            await eventually(lambda: heard and over_there)
            assert [received.message for received in heard] == [beat(2)]
            assert [received.message for received in over_there] == [beat(1)]
            assert ours.rejected == theirs.rejected == 0

        play(test)

    def test_another_cluster_s_message_on_our_subject_is_rejected(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            heard = await listen(bus, ">")
            payload = Wire(speaker([], cluster="bank")).pack(beat()).payload
            await world.inject(f"equipoise.{CLUSTER}.heartbeat.a", payload)
            await eventually(lambda: bus.rejected == 1)
            assert heard == []

        play(test)

    def test_a_message_on_a_subject_that_is_not_its_own_is_rejected(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            heard = await listen(bus, ">")
            payload = Wire(speaker([])).pack(beat(node="b")).payload
            await world.inject(f"equipoise.{CLUSTER}.heartbeat.a", payload)
            await eventually(lambda: bus.rejected == 1)
            assert heard == []

        play(test)

    def test_a_message_beyond_the_limit_is_not_sent(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            heard = await listen(bus, ">")
            assert not await bus.publish(command(1, reason="x" * SIZE_MAX), to="a")
            assert await bus.publish(beat())
            await eventually(lambda: heard)
            assert [received.message for received in heard] == [beat()]

        play(test)


class TestAbsence:
    def test_what_is_said_without_a_server_is_refused_and_never_delivered(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            heard = await listen(b, ">")
            await world.go_down()
            assert not a.connected
            for sequence in range(10):
                assert not await a.publish(beat(sequence))
            await world.come_up()
            assert await a.publish(beat(99))
            await eventually(lambda: heard)
            assert [received.message for received in heard] == [beat(99)]

        play(test)

    def test_what_needs_a_server_says_that_there_is_none(self, play: Play) -> None:
        async def test(world: World) -> None:
            bus = await world.connect()
            await world.go_down()
            with pytest.raises(BusError, match="not connected"):
                await bus.ask(wish(), timeout_us=PATIENCE_US)
            with pytest.raises(BusError, match="not connected"):
                await bus.last("node.a")
            with pytest.raises(BusError, match="not connected"):
                await past(bus, "node.*")

        play(test)

    def test_requests_are_answered_again_when_the_server_is_back(self, play: Play) -> None:
        async def test(world: World) -> None:
            a, b = await world.connect("a"), await world.connect("b")

            async def reply(received: Received) -> Message:
                assert isinstance(received.message, Failover)
                return answer("again")

            await b.answer("command.b", reply)
            await world.go_down()
            await world.come_up()
            got = await a.ask(command(1), to="b", timeout_us=PATIENCE_US)
            assert isinstance(got, OperatorAnswer)
            assert got.text == "again"

        play(test)
