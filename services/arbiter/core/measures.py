"""What an arbiter measures: counts of what it did, and what it believes at the moment.

Labels take their values from the configuration and from enumerations, so that nothing a fault or
a stranger says can make their number grow.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from services.arbiter.core.leases import Lessee, end_of, hold_of
from services.arbiter.core.state import Action, Order, Say, State
from shared.frozen import replace
from shared.instant import SECOND, Instant
from shared.measures import Histogram, Labels, Measure, counter, gauge, histogram, one_more
from shared.messages.facts import (
    Incident,
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    InstanceState,
    NodeState,
    ServiceChanged,
)
from shared.messages.health import Sign
from shared.messages.table import Message
from shared.messages.traffic import Measured, OverrideKind

EVERY = "*"  # the value of a label where an override is about all
TOTAL = "total"  # the phase that is all of them

NODE_STATE = gauge(
    "node_state", "What is believed of each member: 1 for the state that it is in.", "node", "state"
)
NODE_SILENCE = gauge(
    "node_silence_seconds", "Since anything of a member was last heard on the bus.", "node"
)
INSTANCES = gauge("service_instances", "Instances of a service in each state.", "service", "state")
SHARE = gauge(
    "node_share_ratio",
    "Which part of a service's requests each node's instance got in the last seconds.",
    "service",
    "node",
)
SHARE_WANTED = gauge(
    "node_share_wanted_ratio",
    "Which part of a service's requests the plan gives to each node's instance.",
    "service",
    "node",
)
TAKEOVER = gauge(
    "takeover_ready",
    "Whether the others can take a service over if a node that serves it failed now: 1 or 0.",
    "service",
    "node",
)
VIP_TAKEOVER = gauge(
    "vip_takeover_ready",
    "Whether another node could take a virtual IP if its holder failed now: 1 or 0.",
    "vip",
)
VIP_HOLDERS = gauge(
    "vip_holders", "How many nodes' switchers say that they hold a virtual IP.", "vip"
)
VIP_GRANTED = gauge(
    "vip_granted", "Whether a lease of a virtual IP may still run on a node: 1 or 0.", "vip", "node"
)
LEASE_LENGTH = gauge("lease_length_seconds", "The length of lease that a node is granted.", "node")
OVERRIDES = gauge(
    "override_active",
    "How many overrides of people are in force; the node is * where they are about all.",
    "kind",
    "node",
)
OVERRIDE_ENDS = gauge(
    "override_expires_timestamp_seconds", "When the first of them ends.", "kind", "node"
)
INCIDENTS_OPEN = gauge("incidents_open", "Incidents that are not closed.")
PLAN_EPOCH = gauge("plan_epoch", "The epoch of the newest plan that this process knows.")
PLAN_SEQUENCE = gauge("plan_sequence", "The number of that plan within its epoch.")
PLAN_SETTLED = gauge(
    "plan_settled", "Whether every switcher that is heard has verified the plan: 1 or 0."
)
INCIDENTS = counter(
    "incidents_total",
    "Incidents, by what began them and what became of them: opened, closed, or merged.",
    "cause",
    "outcome",
)
FAILOVERS = histogram(
    "failover_duration_seconds",
    "How long unplanned failovers took, phase by phase and in total.",
    "phase",
)
FAILED_REQUESTS = counter(
    "failover_failed_requests_total", "Requests that failed in incidents nobody had planned."
)
DECISIONS = counter(
    "decisions_total",
    "Plans that were ordered, by command, and instances left serving on purpose (held_back).",
    "verdict",
)
METRICS = (
    NODE_STATE,
    NODE_SILENCE,
    INSTANCES,
    SHARE,
    SHARE_WANTED,
    TAKEOVER,
    VIP_TAKEOVER,
    VIP_HOLDERS,
    VIP_GRANTED,
    LEASE_LENGTH,
    OVERRIDES,
    OVERRIDE_ENDS,
    INCIDENTS_OPEN,
    PLAN_EPOCH,
    PLAN_SEQUENCE,
    PLAN_SETTLED,
    INCIDENTS,
    FAILOVERS,
    FAILED_REQUESTS,
    DECISIONS,
)

VERDICTS = ("failover", "failback", "drain", "restore", "held_back")
OUTCOMES = ("opened", "closed", "merged")
CAUSES = ("planned", "node", *(each.value for each in Sign))
PHASES = ("detect", "lease", "decide", "switch", "verify", TOTAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What this process has done since it began."""

    decisions: Mapping[Labels, float] = field(
        default_factory=lambda: {(verdict,): 0 for verdict in VERDICTS}
    )
    incidents: Mapping[Labels, float] = field(
        default_factory=lambda: {(cause, each): 0 for cause in CAUSES for each in OUTCOMES}
    )
    failovers: Mapping[Labels, Histogram] = field(
        default_factory=lambda: {(phase,): Histogram() for phase in PHASES}
    )
    failed_requests: int = 0
    ordered: tuple[int, int] = (0, 0)  # the plan that was counted last
    unhandled: frozenset[str] = frozenset()  # opened here, and not yet timed


