"""What only the real bus can meet: servers that die, freeze, are too old; traps of the client."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
import pytest
from nats.aio.msg import Msg

from shared.bus import Received
from shared.bus.hops import Hop
from shared.bus.nats_bus import NatsBus
from shared.bus.stream import Stream
from shared.bus.wire import Speaker
from shared.clock import SystemClock
from shared.errors import BusError
from shared.instant import MILLISECOND, SECOND
from shared.log import Logger
from shared.messages.operator import OperatorRequest
from shared.messages.table import TABLE, Message
from tests.eventually import PATIENCE_S, PATIENCE_US, eventually
from tests.fakes.nats_greeting import nats_greeting
from tests.integration.bus.said import answer, beat, change, command, wish
from tests.integration.bus.world import CLUSTER, NatsWorld, nats_world, overhear, speaker, stranger


def play(test: Callable[[NatsWorld], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with nats_world() as world:
            await test(world)

    asyncio.run(run())


async def api(world: NatsWorld, subject: str, payload: bytes = b"") -> dict[str, Any]:
    async with stranger(world.server) as client:
        reply = await client.request(subject, payload, timeout=PATIENCE_S)
    answered: dict[str, Any] = orjson.loads(reply.data)
    return answered


class TestServersThatFail:
    def test_after_a_restart_we_are_subscribed_again_and_nothing_stale_comes(self) -> None:
        async def test(world: NatsWorld) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            heard: list[Received] = []
            await b.subscribe("heartbeat.*", heard.append)
            world.server.kill()
            # Some of these are said before the client knows, some after: none may come later.
            said = [await a.publish(beat(sequence)) for sequence in range(100)]
            await eventually(lambda: not a.connected and not b.connected)
            said.append(await a.publish(beat(100)))
            assert not said[-1]
            await world.come_up()
            assert await a.publish(beat(101))
            await eventually(lambda: heard)
            assert [received.message for received in heard] == [beat(101)]
            assert any("bus_lost" in line for line in world.lines)
            assert any("bus_back" in line for line in world.lines)
            assert world.failures == []

        play(test)

    def test_what_waited_to_be_written_is_dropped_when_the_connection_is_lost(self) -> None:
        async def test(world: NatsWorld) -> None:
            a, b = await world.connect("a"), await world.connect("b")
            heard: list[Received] = []
            await b.subscribe("node.*", heard.append)
            world.server.freeze()
            # More than all buffers on the way hold, so that the client's own list grows too.
            for number in range(100):
                await a.publish(change("x" * 4_000 + str(number)))
                for _ in range(20):
                    await a.publish(change("y" * 4_000))
                await SystemClock().sleep(0)
            await eventually(lambda: not a.connected and not b.connected)
            await eventually(lambda: a._client._pending == [])
            world.server.kill()
            await world.come_up()
            assert await a.publish(change("fresh"))
            await eventually(lambda: heard)
            assert [received.message for received in heard] == [change("fresh")]

        play(test)

    def test_a_frozen_server_is_noticed_within_two_seconds_and_left_when_it_wakes(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            heard: list[Received] = []
            await bus.subscribe("heartbeat.*", heard.append)
            clock = SystemClock()
            world.server.freeze()
            frozen_at = clock.now()
            await eventually(lambda: not bus.connected)
            # Three pings at 0.5 s make 2.0 s; a second more for a busy machine.
            assert clock.now() - frozen_at < 3 * SECOND
            assert not await bus.publish(beat(1))
            world.server.wake()
            await eventually(lambda: bus.connected)
            await bus.publish(beat(2))
            await eventually(lambda: heard)
            assert [received.message for received in heard] == [beat(2)]

        play(test)

    def test_leaving_a_frozen_server_takes_no_longer_than_its_limits(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            world.server.freeze()
            await bus.publish(beat())
            clock = SystemClock()
            begun_at = clock.now()
            await bus.close()
            assert clock.now() - begun_at < 4 * SECOND

        play(test)

    def test_subscriptions_made_while_the_server_is_away_hold_afterwards(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            heard: list[Received] = []
            await world.go_down()
            subscribing = asyncio.ensure_future(bus.subscribe("heartbeat.*", heard.append))
            await world.come_up()
            await subscribing
            await bus.publish(beat())
            await eventually(lambda: heard)

        play(test)

    def test_connecting_waits_for_a_server_and_says_why_once(self) -> None:
        async def test(world: NatsWorld) -> None:
            await world.go_down()
            connecting = asyncio.ensure_future(world.connect())
            await eventually(lambda: any("bus_trouble" in line for line in world.lines))
            await SystemClock().sleep(500 * MILLISECOND)
            assert not connecting.done()
            assert len([line for line in world.lines if "bus_trouble" in line]) == 1
            world.server.start()
            bus = await connecting
            assert bus.connected

        play(test)

    def test_a_connection_refused_for_good_is_reported(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            # What an expired token or a revoked user looks like to the client.
            await bus._client._process_err("'authorization violation'")
            await eventually(lambda: world.failures)
            (failure,) = world.failures
            assert isinstance(failure, BusError)
            assert "closed the connection" in str(failure)
            assert not bus.connected

        play(test)


class TestServersOfNoUse:
    def test_an_old_server_is_refused_with_the_mend(self) -> None:
        async def test() -> None:
            lines: list[str] = []
            failures: list[Exception] = []
            old = b'INFO {"version":"2.9.10","max_payload":1048576,"headers":true}\r\n'
            async with nats_greeting(old) as url:
                with pytest.raises(BusError, match=r"version 2\.9\.10; 2\.11 or newer is needed"):
                    await NatsBus.connect([url], speaker=speaker(lines), on_failure=failures.append)

        asyncio.run(test())

    @pytest.mark.parametrize(
        "greeting",
        [b"SSH-2.0-OpenSSH_9.2\r\n", b"INFO nonsense\r\n", b"INFO []\r\n", b"x" * 100_000, b""],
        ids=["ssh", "nonsense", "list", "endless", "silent"],
    )
    def test_what_is_no_nats_server_is_tried_again_until_it_is_one(self, greeting: bytes) -> None:
        async def test() -> None:
            lines: list[str] = []
            failures: list[Exception] = []
            real = b'INFO {"version":"2.15.1","max_payload":1048576,"headers":true}\r\n'
            async with nats_greeting(greeting, greeting, real) as url:
                bus = await asyncio.wait_for(
                    NatsBus.connect([url], speaker=speaker(lines), on_failure=failures.append),
                    PATIENCE_S,
                )
                assert bus.connected
                await bus.close()
            assert failures == []
            assert len([line for line in lines if "bus_trouble" in line]) == 1

        asyncio.run(test())


class TestTraps:
    def test_a_request_on_a_kept_subject_gets_the_answer_and_no_acknowledgement(self) -> None:
        # Without `no_ack` JetStream's PubAck comes first, as the reply.
        async def test(world: NatsWorld) -> None:
            a, b = await world.connect("a"), await world.connect("b")

            async def reply(received: Received) -> Message:
                await SystemClock().sleep(20 * MILLISECOND)  # JetStream would be faster
                assert received.subject == "operator.pause"
                return answer("from a person's arbiter")

            await b.answer("operator.*", reply)
            for _ in range(5):
                got = await a.ask(wish(), timeout_us=PATIENCE_US)
                assert got == answer("from a person's arbiter")
            assert a.rejected == 0

        play(test)

    def test_a_handler_s_exception_is_reported_and_its_subscription_lives(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            heard: list[Received] = []
            errors: list[type[BaseException]] = [
                AssertionError,
                KeyError,
                asyncio.CancelledError,
                TimeoutError,
            ]

            def stumble(received: Received) -> None:
                heard.append(received)
                if errors:
                    raise errors.pop(0)

            await bus.subscribe("heartbeat.*", stumble)
            for sequence in range(5):
                await bus.publish(beat(sequence))
            await eventually(lambda: len(heard) == 5)
            kinds = [type(failure) for failure in world.failures]
            assert kinds == [AssertionError, KeyError, AssertionError, TimeoutError]

        play(test)

    def test_an_answerer_s_exception_is_reported_and_the_next_request_is_answered(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()

            async def reply(received: Received) -> Message:
                assert isinstance(received.message, OperatorRequest)
                assert received.message.owner != "evil"
                return answer("fine")

            await bus.answer("operator.*", reply)
            with pytest.raises(BusError):
                await bus.ask(wish("evil"), timeout_us=200 * MILLISECOND)
            assert await bus.ask(wish("good"), timeout_us=PATIENCE_US) == answer("fine")
            assert [type(failure) for failure in world.failures] == [AssertionError]

        play(test)

    def test_an_answer_that_cannot_be_read_is_an_error(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()

            async def babble(message: Msg) -> None:
                await message.respond(b"garbage")

            async with stranger(world.server) as client:
                await overhear(client, f"equipoise.{CLUSTER}.operator.*", babble)
                with pytest.raises(BusError, match="cannot be read"):
                    await bus.ask(wish(), timeout_us=PATIENCE_US)
            assert bus.rejected == 1

        play(test)

    def test_the_server_reports_its_part_in_the_way_of_a_traced_message_once(self) -> None:
        async def test(world: NatsWorld) -> None:
            parent = f"00-{'a' * 32}-{'b' * 16}-01"
            clock = SystemClock()
            hops: list[Hop] = []
            bus = await world.join(
                Speaker(
                    cluster=CLUSTER,
                    member="a",
                    program="test",
                    clock=clock,
                    log=Logger(lambda _: None, clock=clock),
                    traceparent_of=lambda message, _: parent if message != beat(3) else None,
                    on_hop=hops.append,
                )
            )
            heard: list[Received] = []
            await bus.subscribe("heartbeat.*", heard.append)
            for number in (1, 2, 3):
                await bus.publish(beat(number))
            await eventually(lambda: len(heard) == 3 and len(hops) > 0)
            (hop,) = hops
            assert (hop.traceparent, hop.subject, hop.receivers) == (parent, "heartbeat.a", 1)
            assert hop.begin_wall_us <= hop.end_wall_us

        play(test)

    def test_a_message_about_a_traced_incident_carries_its_trace_twice(self) -> None:
        async def test(world: NatsWorld) -> None:
            lines: list[str] = []
            clock = SystemClock()
            parent = f"00-{'a' * 32}-{'b' * 16}-01"
            bus = await world.join(
                Speaker(
                    cluster=CLUSTER,
                    member="a",
                    program="test",
                    clock=clock,
                    log=Logger(lines.append, clock=clock),
                    traceparent_of=lambda message, _: parent if message == beat(1) else None,
                )
            )
            seen: list[Msg] = []

            async def see(message: Msg) -> None:
                seen.append(message)

            heard: list[Received] = []
            async with stranger(world.server) as client:
                await overhear(client, f"equipoise.{CLUSTER}.>", see)
                await bus.subscribe("heartbeat.*", heard.append)
                await bus.publish(beat(1))
                await bus.publish(beat(2))
                await eventually(lambda: len(seen) == len(heard) == 2)
            assert [(message.headers or {}).get("traceparent") for message in seen] == [
                parent,
                None,
            ]
            assert [received.envelope.traceparent for received in heard] == [parent, None]

        play(test)


class TestStream:
    def test_it_keeps_what_the_table_says_within_limits(self) -> None:
        async def test(world: NatsWorld) -> None:
            await world.connect()
            found = (await api(world, f"$JS.API.STREAM.INFO.EQUIPOISE-{CLUSTER}"))["config"]
            kept = {f"equipoise.{CLUSTER}.{row.pattern}" for row in TABLE if row.kept}
            assert set(found["subjects"]) == kept
            assert found["no_ack"]
            assert found["allow_direct"]
            assert found["storage"] == "file"
            assert found["discard"] == "old"
            assert all(found[limit] > 0 for limit in ("max_bytes", "max_age", "max_msg_size"))
            assert found["max_msgs_per_subject"] > 0

        play(test)

    def test_an_older_version_s_stream_is_brought_up_to_date(self) -> None:
        async def test(world: NatsWorld) -> None:
            name = f"EQUIPOISE-{CLUSTER}"
            older = {"name": name, "subjects": [f"equipoise.{CLUSTER}.node.*"], "storage": "file"}
            made = await api(world, f"$JS.API.STREAM.CREATE.{name}", orjson.dumps(older))
            assert "error" not in made
            await world.connect()
            found = (await api(world, f"$JS.API.STREAM.INFO.{name}"))["config"]
            assert found["no_ack"]
            assert f"equipoise.{CLUSTER}.incident.*" in found["subjects"]

        play(test)

    def test_it_is_made_again_on_a_server_that_lost_its_store(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            await world.go_down()
            world.server.forget()
            await world.come_up()
            await eventually(lambda: bus._ensuring is not None and bus._ensuring.done())
            await bus.publish(change("new"))
            await self._last(bus, "node.a", change("new"))

        play(test)

    def test_what_was_kept_outlives_the_server(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            await bus.publish(command(7), to="b")
            await self._last(bus, "command.b", command(7))
            await world.go_down()
            await world.come_up()
            await self._last(bus, "command.b", command(7))

        play(test)

    def test_without_jetstream_the_bus_works_and_the_past_is_an_error(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            heard: list[Received] = []
            await bus.subscribe("node.*", heard.append)
            deleted = await api(world, f"$JS.API.STREAM.DELETE.EQUIPOISE-{CLUSTER}")
            assert deleted["success"]
            await bus.publish(change("heard"))
            await eventually(lambda: heard)
            with pytest.raises(BusError):
                await bus.last("node.a")
            with pytest.raises(BusError):
                assert [received async for received in bus.past("node.*", limit=3)]

        play(test)

    def test_a_refused_stream_is_an_error_that_says_why(self) -> None:
        async def test(world: NatsWorld) -> None:
            bus = await world.connect()
            # Two streams may not keep the same subjects.
            stream = Stream("other", f"equipoise.{CLUSTER}.", bus)
            with pytest.raises(BusError, match=r"refused the stream EQUIPOISE-other: .*overlap"):
                await stream.ensure()

        play(test)

    async def _last(self, bus: NatsBus, subject: str, wanted: Message) -> None:
        clock = SystemClock()
        deadline = clock.now() + PATIENCE_US
        found: Received | None = None
        while found is None or found.message != wanted:
            assert clock.now() < deadline
            try:
                found = await bus.last(subject)
            except BusError:
                found = None  # JetStream comes up after the server
            await clock.sleep(5 * MILLISECOND)
