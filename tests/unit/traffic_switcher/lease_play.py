"""Plays situations to the core of leases: a kernel, a disk, an arbiter's words as plain values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.traffic_switcher.core import leases
from services.traffic_switcher.core.leases import Beginning
from services.traffic_switcher.core.leases.actions import (
    Action,
    Announce,
    Ask,
    Beat,
    CloseGuard,
    DropAddress,
    ForgetFlows,
    HandOver,
    HoldBack,
    Keep,
    LetGo,
    Look,
    LookAround,
    PassOn,
    PersistFloors,
    Renew,
    Stand,
    TakeAddress,
)
from services.traffic_switcher.core.leases.state import (
    AddressNotTaken,
    AddressTaken,
    Answered,
    BalancerChanged,
    Closed,
    Event,
    FloorsNotPersisted,
    FloorsPersisted,
    GuardBroken,
    GuardShown,
    Heard,
    Memory,
    NotRenewed,
    NotStood,
    PlacesSeen,
    PlanInForce,
    Renewed,
    State,
    Stood,
    Tick,
)
from services.traffic_switcher.core.places import Place
from services.traffic_switcher.core.state import Say, Trace
from shared.cluster import Cluster, VirtualIp
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.leases import Grant, Held, LeaseBeat, Term
from shared.messages.table import Message
from shared.messages.traffic import Placement, Plan
from shared.rules import original
from tests.unit.traffic_switcher.play import cluster

LEASE_US: Duration = 300 * MILLISECOND
EVERY_US: Duration = 50 * MILLISECOND


def with_vips(of: Cluster | None = None) -> Cluster:
    """Return a cluster with two VIPs, one at home on each node."""
    vips = tuple(
        VirtualIp(name=name, address=address, prefix=24, home=home)
        for name, address, home in (
            ("api", "10.0.0.101", "node-b"),
            ("web", "10.0.0.100", "node-a"),
        )
    )
    return replace(of or cluster(), vips={vip.name: vip for vip in vips})


@dataclass
class Kernel:
    """A guard as a value: what is open until when."""

    ends: dict[str, Instant] = field(default_factory=dict)
    refuses: str = ""
    permits: bool = True

    def rests(self, now: Instant) -> Mapping[str, Duration]:
        """Return what is left of what is open."""
        return {name: end - now for name, end in self.ends.items() if end > now}


class LeasePlay:
    """One switcher's leases; everything happens at once unless told otherwise."""

    def __init__(self, memory: Memory | None = None, plan: Plan | None = None) -> None:
        self.cluster = with_vips()
        self.now: Instant = 1_000 * SECOND
        self.disk = memory
        self.disk_full = False
        self.kernel = Kernel()
        self.addresses: set[str] = set()
        self.places = dict.fromkeys(self.cluster.vips, Place(interface="eth0", carrier=True))
        self.done: list[Action] = []
        self.answers = True
        self.holds_places = False  # reading links takes its time
        self.refuses_addresses = ""
        self.holds_addresses = False
        self.incarnations = 0
        self.plan = plan
        self.state = self.start()

    def start(self) -> State:
        """Start the process (again) with what the disk has."""
        self.incarnations += 1
        beginning = Beginning(
            node="node-a",
            incarnation=f"{self.incarnations:016x}",
            memory=self.disk,
            plan=self.plan,
        )
        self.state = leases.start(self.cluster, beginning, self.now)
        self.feed(Tick())
        self.feed(BalancerChanged(""))
        return self.state

    def feed(self, event: Event) -> None:
        """Let something happen, and all that follows at once."""
        waiting = [event]
        while waiting:
            self.state, actions = leases.decide(self.state, waiting.pop(0), self.now)
            for action in actions:
                self.done.append(action)
                waiting += self.perform(action)

    def pass_time(self, duration_us: Duration) -> None:
        """Let time pass, ticking whenever something is due."""
        until = self.now + duration_us
        while (due := leases.deadline(self.state)) <= until:
            assert due > self.now or not self._is_stuck(), "it would not come to rest"
            self.now = max(self.now, due)
            self.feed(Tick())
        self.now = until

    def _is_stuck(self) -> bool:
        before = leases.deadline(self.state)
        self.feed(Tick())
        return leases.deadline(self.state) == before <= self.now

    def sleep(self, duration_us: Duration) -> None:
        """Let time pass for everybody but this process."""
        self.now += duration_us

    def grant(
        self,
        vips: Mapping[str, Term],
        *,
        length_us: Duration = LEASE_US,
        beat: LeaseBeat | None = None,
        epoch: int = 1,
        incidents: Mapping[str, str] | None = None,
    ) -> Grant:
        """Return the arbiter's answer to a beat, by default to the newest."""
        to = beat or self.beats[-1]
        return Grant(
            node=to.node,
            incarnation=to.incarnation,
            number=to.number,
            epoch=epoch,
            length_us=length_us,
            vips=vips,
            incidents=incidents or {},
        )

    def hear(self, vips: Mapping[str, Term], *, length_us: Duration = LEASE_US) -> None:
        """Let it hear the answer to its newest beat."""
        self.feed(Heard(self.grant(vips, length_us=length_us)))

    def follow(self, number: Term, placements: Mapping[str, Placement], **changes: object) -> None:
        """Let a plan be persisted."""
        self.plan = plan(number, placements, **changes)
        self.feed(PlanInForce(self.plan))

    # -- the world -----------------------------------------------------------------------

    def perform(self, action: Action) -> Iterable[Event]:  # noqa: C901, PLR0911, PLR0912
        """Do one thing and return what is heard of it."""
        match action:
            case Stand():
                self.kernel.ends.clear()
                return [NotStood(self.kernel.refuses) if self.kernel.refuses else Stood()]
            case Look() if self.kernel.refuses:
                return [GuardBroken(self.kernel.refuses)]
            case Look():
                return [GuardShown(self.kernel.rests(self.now), self.now)]
            case Renew():
                return [self._renew(action)]
            case CloseGuard() if self.kernel.refuses:
                return [GuardBroken(self.kernel.refuses)]
            case CloseGuard():
                self.kernel.ends.pop(action.vip, None)
                return [Closed(action.vip)]
            case LookAround() if self.holds_places:
                return []
            case LookAround():
                seen = {
                    name: replace(place, ours=name in self.addresses)
                    for name, place in self.places.items()
                }
                return [PlacesSeen(seen, self.now)]
            case TakeAddress() if self.holds_addresses:
                return []
            case TakeAddress() if self.refuses_addresses:
                return [AddressNotTaken(action.vip, action.term, self.refuses_addresses)]
            case TakeAddress():
                self.addresses.add(action.vip)
                return [AddressTaken(action.vip, action.term)]
            case DropAddress():
                self.addresses.discard(action.vip)
                return []
            case Ask():
                return [Answered(action.vip, action.term, "HTTP 200")] if self.answers else []
            case PersistFloors() if self.disk_full:
                return [FloorsNotPersisted("disk full")]
            case PersistFloors():
                self.disk = action.memory
                return [FloorsPersisted()]
            case Beat() | HandOver() | Keep() | ForgetFlows() | Announce() | Say() | Trace():
                return []
            case HoldBack() | PassOn() | LetGo():
                return []

    def _renew(self, action: Renew) -> Event:
        if self.kernel.refuses:
            return GuardBroken(self.kernel.refuses)
        rests = leases.rests(action.ends, self.now)
        if not self.kernel.permits or not rests:
            return NotRenewed()
        self.kernel.ends |= {name: self.now + rest for name, rest in rests.items()}
        return Renewed({name: action.ends[name] for name in rests})

    # -- what was done -------------------------------------------------------------------

    def is_open(self, name: str) -> bool:
        """Whether the kernel lets it through now."""
        return self.kernel.ends.get(name, 0) > self.now

    @property
    def beats(self) -> list[LeaseBeat]:
        """All beats so far."""
        return [action.beat for action in self.done if isinstance(action, Beat)]

    @property
    def said(self) -> list[Message]:
        """All that was said beside beats."""
        return [action.message for action in self.done if isinstance(action, Say)]

    @property
    def held(self) -> list[tuple[str, str]]:
        """What became of VIPs: name and what."""
        return [(m.vip, m.holding.value) for m in self.said if isinstance(m, Held)]

    @property
    def written(self) -> list[Memory]:
        """What was wanted on the disk, so far."""
        return [action.memory for action in self.done if isinstance(action, PersistFloors)]

    def kinds(self) -> list[str]:
        """Return the names of all actions so far."""
        return [type(action).__name__ for action in self.done]


def plan(number: Term, placements: Mapping[str, Placement], **changes: object) -> Plan:
    """Return a plan that places VIPs."""
    epoch, sequence = number
    made = Plan(
        epoch=epoch,
        sequence=sequence,
        services=original(with_vips()),
        reason="a test",
        vips=placements,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def here(term: Term, **changes: object) -> Placement:
    """Return a placement on this node."""
    return replace(Placement(holder="node-a", term=term), **changes)  # type: ignore[arg-type]


def there(term: Term, **changes: object) -> Placement:
    """Return a placement on the other node."""
    return replace(Placement(holder="node-b", term=term), **changes)  # type: ignore[arg-type]
