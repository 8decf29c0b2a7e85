"""What the programs of one node say to a cluster: the messages of the real ones, nothing failing.

One object is one node's heartbeat, switcher and probe. It is told what they hear, and what an
instance is made to look like; everything else about it is well.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from services.traffic_switcher.core.telling import told_loads, told_rules
from shared.cluster import Cluster
from shared.company import companions, observers
from shared.instant import MILLISECOND, Instant
from shared.messages.health import Evidence, Grade, Heartbeat, Picture, Sign, Verdict
from shared.messages.leases import Grant, Hold, LeaseBeat
from shared.messages.traffic import Applied, InstanceLoad, Measured, Plan, ServiceLoad, Stage
from shared.rules import digest

ANSWER_US = 2 * MILLISECOND


def boot_of(node: str, program: str) -> str:
    """Return a boot id that whoever plays a node knows."""
    return hashlib.sha256(f"{program}/{node}".encode()).hexdigest()[:16]


def observed(observer: str, service: str, node: str, sequence: int, *, well: bool) -> Evidence:
    """Return an observer's word on an instance: it answers, or its port is closed."""
    return Evidence(
        observer=observer,
        boot_id=boot_of(observer, "health_probe"),
        sequence=sequence,
        node=node,
        service=service,
        verdict=Verdict.HEALTHY if well else Verdict.UNHEALTHY,
        grade=Grade.NONE if well else Grade.CONCLUSIVE,
        sign=Sign.OK if well else Sign.REFUSED,
        detail="answered" if well else "connection refused",
        value="2.0 ms" if well else "0.2 ms",
        threshold="within 50 ms" if well else "one refusal is conclusive",
        streak=100 if well else 1,
        first_age_us=0 if well else 300,
        age_us=20 * MILLISECOND if well else 100,
        answer_us=ANSWER_US,
        timeout_us=50 * MILLISECOND,
        late_us=0,
        abstains=False,
    )


@dataclass(frozen=True, slots=True)
class Installed:
    """A plan as a load balancer has it: the same on every node, so it is worked out once."""

    plan: Plan
    digest: str

    @classmethod
    def of(cls, plan: Plan) -> "Installed":
        """Install it everywhere."""
        return cls(plan, digest(plan.services))


class Node:
    """One node's programs."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self._cluster = cluster
        self._company = companions(cluster, name)
        self._beats = self._heartbeats = 0
        self._epoch = self._heard = 0
        self._holds = {
            vip: Hold(address=each.address, beside=cluster.nodes[name].address)
            for vip, each in cluster.vips.items()
        }
        self._installed: Installed | None = None
        self._evidence = {
            (service, node): observed(name, service, node, 1, well=True)
            for service in sorted(cluster.services)
            for node in sorted(cluster.nodes)
            if name in observers(cluster, service, node)
        }
        self._loads = {
            service: ServiceLoad(
                requests=1_000,
                failed=0,
                instances={
                    node: InstanceLoad(requests=500, errors=0, sessions=3, up=True)
                    for node in cluster.nodes
                },
            )
            for service in cluster.services
        }

    @property
    def plan(self) -> Plan | None:
        """The newest that it has."""
        return self._installed.plan if self._installed is not None else None

    def heartbeat(self) -> Heartbeat:
        """Say that it lives, and whom it hears."""
        self._heartbeats += 1
        return Heartbeat(
            node=self.name,
            boot_id=boot_of(self.name, "heartbeat"),
            sequence=self._heartbeats,
            configuration=self._cluster.configuration,
            hears_us=dict.fromkeys(self._company, 20 * MILLISECOND),
            late_us=100,
        )

    def beat(self) -> LeaseBeat:
        """Ask for leases."""
        self._beats += 1
        return LeaseBeat(
            node=self.name,
            incarnation=boot_of(self.name, "traffic_switcher"),
            number=self._beats,
            epoch=self._epoch,
            vips=self._holds,
            heard=self._heard,
        )

    def hear(self, grant: Grant) -> None:
        """Hold what is granted, and answer through it."""
        self._heard, self._epoch = grant.number, max(self._epoch, grant.epoch)
        for vip, hold in self._holds.items():
            term = grant.vips.get(vip)
            self._holds[vip] = (
                replace(hold, rest_us=0, answered_age_us=None)
                if term is None
                else replace(hold, term=term, rest_us=grant.length_us, answered_age_us=0)
            )

    def obey(self, installed: Installed) -> Iterator[Applied]:
        """Install a plan and verify it; an old one is only acknowledged."""
        plan = installed.plan
        if self.plan is None or plan.number > self.plan.number:
            self._installed = installed
            self._epoch = max(self._epoch, plan.epoch)
        assert self._installed is not None
        for stage in (Stage.INSTALLED, Stage.VERIFIED):
            yield Applied(
                node=self.name,
                boot_id=boot_of(self.name, "traffic_switcher"),
                epoch=self._installed.plan.epoch,
                sequence=self._installed.plan.sequence,
                stage=stage,
                digest=self._installed.digest,
                incident=plan.incident,
                detail="",
                persist_us=800,
                install_us=1_200,
            )

    def measured(self, now: Instant) -> Measured:
        """Say what its load balancer has counted."""
        plan = self.plan
        rules = plan.services if plan is not None else {}
        return Measured(
            node=self.name,
            boot_id=boot_of(self.name, "traffic_switcher"),
            epoch=plan.epoch if plan is not None else 0,
            sequence=plan.sequence if plan is not None else 0,
            digest=self._installed.digest if self._installed is not None else "",
            balancer_ok=True,
            balancer_detail="",
            services=told_loads(self._loads, rules, plan, now) if rules else {},
            installed=told_rules(rules, rules),
            verified_age_us=1_000 if plan is not None else None,
        )

    def look(self, evidence: Evidence) -> None:
        """See an instance as somebody makes it look."""
        self._evidence[evidence.service, evidence.node] = evidence

    def picture(self) -> Picture:
        """Say all that its probe knows."""
        return Picture(
            observer=self.name,
            boot_id=boot_of(self.name, "health_probe"),
            sequence=max((each.sequence for each in self._evidence.values()), default=0),
            evidence=tuple(self._evidence.values()),
        )
