"""Where an arbiter begins: with the plan in force, under an epoch above all that were seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from services.arbiter.core.cases import adopted, resumed
from services.arbiter.core.leases import begun
from services.arbiter.core.plans import ramp_weight, with_instances
from services.arbiter.core.state import (
    RAMP_STEPS,
    Actions,
    Case,
    Instance,
    Member,
    Order,
    Say,
    Standing,
    State,
    Target,
    Vip,
)
from shared.cluster import Cluster, Mode
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.facts import (
    Incident,
    IncidentState,
    InstanceState,
    LeaderChanged,
    VipMove,
)
from shared.messages.traffic import NodeRecord, Placement, Plan, Record, Restore
from shared.rules import Admission, Rule, original, serving

R = TypeVar("R", Record, NodeRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What an arbiter finds when it begins."""

    plans: Sequence[Plan]  # as the switchers persisted them and the stream recorded them
    incidents: Mapping[str, Incident]  # documents of open incidents, as far as the stream has them
    epoch_min: int = 0  # a switcher's fence that refused us
    wall_us: int = 0


def start(cluster: Cluster, arbiter: str, past: Past, now: Instant) -> tuple[State, Actions]:
    """Begin from the newest plan: a restart must not move traffic."""
    newest = max(past.plans, key=lambda plan: plan.number, default=None)
    epoch = max([past.epoch_min, *(plan.epoch for plan in past.plans)]) + 1
    rules = _rules_in_force(cluster, newest)
    plan = Plan(
        epoch=epoch,
        sequence=1,
        services=rules,
        reason="the plan in force, said again" if newest else "the original settings",
        overrides=newest.overrides if newest else (),
        records=newest.records if newest else (),
        nodes=newest.nodes if newest else (),
        vips=_placements(cluster, newest, (epoch, 1)),
    )
    over = _over(past)
    records = {(each.service, each.node): _without(each, over) for each in plan.records}
    wanted = original(cluster)
    instances = {
        service: {
            node: _instance(
                cluster,
                (service, node),
                (rule, wanted[service][node]),
                records.get((service, node)),
                now,
            )
            for node, rule in of_service.items()
        }
        for service, of_service in rules.items()
    }
    state = State(
        cluster=cluster,
        arbiter=arbiter,
        original=wanted,
        instances=instances,
        members={name: _member(name, plan, over, now) for name in cluster.members},
        plan=plan,
        command=Restore(plan=plan),
        begun_at=now,
        ledger=begun(cluster, epoch, now, has_strangers=_has_strangers(cluster, newest)),
        vips={
            name: Vip(name=name, since=now, reason=_placed_because(cluster, plan, name))
            for name in plan.vips
        },
        sent_at=now,
        touched_at=now,
        trusted_since=now,
        hearing_since=now,
        wall_ahead_us=past.wall_us - now,
        standing=_standing(cluster, plan, past.wall_us, now),
    )
    state = with_instances(state, *(i for some in instances.values() for i in some.values()))
    state = replace(
        state, noted_nodes=frozenset(each.node for each in plan.nodes if each.node in cluster.nodes)
    )
    state = replace(state, cases=_cases(state, past, now))
    leader = LeaderChanged(arbiter=arbiter, epoch=epoch, reason=f"begins from: {plan.reason}")
    return state, (Order(command=state.command, to=tuple(cluster.nodes)), Say(leader))


def _placements(
    cluster: Cluster, plan: Plan | None, number: tuple[int, int]
) -> dict[str, Placement]:
    """Return where VIPs are by the plan in force; those that it does not know are at home."""
    known = plan.vips if plan is not None else {}
    return {
        name: placement
        if (placement := known.get(name)) is not None and placement.holder in cluster.nodes
        else Placement(holder=vip.home, term=number)
        for name, vip in sorted(cluster.vips.items())
    }


def _has_strangers(cluster: Cluster, plan: Plan | None) -> bool:
    """Whether a VIP was placed on a node that is configured no more, and may be held there."""
    holders = {each.holder for each in plan.vips.values()} if plan is not None else set()
    return not holders <= cluster.nodes.keys()


def _placed_because(cluster: Cluster, plan: Plan, vip: str) -> str:
    if plan.vips[vip].holder == cluster.vips[vip].home:
        return "it is at home"
    return "the plan in force has it there"


def _rules_in_force(cluster: Cluster, plan: Plan | None) -> dict[str, dict[str, Rule]]:
    """Return the plan's rules for what is configured now; what it does not know is original."""
    wanted = original(cluster)
    if plan is None:
        return wanted
    rules = {
        service: {node: _in_force(plan, service, node, rule) for node, rule in of_service.items()}
        for service, of_service in wanted.items()
    }
    return {
        service: of_service if serving(of_service) else wanted[service]
        for service, of_service in rules.items()
    }


