"""Many small clusters on one server, played by one process: `python -m benchmarks.growth.flock`.

Every cluster has two nodes and a witness, a connection for each of the three, and on it the
subscriptions of that member's programs, twice where two programs hear the same. Messages are those
of a cluster at rest, with grants in answer to all beats; each was made once by the real codec, and
only its numbers change from then on: a hundred thousand a second leave no time for more. What
comes is dropped by the kernel (MSG_TRUNC).
"""

import json
import selectors
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic, sleep

from benchmarks.growth.crowd import witness_beat
from benchmarks.growth.lines import speaker
from benchmarks.growth.said import Node, boot_of
from benchmarks.growth.scene import Size, cluster_file, in_a_folder
from services.arbiter.shell import HEARD as HEARD_BY_ARBITERS
from services.console.shell import heard_patterns
from shared.bus.wire import ROOT, Wire
from shared.cluster import Cluster
from shared.instant import MILLISECOND
from shared.messages.health import Presence
from shared.messages.leases import Grant
from shared.messages.table import BY_MESSAGE, Message
from shared.settings.load import load
from shared.urgency import hurry

EVERY_S = 0.05
SECONDLY = 20  # turns
SLOTS = 50  # of a turn: the clusters speak one after the other
LATE_S = EVERY_S / 2
READ_MAX = 1 << 20
NUMBER = 123_456_789  # where a number stands that changes; all have as many digits
PING = b"PING\r\n"
HELLO = b'CONNECT {"verbose":false,"pedantic":false}\r\n'


@dataclass(frozen=True, slots=True)
class Words:
    """What a member says in a turn, and once a second beside it, cut where numbers stand."""

    often: tuple[bytes, ...]
    seldom: tuple[bytes, ...]


def said_by(cluster: Cluster) -> dict[str, Words]:
    """Return what each member of a cluster says, as the real codec writes it."""
    wire = Wire(speaker(cluster.name, "flock", "flock"))
    found = {}
    for name in cluster.nodes:
        node = Node(cluster, name)
        beat = replace(node.heartbeat(), sequence=NUMBER)
        often = (beat, replace(node.beat(), number=NUMBER))
        seldom = (Presence(beat=beat), node.picture(), node.measured(0))
        found[name] = _words(wire, often, seldom)
    beat = witness_beat(cluster, NUMBER)
    grants = tuple(
        Grant(
            node=name,
            incarnation=boot_of(name, "traffic_switcher"),
            number=NUMBER,
            epoch=1,
            length_us=200 * MILLISECOND,
            vips={vip: (1, 1) for vip, each in cluster.vips.items() if each.home == name},
        )
        for name in cluster.nodes
    )
    return {**found, "witness": _words(wire, (beat, *grants), (Presence(beat=beat),))}


def _words(wire: Wire, often: Sequence[Message], seldom: Sequence[Message]) -> Words:
    cut = str(NUMBER).encode()
    said = [b"".join(_published(wire, each) for each in some) for some in (often, seldom)]
    return Words(*(tuple(each.split(cut)) for each in said))


def _published(wire: Wire, message: Message) -> bytes:
    parcel = wire.pack(message)
    head = f"PUB {parcel.subject} {len(parcel.payload)}\r\n".encode()
    return head + parcel.payload + b"\r\n"


def heard_by(cluster: Cluster, member: str) -> Iterator[str]:
    """Yield what a member's programs subscribe to."""
    yield from heard_patterns(cluster, member)
    if member in cluster.nodes:
        yield from (f"command.{member}", f"grant.{member}", f"recall.{member}")
    else:
        yield from (BY_MESSAGE[kind].pattern for kind in HEARD_BY_ARBITERS)
        yield "operator.*"


class Flock:
    """All the clusters."""

    def __init__(self, cluster: Cluster, count: int) -> None:
        self._cluster = cluster
        self._names = [f"flock-{number:04}" for number in range(count)]
        self._selector = selectors.DefaultSelector()
        self._spoken: list[list[tuple[socket.socket, Words]]] = [[] for _ in range(SLOTS)]
        self._empty = bytearray(READ_MAX)

    def connect(self, host: str, port: int) -> None:
        """Connect all members of all clusters."""
        for number, name in enumerate(self._names):
            cluster = replace(self._cluster, name=name)
            for member, words in said_by(cluster).items():
                line = socket.create_connection((host, port))
                line.recv(READ_MAX)
                subscriptions = [
                    f"SUB {ROOT}.{name}.{pattern} {place}\r\n".encode()
                    for place, pattern in enumerate(heard_by(cluster, member), start=1)
                ]
                line.sendall(b"".join((HELLO, *subscriptions, PING)))
                line.recv(READ_MAX)
                self._selector.register(line, selectors.EVENT_READ)
                self._spoken[number % SLOTS].append((line, words))

    def play(self) -> Iterator[float]:
        """Speak for ever; yield how late each slot is."""
        begun = monotonic()
        slot = 0
        while True:
            due = begun + slot * EVERY_S / SLOTS
            self._hear(due)
            turn, place = divmod(slot, SLOTS)
            number = b"%d" % (NUMBER + turn)
            for line, words in self._spoken[place]:
                payload = number.join(words.often)
                if turn % SECONDLY == place % SECONDLY:
                    payload += number.join(words.seldom)
                line.sendall(payload)
            yield monotonic() - due
            slot += 1

    def _hear(self, due: float) -> None:
        while (left := due - monotonic()) > 0:
            self._drop(left)
        self._drop(0)  # when we are late, too

    def _drop(self, within_s: float) -> None:
        for key, _ in self._selector.select(within_s):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.recv_into(self._empty, READ_MAX, socket.MSG_TRUNC)


def main(host: str, port: str, count: str) -> None:
    """Play until told to stop, and say then how late that was."""
    with in_a_folder(cluster_file(Size(2, 2), f"nats://{host}:{port}", "flock")) as place:
        cluster = load(place, {"EQUIPOISE_NODE": "witness"}).cluster
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    hurry()
    flock = Flock(cluster, int(count))
    flock.connect(host, int(port))
    print(json.dumps({"event": "ready"}), flush=True)
    slots = late = 0
    latest_s = 0.0
    if int(count) == 0:
        while not stopped:
            sleep(EVERY_S)
    for late_s in flock.play() if int(count) else ():
        slots, late, latest_s = slots + 1, late + (late_s > LATE_S), max(latest_s, late_s)
        if stopped:
            break
    told = {"late_percent": 100 * late / max(slots, 1), "latest_ms": latest_s * 1_000}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
