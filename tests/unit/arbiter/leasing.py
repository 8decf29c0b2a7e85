"""The arbiter's stage with virtual IPs: switchers that take, renew and release what they are told.

They keep the node's side of the protocol as far as the arbiter's decisions depend on it.
"""

from dataclasses import dataclass, field, replace

from services.arbiter.core.state import Action, Order, Say
from shared.cluster import Cluster, VirtualIp
from shared.instant import MILLISECOND, SECOND, Duration
from shared.messages.facts import VipBelief, VipChanged
from shared.messages.leases import NO_TERM, Grant, Hold, LeaseBeat, Term
from shared.messages.traffic import Plan
from tests.unit.arbiter.play import POLICY, Play, cluster_of

LEASE_US: Duration = 300 * MILLISECOND
AT_HOME = {"web": "node-a", "api": "node-b"}


def cluster_with(
    homes: dict[str, str] | None = None, *, nodes: int = 2, lease_us: Duration | None = LEASE_US
) -> Cluster:
    """Return a cluster with virtual IPs at these homes."""
    homes = AT_HOME if homes is None else homes
    cluster = cluster_of(nodes=nodes, policy=replace(POLICY, node_after_us=30 * SECOND))
    return replace(
        cluster,
        heartbeat=replace(cluster.heartbeat, lease_us=lease_us),
        vips={
            name: VirtualIp(name=name, address=f"10.1.0.{100 + k}", prefix=24, home=home)
            for k, (name, home) in enumerate(homes.items())
        },
    )


@dataclass
class Lease:
    """One VIP on one node."""

    address: str = ""
    term: Term = NO_TERM
    end: int = 0
    floor: Term = NO_TERM
    taken_at: int | None = None
    unfit: str = ""


@dataclass
class Switcher:
    """One node's side of the leases."""

    node: str
    incarnation: str = "0001"
    number: int = 0
    epoch: int = 0
    heard: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    balancer: str = ""
    leaving: str = ""
    unkept: str = ""
    guard_age_us: int = 0
    answers: bool = True  # requests through what it holds are answered

    def beat(self, now: int) -> LeaseBeat:
        """Return its next beat."""
        self.number += 1
        self.sent[self.number] = now
        return LeaseBeat(
            node=self.node,
            incarnation=self.incarnation,
            number=self.number,
            epoch=self.epoch,
            vips={name: self.hold(each, now) for name, each in sorted(self.leases.items())},
            guard_age_us=self.guard_age_us,
            guard_detail="nothing was read" if self.guard_age_us else "",
            balancer=self.balancer,
            leaving=self.leaving,
            unkept=self.unkept,
            heard=self.heard,
        )

    def hold(self, lease: Lease, now: int) -> Hold:
        """Return a VIP as a beat shows it."""
        runs = lease.end > now
        answered = runs and lease.taken_at is not None and self.answers
        return Hold(
            term=lease.term,
            rest_us=max(lease.end - now, 0),
            floor=lease.floor,
            unfit=lease.unfit,
            answered_age_us=now - (lease.taken_at or 0) if answered else None,
            beside=f"an address of {self.node}",
            address=lease.address,
        )

    def hear(self, grant: Grant, now: int) -> None:
        """Take what is granted."""
        known = grant.incarnation == self.incarnation and grant.number in self.sent
        if not known or grant.epoch < self.epoch:
            return
        self.epoch = grant.epoch
        self.heard = max(self.heard, grant.number)
        for name, term in grant.vips.items():
            lease = self.leases[name]
            if term > lease.floor and term >= lease.term and not self.sick(lease):
                if term > lease.term or lease.end <= now:
                    lease.taken_at = now
                lease.end = max(
                    lease.end if term == lease.term else 0,
                    self.sent[grant.number] + grant.length_us,
                )
                lease.term = term

    def sick(self, lease: Lease) -> str:
        """Return why it holds nothing, or not this."""
        return self.leaving or self.balancer or lease.unfit

    def obey(self, plan: Plan) -> None:
        """Release what a plan gives to another."""
        self.epoch = max(self.epoch, plan.epoch)
        for name, placement in plan.vips.items():
            lease = self.leases.setdefault(name, Lease())
            if placement.holder != self.node:
                lease.floor = max(lease.floor, placement.term)
                lease.end = 0

    def give_up(self) -> None:
        """Release everything that it cannot hold."""
        for lease in self.leases.values():
            if self.sick(lease) and lease.term > lease.floor:
                lease.floor, lease.end = lease.term, 0

    def restart(self, *, remembers: bool = True) -> None:
        """Begin anew, everything closed."""
        self.incarnation = f"{int(self.incarnation, 16) + 1:04x}"
        self.number = self.heard = 0
        self.sent = {}
        for lease in self.leases.values():
            lease.floor = max(lease.floor, NO_TERM if remembers else lease.term)
            lease.end, lease.taken_at, lease.term = 0, None, NO_TERM