def _in_force(plan: Plan, service: str, node: str, originally: Rule) -> Rule:
    rule = plan.services.get(service, {}).get(node, originally)
    noted = any((each.service, each.node) == (service, node) for each in plan.records)
    if rule.admission is Admission.SERVING and originally.admission is Admission.SERVING:
        # A weight that no incident explains is an older configuration's: the present one holds.
        return rule if noted and rule.weight < originally.weight else originally
    return rule


def _over(past: Past) -> frozenset[str]:
    """Return the incidents that were closed after the plan in force was made."""
    return frozenset(
        name for name, each in past.incidents.items() if each.state is IncidentState.CLOSED
    )


def _without(record: R, over: frozenset[str]) -> R:
    return replace(record, incident=None) if record.incident in over else record


def _member(name: str, plan: Plan, over: frozenset[str], now: Instant) -> Member:
    """Return a member as the plan in force remembers it; whoever was lost must be heard first."""
    record = next((_without(each, over) for each in plan.nodes if each.node == name), None)
    if record is None:
        return Member(name=name, since=now)
    return Member(
        name=name,
        since=now,
        incident=record.incident,
        lost_at=now if record.relapses or record.incident else None,
        relapses=record.relapses,
        moves_at=tuple(now - age for age in record.moves_us),
    )


def _instance(
    cluster: Cluster,
    target: Target,
    rules: tuple[Rule, Rule],
    record: Record | None,
    now: Instant,
) -> Instance:
    """Return an instance by its rule in force, and its original one."""
    service, node = target
    rule, full = rules
    state = _state_of(cluster.services[service].mode, rule, full)
    instance = Instance(service=service, node=node, state=state, since=now)
    if state is InstanceState.RAMPING:
        steps = (k for k in range(RAMP_STEPS) if ramp_weight(full.weight, k) <= rule.weight)
        step = max(steps, default=0)
        instance = replace(instance, step=step, step_at=now)
    if state is InstanceState.DRAINING:
        after = InstanceState.OUT if record and record.incident else InstanceState.HOME
        ends = now + cluster.policy.drain_us
        instance = replace(instance, then=after, drain_ends_at=ends)
    if record is None:
        return instance
    return replace(
        instance,
        reason=record.cause,
        incident=record.incident,
        relapses=record.relapses,
        failed_at=now if record.relapses or record.incident else None,
        moves_at=tuple(now - age for age in record.moves_us),
    )


def _state_of(mode: Mode, rule: Rule, full: Rule) -> InstanceState:
    match rule.admission:
        case Admission.DRAINING:
            return InstanceState.DRAINING
        case Admission.OUT:
            return InstanceState.OUT
        case Admission.STANDBY:
            return InstanceState.HOME
        case Admission.SERVING:
            ramping = mode is Mode.BALANCE and rule.weight < full.weight
            return InstanceState.RAMPING if ramping else InstanceState.HOME


def _standing(cluster: Cluster, plan: Plan, wall_us: int, now: Instant) -> tuple[Standing, ...]:
    """Return the overrides with ends in our own time: never later than a person granted.

    The time of day is looked at only here, because nothing else outlives a restart.
    """
    longest = cluster.policy.override_max_us
    return tuple(
        Standing(
            override=each,
            ends_at=now + max(0, min(each.until_wall_us - wall_us, longest)),
        )
        for each in plan.overrides
    )


def _cases(state: State, past: Past, now: Instant) -> dict[str, Case]:
    """Go on with every open incident, with its document where the stream still has it."""
    targets: dict[str, tuple[Target, ...]] = {}
    for target in sorted(state.noted):
        incident = state.instance(target).incident
        if incident is not None:
            targets[incident] = (*targets.get(incident, ()), target)
    nodes = {each.incident for each in state.members.values() if each.incident is not None}
    nodes |= _incidents_of_vips(state, past)
    cases: dict[str, Case] = {}
    for name in sorted({*targets, *nodes}):
        case = adopted(state, name, targets.get(name, ()), now)
        document = past.incidents.get(name)
        moved = tuple(
            VipMove(
                vip=vip,
                address=state.cluster.vips[vip].address,
                before=state.cluster.vips[vip].home,
                after=placement.holder,
            )
            for vip, placement in state.plan.vips.items()
            if name in placement.incidents
        )
        if document is None:
            case = replace(case, incident=replace(case.incident, vips=moved), sent_at=now)
        cases[name] = case if document is None else resumed(case, document, now)
    return cases


def _incidents_of_vips(state: State, past: Past) -> set[str]:
    """Return the open incidents that moved VIPs; one that is home needs a document that says so."""
    over = _over(past)
    return {
        name
        for vip, each in state.plan.vips.items()
        for name in each.incidents
        if name not in over
        and (each.holder != state.cluster.vips[vip].home or name in past.incidents)
    }
