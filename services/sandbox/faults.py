"""What can be done to a whole member at once, and what the kernel says of it.

Verbs of the control socket (see `control`); each answers when it is done, with the span in which
it happened on the common clock:

    link      member up [wires]     take the cables of a member away, or put them back: carrier
    cut       member way [wires] [one_in]
                                    drop silently what comes in, goes out, or both; ARP too; all
                                    frames, or one in so many by chance
    heal      member                let everything through again
    freeze    member                stop every process of a member, children and workers too
    thaw      member                let them go on
    kill      member                kill -9 of everything on it, and hold it down
    revive    member                let it start again
    condition member                carrier, dropped frames, processes: by the kernel's own word
    reach     member other wire     whether a frame comes through, there and back

Nothing here asks Equipoise anything, and nothing here acts within a member: cables are touched at
the bridge's end, processes from outside.
"""

import os
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.sandbox import cuts, netlink
from services.sandbox.cuts import Way
from services.sandbox.namespaces import frames, opened
from services.sandbox.netlink import Netlink
from services.sandbox.network import Network, Port, Wire, hardware, packed
from services.sandbox.supervisor import Supervisor
from shared.clock import Clock
from shared.errors import MachineError
from shared.instant import MILLISECOND, Duration, Instant

NEWLINK, GETLINK = 16, 18
LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, changed flags
LINK_NAME = 3
UP, LOWER_UP = 0x1, 0x1_0000
TRIAL_KIND = 0x88B5  # a type of frames that is nobody's: for local experiments (IEEE 802)
TRIAL_WITHIN_US: Duration = 200 * MILLISECOND  # a frame takes 0.1 ms, unless we are starved
TRIAL_EVERY_US: Duration = 5 * MILLISECOND
ROUNDS_MAX = 20  # who forks meanwhile is found in the next round
ENDED = frozenset("ZX")  # of process states: no longer anybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When something was done: begun and ended, on the common clock."""

    begin_at: Instant
    end_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a member is, as the kernel says it."""

    carrier: Mapping[str, bool]  # by network, as its own namespace sees it
    dropped: Mapping[str, Mapping[str, int]]  # frames, by network and way; where it is cut
    processes: Mapping[str, str]  # their states, by process id; its holder is none of them

    @property
    def frozen(self) -> bool:
        """Whether there are processes, and each is stopped."""
        return bool(self.processes) and set(self.processes.values()) == {"T"}

    @property
    def dead(self) -> bool:
        """Whether no process is left."""
        return not self.processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Whether frames come through."""

    there: bool
    back: bool