def counted(counts: Counts, action: Action) -> Counts:
    """Return the counts after an action."""
    match action:
        case Order() if action.command.plan.number > counts.ordered:
            verdict = type(action.command).__name__.lower()
            number = action.command.plan.number
            return replace(counts, decisions=one_more(counts.decisions, verdict), ordered=number)
        case Say(message):
            return _said(counts, message)
        case _:
            return counts


def _said(counts: Counts, message: Message) -> Counts:
    match message:
        case ServiceChanged(after=InstanceState.HELD):
            return replace(counts, decisions=one_more(counts.decisions, "held_back"))
        case IncidentOpened(incident=incident):
            opened = counts.unhandled | {incident.id}
            return replace(_outcome(counts, incident, "opened"), unhandled=opened)
        case IncidentUpdated(incident=incident):
            return _timed(counts, incident)
        case IncidentClosed(incident=incident):
            return _closed(counts, incident)
        case _:
            return counts


def _outcome(counts: Counts, incident: Incident, outcome: str) -> Counts:
    return replace(counts, incidents=one_more(counts.incidents, cause_of(incident), outcome))


def cause_of(incident: Incident) -> str:
    """Return what began an incident, as one of few words."""
    if incident.planned:
        return "planned"
    if not incident.service:
        return "node"
    return incident.evidence[0].sign.value if incident.evidence else Sign.NOTHING.value


def _timed(counts: Counts, incident: Incident) -> Counts:
    """Take the phases of a failover that is handled, once."""
    is_open = incident.state is IncidentState.OPEN or not incident.phases
    if is_open or incident.id not in counts.unhandled:
        return counts
    counts = replace(counts, unhandled=counts.unhandled - {incident.id})
    if incident.planned:
        return counts
    total_us = sum(phase.duration_us for phase in incident.phases)
    lengths = [(phase.name, phase.duration_us) for phase in incident.phases]
    failovers = dict(counts.failovers)
    for name, length_us in (*lengths, (TOTAL, total_us)):
        failovers[(name,)] = failovers.get((name,), Histogram()).with_one(length_us)
    return replace(counts, failovers=failovers)


def _closed(counts: Counts, incident: Incident) -> Counts:
    counts = _timed(counts, incident)
    counts = replace(counts, unhandled=counts.unhandled - {incident.id})
    if incident.merged_into:
        return _outcome(counts, incident, "merged")
    failed = 0 if incident.planned else incident.cost.failed
    counts = _outcome(counts, incident, "closed")
    return replace(counts, failed_requests=counts.failed_requests + failed)


def measures(state: State | None, counts: Counts, now: Instant) -> Iterator[Measure]:
    """Return what was counted, and what is believed now."""
    yield DECISIONS.of(counts.decisions)
    yield INCIDENTS.of(counts.incidents)
    yield FAILOVERS.of(counts.failovers)
    yield FAILED_REQUESTS.at(counts.failed_requests)
    if state is None:
        return
    yield PLAN_EPOCH.at(state.plan.epoch)
    yield PLAN_SEQUENCE.at(state.plan.sequence)
    present = state.present(now)
    settled = all(state.members[node].verified >= state.plan.number for node in present)
    yield PLAN_SETTLED.at(int(settled))
    yield INCIDENTS_OPEN.at(len(state.cases))
    yield from _of_nodes(state, now)
    yield from _of_services(state)
    yield from _of_vips(state, now)
    yield from _of_people(state)


