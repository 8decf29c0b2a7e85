"""What a drill acts on and sees: a running cluster, from outside.

A sandbox, or any other cluster whose programs and networks somebody can act on (`Control`).

Everything here is a question or a wish; what answers mean is `judgement`'s.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Protocol, Self

from services.sandbox import configuration
from services.sandbox.audit import OrdersAudit, audit_orders
from services.sandbox.control import SOCKET, ControlClient
from services.sandbox.cuts import Way
from services.sandbox.drills import balancers
from services.sandbox.drills.balancers import Weights
from services.sandbox.drills.console import Console
from services.sandbox.errors import DrillError
from services.sandbox.faults import Condition, Reach, Span
from services.sandbox.network import WITNESS, Wire
from services.sandbox.observers.judging import Watched, Window, judge, moves
from services.sandbox.observers.observations import Asked, Observation, Reader
from services.sandbox.parts import OBSERVATIONS, RECORDS, read_journals
from services.sandbox.records import Record, RecordReader
from services.sandbox.supervisor import Injection, Sight
from shared.clock import Clock
from shared.cluster import Cluster
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.rules import original
from shared.settings import load

LOOK_EVERY_US: Duration = 50 * MILLISECOND
OBSERVED_WITHIN_US: Duration = 2 * SECOND  # observers write twenty times a second
# What "at present" means on the wire: some questions, the last of which may still be open.
PRESENT_US: Duration = 300 * MILLISECOND
RECORDS_WITHIN_US: Duration = 10 * SECOND  # the client gives a request up after 2 s
SETTLED_US: Duration = 500 * MILLISECOND  # no request failed for so long: the start is over


@dataclass(eq=False, slots=True, kw_only=True)
class Clients:
    """What the open-loop client recorded, one stretch of time after the other."""

    reader: RecordReader
    clock: Clock
    _unread: list[Record] = field(default_factory=list)

    async def until(self, instant: Instant) -> None:
        """Wait until every request that was due before an instant has ended."""
        give_up_at = self.clock.now() + RECORDS_WITHIN_US
        while True:
            self._unread += self.reader.read()
            if self.reader.complete_until >= instant:
                return
            if self.clock.now() >= give_up_at:
                raise DrillError("the client has not recorded anything for too long; see its log")
            await self.clock.sleep(LOOK_EVERY_US)

    async def take(self, end_at: Instant) -> list[Record]:
        """Return all requests that were due before an instant and were not returned before."""
        await self.until(end_at)
        taken = [record for record in self._unread if record.scheduled_at < end_at]
        self._unread = [record for record in self._unread if record.scheduled_at >= end_at]
        return taken

    def since(self, instant: Instant) -> list[Record]:
        """Return what is known by now of the requests that ended after an instant."""
        self._unread += self.reader.read()
        # They stand in the order in which they ended: whoever looks often looks at the last only.
        return list(takewhile(lambda x: x.ended_at >= instant, reversed(self._unread)))[::-1]

    def drop(self) -> None:
        """Forget what happened so far: nothing of it is judged."""
        self._unread = []
        self.reader.read(lambda _: False)


@dataclass(eq=False, slots=True, kw_only=True)
class Observers:
    """What was seen of the virtual IPs from outside, one stretch of time after the other."""

    reader: Reader
    clock: Clock
    cluster: Cluster
    _unread: list[Observation] = field(default_factory=list)
    _begin_at: Instant = 0

    async def take(self, end_at: Instant, fault_at: Instant) -> Watched | None:
        """Judge what was seen until an instant and not judged before; None without VIPs."""
        if not self.cluster.vips:
            return None
        await self._until(end_at)
        window = Window(
            begin_at=self._begin_at,
            end_at=end_at,
            fault_at=fault_at,
            nodes=tuple(self.cluster.nodes),
            vips=tuple(self.cluster.vips),
        )
        found = judge(self._unread, window)
        self._unread = [each for each in self._unread if _seen_at(each) > end_at]
        self._begin_at = end_at
        return found

    def answering(self) -> dict[str, str | None]:
        """Return who answers for each VIP at present; None where nobody or not only one does."""
        self._unread += self.reader.read()
        since = self.clock.now() - PRESENT_US
        found: dict[str, set[str]] = {vip: set() for vip in self.cluster.vips}
        for each in reversed(self._unread):
            if isinstance(each, Asked):
                if each.at < since:
                    break
                found[each.vip].update(who for _, who in each.answers)
        return {vip: next(iter(who)) if len(who) == 1 else None for vip, who in found.items()}

    def moves(self) -> dict[str, tuple[Instant, ...]]:
        """Return when each VIP was answered by another node than before, as far as not judged."""
        self._unread += self.reader.read()
        asked = [each for each in self._unread if isinstance(each, Asked)]
        return {vip: moves(x for x in asked if x.vip == vip) for vip in self.cluster.vips}

    def astray(self) -> list[str]:
        """Say which VIPs are not answered at home, as seen on the wire."""
        return [
            f"{vip} is answered by {who or 'nobody, or not by one alone'}; "
            f"it must be {self.cluster.vips[vip].home}"
            for vip, who in self.answering().items()
            if who != self.cluster.vips[vip].home
        ]

    async def _until(self, instant: Instant) -> None:
        """Wait until all that was seen before an instant is written; if not, it is judged so."""
        give_up_at = self.clock.now() + OBSERVED_WITHIN_US
        while self.clock.now() < give_up_at:
            new = self.reader.read()
            self._unread += new
            if any(isinstance(each, Asked) and each.at >= instant for each in new):
                return
            await self.clock.sleep(LOOK_EVERY_US)

    def drop(self) -> None:
        """Forget what happened so far: nothing of it is judged."""
        self.reader.read()
        self._unread = []
        self._begin_at = self.clock.now()


def _seen_at(observation: Observation) -> Instant:
    return observation.at if isinstance(observation, Asked) else observation.begin_at


class Control(Protocol):
    """What is done to a cluster's programs and members from outside, and what is asked of them.

    A program is MEMBER/PROGRAM; what each verb means in full is in `services.sandbox.control`.
    """

    wires: Sequence[Wire]  # the networks that its members are on

    async def programs(self) -> Mapping[str, Sight]:
        """Return how all programs stand, by name."""

    async def processes(self, program: str) -> frozenset[str]:
        """Return the processes of a program, by id."""

    async def send(self, program: str, name: str, *, everyone: bool = False) -> Injection:
        """Send a signal, such as `KILL`; with `everyone` to the program's children as well."""

    async def hold(self, program: str) -> None:
        """Do not start a program again once it has died."""

    async def release(self, program: str) -> None:
        """Start a held program again."""

    async def until_ready(self, within_us: Duration, programs: Sequence[str] = ()) -> None:
        """Wait until programs (all, if none is named) are ready; else raise `MachineError`."""

    async def beside(
        self, member: str, command: Sequence[str], within_us: Duration
    ) -> tuple[int, str]:
        """Run a command in a member's network, while others ask; its code and complaints."""

    async def link(self, member: str, *, up: bool, wires: Sequence[Wire] = ()) -> Span:
        """Take a member's cables away (all, if no network is named), or put them back."""

    async def cut(self, member: str, way: Way, wires: Sequence[Wire] = ()) -> Span:
        """Drop silently what comes into a member, goes out of it, or both."""

    async def do(self, verb: str, member: str) -> Span:
        """Heal, freeze, thaw, kill or revive a whole member."""

    async def condition(self, member: str) -> Condition:
        """Return how a member is, by the kernel's word."""

    async def reach(self, member: str, other: str, wire: Wire) -> Reach:
        """Send a frame there and back."""

    async def status_of(self, address: str, port: int, path: str) -> int | None:
        """Ask an instance over HTTP; None when it does not answer."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A running cluster."""

    folder: Path  # with a folder a node that has its sockets, and the client's plan
    control: Control
    console: Console
    clients: Clients
    observers: Observers
    cluster: Cluster
    clock: Clock
    journals: Callable[[], Mapping[str, list[str]]]  # what was done, by instance

    @classmethod
    async def open(cls, folder: Path, clock: Clock) -> Self:
        """Reach the sandbox that has a folder; all its programs run."""
        report = load.examine(folder / configuration.CLUSTER_FILE, {})
        if report.settings is None:
            raise DrillError(report.text())
        context = json.loads((folder / "context.json").read_bytes())
        return cls(
            folder=folder,
            control=await ControlClient.connect(folder / SOCKET),
            # No drill hits the witness, but for the moment in which its own turn comes.
            console=Console(Path(context["members"][WITNESS])),
            clients=Clients(reader=RecordReader(folder / RECORDS), clock=clock),
            observers=Observers(
                reader=Reader(folder / OBSERVATIONS), clock=clock, cluster=report.settings.cluster
            ),
            cluster=report.settings.cluster,
            clock=clock,
            journals=partial(read_journals, folder),
        )

    def close(self) -> None:
        """Let go of it."""
        self.control.close()
        self.clients.reader.close()
        self.observers.reader.close()

    def drop(self) -> None:
        """Forget what clients and observers saw so far: nothing of it is judged."""
        self.clients.drop()
        self.observers.drop()

    @property
    def original(self) -> Weights:
        """The original settings, as the load balancers must have them."""
        return balancers.wanted(original(self.cluster))

    async def weights(self) -> dict[str, Weights]:
        """Return what every HAProxy gives every instance, by HAProxy's own word."""
        nodes = list(self.cluster.nodes)
        sockets = [self.folder / node / "haproxy.sock" for node in nodes]
        seen = await asyncio.gather(*map(balancers.read, sockets))
        return dict(zip(nodes, seen, strict=True))

    def audit(self, records: list[Record], begin_at: Instant) -> OrdersAudit:
        """Audit the POSTs that were due since an instant."""
        return audit_orders(records, recent(self.journals(), begin_at))

    async def until_instant(self, instant: Instant) -> None:
        """Wait until an instant; no time if it is over."""
        await self.clock.sleep(max(instant - self.clock.now(), 0))

    async def until(
        self, holds: Callable[[], Awaitable[bool]], within_us: Duration, every_us: Duration
    ) -> bool:
        """Look again and again whether something holds; return whether it did in time."""
        give_up_at = self.clock.now() + within_us
        while not await holds():
            if self.clock.now() >= give_up_at:
                return False
            await self.clock.sleep(every_us)
        return True

    async def unfit(self) -> str | None:
        """Say why no drill can begin now; None if one can."""
        status = await self.console.status()
        vips = status["vips"]
        waiting = [takeover["sentence"] for takeover in status["readiness"]]
        judgements = (
            (status["knowledge"]["fresh"], status["knowledge"]["text"]),
            (status["verdict"] == "serving", status["headline"]),
            (status["settled"] == "yes", "what is installed is not what is wanted"),
            (not status["incidents"], "an incident is still open"),
            (bool(waiting), "readiness is not known yet"),
            (all(takeover["ready"] for takeover in status["readiness"]), "; ".join(waiting)),
            *((vip["state"] == "held" and not vip["away"], vip["sentence"]) for vip in vips),
            *((takeover["ready"], takeover["sentence"]) for takeover in status["vip_readiness"]),
        )
        for right, text in judgements:
            if not right:
                return text or "nothing is known yet"
        found = balancers.differences(await self.weights(), self.original)
        found += self.observers.astray()
        return found[0] if found else await self._unserved()

    async def _unserved(self) -> str | None:
        now = self.clock.now()
        await self.clients.until(now - SETTLED_US)
        bad = [record for record in self.clients.since(now - SETTLED_US) if not record.ok]
        return f"{len(bad)} requests failed in the last moment" if bad else None


def recent(journals: Mapping[str, list[str]], begin_at: Instant) -> dict[str, list[str]]:
    """Return what of the journals was ordered since an instant: an id says when it was due."""
    return {
        name: [order for order in orders if (due := order[1:]).isdigit() and int(due) >= begin_at]
        for name, orders in journals.items()
    }
