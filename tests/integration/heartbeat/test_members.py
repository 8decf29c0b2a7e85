"""Real heartbeats over real UDP, on addresses of loopback."""

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

import pytest

from services.heartbeat.adapters.udp import Arrival, UdpBeats
from services.heartbeat.core.datagram import SIZE_MAX, Datagram, seal
from services.heartbeat.shell import Shell
from shared.bus import Received
from shared.bus.memory_bus import MemoryBroker, MemoryBus
from shared.bus.wire import Speaker
from shared.clock import SystemClock
from shared.cluster import Cluster, HeartbeatSettings
from shared.errors import MachineError
from shared.health import Check
from shared.instant import MILLISECOND, SECOND, Duration
from shared.log import Logger, as_json
from shared.messages.health import Heartbeat
from tests.eventually import PATIENCE_S, PATIENCE_US
from tests.unit.heartbeat.test_beats import CLUSTER

CLOCK = SystemClock()
LOG = Logger(lambda _: None, clock=CLOCK)
KEY = b"the cluster's key of 32 bytes...."


def free_cluster() -> Cluster:
    """Return the cluster on a port that is free on all its addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chooser:
        chooser.bind(("0.0.0.0", 0))
        port = chooser.getsockname()[1]
    return replace(CLUSTER, heartbeat=HeartbeatSettings(every_us=20 * MILLISECOND, port=port))


class Bus:
    """One bus, and what the members say on it."""

    def __init__(self) -> None:
        self._broker = MemoryBroker()
        self.last: dict[str, Heartbeat] = {}
        self.counts: dict[str, int] = {}

    async def listen(self) -> None:
        await self.connect("test").subscribe("heartbeat.*", self._hear)

    def connect(self, member: str) -> MemoryBus:
        return self._broker.connect(
            Speaker(cluster="shop", member=member, program="heartbeat", clock=CLOCK, log=LOG)
        )

    async def until(self, member: str, wanted: Callable[[Heartbeat], bool]) -> Heartbeat:
        """Return a member's first beat that is wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while member not in self.last or not wanted(self.last[member]):
                await CLOCK.sleep(5 * MILLISECOND)
        return self.last[member]

    def _hear(self, received: Received) -> None:
        assert isinstance(received.message, Heartbeat)
        self.last[received.message.node] = received.message
        count = self.counts.get(received.message.node, 0)
        self.counts[received.message.node] = count + 1