def _of_nodes(state: State, now: Instant) -> Iterator[Measure]:
    yield NODE_STATE.of(
        {
            (name, each.value): int(member.state is each)
            for name, member in state.members.items()
            for each in NodeState
        }
    )
    yield NODE_SILENCE.of(
        {
            (name,): (now - member.bus_at) / SECOND
            for name, member in state.members.items()
            if member.bus_at is not None
        }
    )


def _of_services(state: State) -> Iterator[Measure]:
    yield INSTANCES.of(
        {
            (service, each.value): sum(one.state is each for one in instances.values())
            for service, instances in state.instances.items()
            for each in InstanceState
        }
    )
    wanted: dict[Labels, float] = {}
    for service, rules in state.plan.services.items():
        total = sum(rule.weight for rule in rules.values())
        wanted |= {(service, node): rule.weight / (total or 1) for node, rule in rules.items()}
    yield SHARE_WANTED.of(wanted)
    yield SHARE.of({labels: share for labels, share in _shares(state) if share is not None})
    yield TAKEOVER.of(
        {labels: int(ready) for labels, ready in state.ready.items() if labels[0] != ""}
    )


def _shares(state: State) -> Iterator[tuple[Labels, float | None]]:
    """Yield the shares by all load balancers' counters; None where there were no requests."""
    for service in state.cluster.services:
        got = {node: _requests(state, service, node) for node in state.cluster.nodes}
        total = sum(got.values())
        for node, requests in got.items():
            yield (service, node), requests / total if total else None


def _requests(state: State, service: str, node: str) -> int:
    """Return how many requests an instance got between the samples that are kept."""
    grown = 0
    for member in state.members.values():
        # Of a large cluster not every sample tells of every instance.
        counts = [count for _, each in member.samples for count in _counts(each, service, node)]
        grown += max(counts[-1] - counts[0], 0) if counts else 0
    return grown


def _counts(measured: Measured, service: str, node: str) -> Iterator[int]:
    load = measured.services.get(service)
    if load is not None and node in load.instances:
        yield load.instances[node].requests


def _of_vips(state: State, now: Instant) -> Iterator[Measure]:
    lessees = state.ledger.lessees
    yield LEASE_LENGTH.of({(node,): one.length_us / SECOND for node, one in lessees.items()})
    yield VIP_HOLDERS.of({(vip,): _holders(lessees.values(), vip, now) for vip in state.vips})
    yield VIP_GRANTED.of(
        {
            (vip, node): int(end_of(lessee, vip) > now)
            for vip in state.vips
            for node, lessee in lessees.items()
        }
    )
    yield VIP_TAKEOVER.of(
        {(name,): int(ready) for (service, name), ready in state.ready.items() if service == ""}
    )


def _holders(lessees: Iterable[Lessee], vip: str, now: Instant) -> int:
    """Count who said that it holds a VIP for longer than until now."""
    return sum(one.received_at + hold_of(one, vip).rest_us > now for one in lessees if one.beat)


def _of_people(state: State) -> Iterator[Measure]:
    kinds = [kind.value for kind in OverrideKind]
    active: dict[Labels, float] = {(kind, EVERY): 0 for kind in kinds}
    active |= {(kind, node): 0 for kind in kinds for node in state.cluster.nodes}
    ends: dict[Labels, float] = {}
    for standing in state.standing:
        override = standing.override
        labels = (override.kind.value, override.node or EVERY)
        active[labels] = active.get(labels, 0) + 1
        ends[labels] = min(ends.get(labels, float("inf")), override.until_wall_us / SECOND)
    yield OVERRIDES.of(active)
    yield OVERRIDE_ENDS.of(ends)