@dataclass
class VipPlay(Play):
    """The stage, with a switcher on every node."""

    cluster: Cluster = field(default_factory=cluster_with)
    switchers: dict[str, Switcher] = field(default_factory=dict)
    overlaps: list[str] = field(default_factory=list)
    obeyed: list[Grant | Plan] = field(default_factory=list)  # in the order in which they were said

    def __post_init__(self) -> None:
        """Let every node have a switcher before anything is said."""
        for node in self.cluster.nodes:
            switcher = self.switchers.setdefault(node, Switcher(node))
            for name, vip in self.cluster.vips.items():
                switcher.leases.setdefault(name, Lease(address=vip.address))
        super().__post_init__()

    def _obey(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, Say) and isinstance(action.message, Grant):
                grant = action.message
                self.obeyed.append(grant)
                if grant.node not in self.deaf:
                    self.switchers[grant.node].hear(grant, self.now)
                    self._look()
            if isinstance(action, Order):
                self.obeyed.append(action.command.plan)
                for node in action.to:
                    if node not in self.deaf:
                        self.switchers[node].obey(action.command.plan)
        super()._obey(actions)

    def _look(self) -> None:
        """Note every moment in which two nodes hold one VIP."""
        for name in self.cluster.vips:
            holders = [
                node
                for node, switcher in self.switchers.items()
                if switcher.leases[name].end > self.now
            ]
            if len(holders) > 1:
                self.overlaps.append(f"{name} on {holders} at {self.now}")

    def beat(self) -> None:
        """Beat for the leases as well."""
        super().beat()
        for node in self.cluster.nodes:
            self.report(node)

    def report(self, node: str) -> None:
        """Let one switcher beat now."""
        if node not in self.mute:
            self.switchers[node].give_up()
            self.tell(self.switchers[node].beat(self.now))

    @property
    def holders(self) -> dict[str, str]:
        """Return where VIPs are by the plan."""
        return {name: placement.holder for name, placement in self.plan.vips.items()}

    @property
    def held(self) -> dict[str, str | None]:
        """Return where VIPs really are."""
        return {
            name: next(
                (n for n, each in self.switchers.items() if each.leases[name].end > self.now), None
            )
            for name in self.cluster.vips
        }

    def belief(self, vip: str = "web") -> VipBelief:
        """Return what the arbiter says of a VIP."""
        from services.arbiter.core.vip_views import beliefs  # noqa: PLC0415

        return beliefs(self.state, self.now)[vip]

    def changes(self) -> list[tuple[str, str | None, str]]:
        """Return all moves that were said."""
        return [
            (each.vip, each.before, each.holder)
            for each in self.said
            if isinstance(each, VipChanged)
        ]

    def again(self, plans: tuple[Plan, ...] | None = None) -> "VipPlay":
        """Return the play after a restart of the arbiter; the switchers went on."""
        from services.arbiter.core import Past  # noqa: PLC0415

        past = Past(
            plans=plans if plans is not None else (self.state.command.plan,),
            incidents={name: case.incident for name, case in self.state.cases.items()},
            wall_us=self.wall_us + self.now,
        )
        return VipPlay(
            cluster=self.cluster,
            past=past,
            now=self.now,
            switchers=self.switchers,
            mute=set(self.mute),
            deaf=set(self.deaf),
            unheard=set(self.unheard),
            dark=set(self.dark),
            sequence=self.sequence,
        )