class Member:
    """One running heartbeat."""

    def __init__(
        self,
        cluster: Cluster,
        member: str,
        bus: Bus | None,
        boot: int = 1,
        *,
        key: bytes = KEY,
        log: Logger = LOG,
    ) -> None:
        self._member = member
        self.boot_id = f"{boot:016x}"
        udp = UdpBeats(cluster, member, key, CLOCK)
        self._shell = Shell(cluster=cluster, clock=CLOCK, udp=udp, log=log)
        if bus is not None:
            self._shell.say_on(bus.connect(member))
        self._stopping = asyncio.Event()

    def checks(self) -> tuple[Check, ...]:
        return self._shell.checks()

    async def __aenter__(self) -> "Member":
        run = self._shell.run(self._member, self.boot_id, self._stopping)
        self._running = asyncio.create_task(run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        await asyncio.wait_for(self._running, PATIENCE_S)


def hears(*peers: str, within_us: Duration = 5 * SECOND) -> Callable[[Heartbeat], bool]:
    return lambda beat: all(beat.hears_us.get(peer, PATIENCE_US) < within_us for peer in peers)


def counts(kind: str) -> Callable[[Heartbeat], bool]:
    return lambda beat: beat.rejected.get(kind) == 1


def test_members_hear_each_other_directly() -> None:
    async def main() -> None:
        cluster, bus = free_cluster(), Bus()
        await bus.listen()
        async with Member(cluster, "a", bus), Member(cluster, "b", bus, 2):
            beat = await bus.until("a", hears("b"))
            assert (beat.boot_id, beat.configuration) == ("0" * 15 + "1", "c0ffee")
            await bus.until("b", hears("a"))
            async with Member(cluster, "witness", bus, 3):
                await bus.until("witness", hears("a", "b"))
                await bus.until("a", hears("b", "witness"))

    asyncio.run(main())


def test_a_member_is_heard_without_a_bus() -> None:
    async def main() -> None:
        cluster, bus = free_cluster(), Bus()
        await bus.listen()
        async with Member(cluster, "a", bus), Member(cluster, "b", None, 2):
            await bus.until("a", hears("b"))

    asyncio.run(main())


def test_silence_grows_and_a_restart_is_heard_again() -> None:
    async def main() -> None:
        cluster, bus = free_cluster(), Bus()
        await bus.listen()
        async with Member(cluster, "a", bus):
            async with Member(cluster, "b", bus, 2):
                await bus.until("a", hears("b"))
            await bus.until("a", lambda beat: beat.hears_us["b"] > SECOND // 2)
            async with Member(cluster, "b", bus, 3):
                await bus.until("a", hears("b", within_us=SECOND // 4))

    asyncio.run(main())


def test_what_is_not_a_peers_beat_is_counted_and_ignored() -> None:
    async def main() -> None:
        cluster, bus = free_cluster(), Bus()
        await bus.listen()
        beat = Datagram(sender="b", receiver="a", boot_id="0b" * 8, sequence=9)
        recorded = seal(beat, cluster="shop", key=KEY)
        to = (cluster.nodes["a"].address, cluster.heartbeat.port)
        payloads = {
            "malformed": b"any bytes",
            "oversize": recorded + bytes(SIZE_MAX),
            "foreign": seal(beat, cluster="other", key=KEY),
            "forged": seal(beat, cluster="shop", key=b"guessed"),
            "own": seal(replace(beat, sender="a"), cluster="shop", key=KEY),
            "stranger": seal(replace(beat, sender="c"), cluster="shop", key=KEY),
            "misdirected": seal(replace(beat, receiver="witness"), cluster="shop", key=KEY),
            "unproven": recorded,
            "replayed": recorded,
        }
        async with Member(cluster, "a", bus):
            await bus.until("a", hears())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                for kind, payload in payloads.items():
                    attacker.sendto(payload, to)
                    await bus.until("a", counts(kind))
            last = await bus.until("a", hears())
            assert last.rejected == dict.fromkeys(payloads, 1)
            assert last.hears_us == {}

    asyncio.run(main())


def test_a_flood_does_not_stop_the_beats() -> None:
    async def main() -> None:
        cluster, bus = free_cluster(), Bus()
        await bus.listen()
        to = (cluster.nodes["a"].address, cluster.heartbeat.port)
        async with Member(cluster, "a", bus):
            before = await bus.until("a", hears())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
                for _ in range(100):
                    for _ in range(100):
                        attacker.sendto(b"x" * 100, to)
                    await CLOCK.sleep(0)
            after = await bus.until("a", lambda beat: beat.sequence > before.sequence + 5)
            assert after.rejected["malformed"] > 0

    asyncio.run(main())


def test_peers_that_cannot_be_reached_do_not_stop_the_beats() -> None:
    async def main() -> None:
        cluster, bus = free_cluster(), Bus()
        # No such network, and an address that nobody may send to without asking.
        unreachable = {
            **cluster.nodes,
            "b": replace(cluster.nodes["b"], address="255.255.255.255"),
            "c": replace(cluster.nodes["b"], name="c", address="127.0.0.9"),
        }
        await bus.listen()
        async with Member(replace(cluster, nodes=unreachable), "a", bus):
            await bus.until("a", lambda beat: beat.sequence > 10)

    asyncio.run(main())


@pytest.mark.parametrize("is_other", ["key", "cluster"])
def test_members_that_do_not_believe_each_other_say_so_once_and_why(is_other: str) -> None:
    lines: list[dict[str, str]] = []

    def write(line: str) -> None:
        lines.append(json.loads(line))

    async def main() -> None:
        cluster, log = free_cluster(), Logger(write, clock=CLOCK, render=as_json)
        theirs = replace(cluster, name="other") if is_other == "cluster" else cluster
        key = b"another key, of 32 bytes......" if is_other == "key" else KEY
        stranger = Member(theirs, "b", None, 2, key=key, log=Logger(lambda _: None, clock=CLOCK))
        async with Member(cluster, "a", None, log=log) as member, stranger:
            async with asyncio.timeout(PATIENCE_S):
                while not lines or all(not check.failure for check in member.checks()):
                    await CLOCK.sleep(5 * MILLISECOND)
            (failure,) = (check.failure for check in member.checks() if check.failure)
            assert failure == lines[0]["because"]
        assert [line["event"] for line in lines] == ["beats_refused"]
        assert lines[0]["of"] == "b"
        assert f"another {is_other}" in failure

    asyncio.run(main())


def test_a_port_in_use_is_named() -> None:
    async def main() -> None:
        cluster = free_cluster()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((cluster.nodes["a"].address, cluster.heartbeat.port))
            udp = UdpBeats(cluster, "a", KEY, CLOCK)
            with pytest.raises(MachineError, match=f"UDP port {cluster.heartbeat.port}"):
                udp.open()
            udp.close()

    asyncio.run(main())


class SetClock(SystemClock):
    """A clock whose time of day somebody sets."""

    def __init__(self) -> None:
        self.set_by_us = 0

    def wall(self) -> int:
        return super().wall() + self.set_by_us


class Pair:
    """A's end of the path, and a peer that beats when it is told to."""

    def __init__(self) -> None:
        cluster, self.clock = free_cluster(), SetClock()
        self.a, self._b = (
            UdpBeats(cluster, "a", KEY, self.clock),
            UdpBeats(cluster, "b", KEY, CLOCK),
        )
        self._sequence = 0

    def __enter__(self) -> "Pair":
        self.a.open()
        self._b.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.a.close()
        self._b.close()

    def beat(self) -> int:
        """Let b beat; returns when."""
        self._sequence += 1
        beat = Datagram(sender="b", receiver="a", boot_id="0b" * 8, sequence=self._sequence)
        assert self._b.send(beat)
        return CLOCK.now()

    def collect(self) -> list[Arrival]:
        return list(self.a.collect())


def wait(duration_us: Duration) -> None:
    until = CLOCK.now() + duration_us
    while CLOCK.now() < until:
        pass


def test_a_beat_counts_from_when_it_came_however_late_it_is_read() -> None:
    with Pair() as pair:
        sent_at = [pair.beat()]
        wait(30 * MILLISECOND)
        sent_at.append(pair.beat())
        wait(20 * MILLISECOND)
        now = CLOCK.now()
        ages_us = [arrival.age_us for arrival in pair.collect()]
        late_us = CLOCK.now() - now
        assert [arrival.member for arrival in pair.collect()] == []
        for at, age_us in zip(sent_at, ages_us, strict=True):
            assert abs(now - at - age_us) <= 5 * MILLISECOND + late_us


@pytest.mark.parametrize("set_by_us", [-3_600 * SECOND, 3_600 * SECOND])
def test_whoever_sets_the_time_of_day_makes_no_beat_older_or_newer_than_it_can_be(
    set_by_us: Duration,
) -> None:
    with Pair() as pair:
        pair.collect()
        emptied_at = CLOCK.now()
        pair.beat()
        pair.clock.set_by_us = set_by_us
        (arrival,) = pair.collect()
        assert 0 <= arrival.age_us <= CLOCK.now() - emptied_at + 5 * MILLISECOND
        pair.beat()
        (after,) = pair.collect()
        assert 0 <= after.age_us <= CLOCK.now() - emptied_at


def test_what_comes_during_a_pause_waits_and_is_read_at_once() -> None:
    with Pair() as pair:
        for _ in range(100):
            pair.beat()
        sequences = [arrival.read.sequence for arrival in pair.collect()]  # type: ignore[union-attr]
        assert sequences == list(range(1, 101))