Wish = Mapping[str, Any]
Answer = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Makes and ends faults of whole members."""

    supervisor: Supervisor
    network: Network
    clock: Clock

    def verbs(self) -> Mapping[str, Callable[[Wish], Awaitable[Answer]]]:
        """Return what the control socket offers of it."""
        return {
            "link": self._link,
            "cut": self._cut,
            "heal": self._heal,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "kill": self._kill,
            "revive": self._revive,
            "condition": self._condition,
            "reach": self._reach,
        }

    def _ports(self, wish: Wish) -> list[Port]:
        """Return the cables that are meant: all of a member, if no network is named."""
        member = wish["member"]
        self.network.holder(member)
        wires = {Wire(wire) for wire in wish.get("wires") or Wire}
        return [x for x in self.network.ports if x.member == member and x.wire in wires]

    def _done(self, begin_at: Instant) -> Answer:
        return asdict(Span(begin_at=begin_at, end_at=self.clock.now()))

    async def _link(self, wish: Wish) -> Answer:
        begin_at = self.clock.now()
        for port in self._ports(wish):
            set_link(port.outside, up=bool(wish["up"]))
        return self._done(begin_at)

    async def _cut(self, wish: Wish) -> Answer:
        begin_at = self.clock.now()
        for port in self._ports(wish):
            cuts.cut(port.outside, Way(wish["way"]), wish.get("one_in", 1))
        return self._done(begin_at)

    async def _heal(self, wish: Wish) -> Answer:
        begin_at = self.clock.now()
        for port in self._ports(wish):
            cuts.heal(port.outside)
        return self._done(begin_at)

    async def _freeze(self, wish: Wish) -> Answer:
        return self._everyone(wish["member"], signal.SIGSTOP, lambda state: state != "T")

    async def _thaw(self, wish: Wish) -> Answer:
        return self._everyone(wish["member"], signal.SIGCONT, lambda state: state == "T")

    async def _kill(self, wish: Wish) -> Answer:
        for name in self.supervisor.names_of(wish["member"]):
            self.supervisor.hold(name)
        return self._everyone(wish["member"], signal.SIGKILL, lambda state: state not in ENDED)

    def _everyone(
        self, member: str, number: signal.Signals, concerns: Callable[[str], bool]
    ) -> Answer:
        """Send a signal to every process of a member, once each, until there is no other."""
        holder = self.network.holder(member)
        begin_at = self.clock.now()
        sent: set[int] = set()
        for _ in range(ROUNDS_MAX):
            states = dict(processes(holder))
            new = [pid for pid, state in states.items() if pid not in sent and concerns(state)]
            if not new:
                break
            for pid in new:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            sent.update(new)
        return self._done(begin_at)

    async def _revive(self, wish: Wish) -> Answer:
        begin_at = self.clock.now()
        for name in self.supervisor.names_of(wish["member"]):
            self.supervisor.release(name)
        return self._done(begin_at)

    async def _condition(self, wish: Wish) -> Answer:
        holder = self.network.holder(wish["member"])
        carriers = opened(holder, lambda: carrier(Netlink(socket.NETLINK_ROUTE)))
        of_member = self._ports(wish)
        found = Condition(
            carrier={port.wire.value: carriers.get(port.inside, False) for port in of_member},
            dropped={
                port.wire.value: {way.value: count for way, count in counted.items()}
                for port in of_member
                if (counted := cuts.dropped(port.outside))
            },
            processes={str(pid): state for pid, state in processes(holder)},
        )
        return asdict(found)

    async def _reach(self, wish: Wish) -> Answer:
        wire = Wire(wish["wire"])
        here, there = (self._port_on(wire, wish[whom]) for whom in ("member", "other"))
        with ExitStack() as stack:
            ends = [
                stack.enter_context(
                    closing(frames(self.network.holder(port.member), port.inside, TRIAL_KIND))
                )
                for port in (here, there)
            ]
            one, two = (packed(hardware(port.address)) for port in (here, there))
            found = Reach(
                there=await passes(ends[0], one, ends[1], two, self.clock),
                back=await passes(ends[1], two, ends[0], one, self.clock),
            )
        return asdict(found)

    def _port_on(self, wire: Wire, member: str) -> Port:
        for port in self.network.ports:
            if port.member == member and port.wire is wire:
                return port
        raise MachineError(f"{member} is not on the network of the {wire}")


async def passes(
    sender: socket.socket, begin: bytes, receiver: socket.socket, end: bytes, clock: Clock
) -> bool:
    """Send a frame that nobody else sends to a hardware address; return whether it arrives."""
    secret = os.urandom(16)
    with suppress(OSError):  # a cable without carrier takes nothing
        sender.send(end + begin + TRIAL_KIND.to_bytes(2, "big") + secret)
    give_up_at = clock.now() + TRIAL_WITHIN_US
    while clock.now() < give_up_at:
        with suppress(BlockingIOError):
            if secret in receiver.recv(netlink.RECEIVE_MAX):
                return True
        await clock.sleep(TRIAL_EVERY_US)
    return False


def set_link(name: str, *, up: bool) -> None:
    """Switch an interface of this namespace on or off."""
    content = LINK.pack(0, 0, socket.if_nametoindex(name), UP if up else 0, UP)
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_ACK
    with closing(Netlink(socket.NETLINK_ROUTE)) as kernel:
        kernel.change(netlink.message(NEWLINK, flags, 1, content), acks=1)


def carrier(kernel: Netlink) -> dict[str, bool]:
    """Return whether each interface of a namespace is on and has carrier."""
    found: dict[str, bool] = {}
    with closing(kernel):
        for link in kernel.dump(GETLINK, LINK.pack(0, 0, 0, 0, 0)):
            flags = LINK.unpack_from(link.content)[3]
            fields = dict(netlink.attributes(link.content[LINK.size :]))
            name = fields[LINK_NAME].rstrip(b"\0").decode()
            found[name] = flags & (UP | LOWER_UP) == UP | LOWER_UP
    return found


def processes(holder: int) -> Iterator[tuple[int, str]]:
    """Return the processes that live in a holder's network namespace, with their states."""
    namespace = Path(f"/proc/{holder}/ns/net").readlink()
    for path in _numbered(Path("/proc").iterdir()):
        pid = int(path.name)
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if pid != holder and (path / "ns/net").readlink() == namespace:
                state = (path / "stat").read_text().rpartition(") ")[2][:1]
                if state not in ENDED:
                    yield pid, state


def _numbered(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.name.isdigit())
