"""From where the instances stand to what the load balancers are told."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.arbiter.core.state import RAMP_STEPS, SERVING_STATES, Instance, State
from shared.cluster import Mode
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.facts import InstanceState
from shared.messages.traffic import Command, NodeRecord, Placement, Record
from shared.rules import Admission, Rule


@dataclass(frozen=True, slots=True)
class Why:
    """Why a plan is made, in a sentence, and for which incident."""

    reason: str
    incident: str | None


OUT = Rule(Admission.OUT, 0)
DRAINING = Rule(Admission.DRAINING, 0)
STANDBY = Rule(Admission.STANDBY, 0)


def _rules_with(state: State, changed: Instance, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return a service's rules after one of its instances has changed."""
    service = changed.service
    if state.cluster.services[service].mode is Mode.MIRROR:
        return _mirror(state, service, state.instances[service])
    return {**rules, changed.node: _balanced(changed, state.original[service][changed.node])}


def _balanced(instance: Instance, original: Rule) -> Rule:
    if instance.state in SERVING_STATES:
        return original
    if instance.state is InstanceState.RAMPING:
        return Rule(Admission.SERVING, ramp_weight(original.weight, instance.step))
    if instance.state is InstanceState.DRAINING:
        return DRAINING
    return OUT


def _mirror(state: State, service: str, instances: Mapping[str, Instance]) -> dict[str, Rule]:
    chosen = mirror_server(state, service, instances)
    rules = {}
    for name, instance in instances.items():
        if name == chosen:
            rules[name] = Rule(Admission.SERVING, 100)
        elif instance.state is InstanceState.DRAINING:
            rules[name] = DRAINING
        else:
            rules[name] = STANDBY if instance.state in SERVING_STATES else OUT
    return rules


def mirror_server(state: State, service: str, instances: Mapping[str, Instance]) -> str | None:
    """Return the node whose instance serves: the home, else the first that can.

    While automation is paused, and where all are bad, who serves goes on as long as it can: a plan
    that is made for another reason must not move traffic beside it.
    """
    home = state.cluster.services[service].home
    order = [home, *(name for name in state.cluster.nodes if name != home)]
    able = [name for name in order if instances[name].state in SERVING_STATES]
    well = [name for name in able if instances[name].state is not InstanceState.HELD]
    stays = [name for name in able if state.plan.services[service][name].weight]
    if stays and (state.paused or not well):
        return stays[0]
    return next(iter(well or able), None)


def ramp_weight(full: int, step: int) -> int:
    """Return the weight at a step of the ramp: one per cent first, then tenths."""
    assert 0 <= step <= RAMP_STEPS
    return max(1, full // 100 if step == 0 else full * step // RAMP_STEPS)


def receives(instance: Instance) -> bool:
    """Whether a balanced service's instance receives requests."""
    return instance.state in SERVING_STATES or instance.state is InstanceState.RAMPING


def serves_without(state: State, service: str, instances: Mapping[str, Instance]) -> bool:
    """Whether somebody serves when the instances stand like this."""
    if state.cluster.services[service].mode is Mode.MIRROR:
        return mirror_server(state, service, instances) is not None
    return any(map(receives, instances.values()))


def with_instances(state: State, *changed: Instance) -> State:
    """Return the state with these instances replaced, and looked at by the next tick."""
    instances = dict(state.instances)
    for instance in changed:
        instances[instance.service] = {**instances[instance.service], instance.node: instance}
    targets = {instance.target for instance in changed}
    noted = {
        instance.target
        for instance in changed
        if instance.incident is not None or instance.relapses or instance.moves_at
    }
    return replace(
        state,
        instances=instances,
        attention=state.attention | targets,
        noted=(state.noted - targets) | noted,
    )


def planned(state: State, changed: tuple[Instance, ...], why: Why) -> State:
    """Return the state with these instances and the next plan; other services stay as they are."""
    after = with_instances(state, *changed)
    rules = dict(after.plan.services)
    for instance in changed:
        service = instance.service
        rules[service] = _rules_with(after, instance, rules[service])
    for service in {instance.service for instance in changed}:
        assert any(rule.weight for rule in rules[service].values()), f"nothing serves {service}"
    plan = replace(
        after.plan,
        sequence=after.plan.sequence + 1,
        services=rules,
        reason=why.reason,
        incident=why.incident,
    )
    return replace(after, plan=plan, news=True)


def commanded(state: State, kind: type[Command], now: Instant) -> State:
    """Return the state with its plan, overrides and records in it, as a command."""
    records = tuple(_record(state, state.instance(target), now) for target in sorted(state.noted))
    overrides = tuple(item.override for item in state.standing)
    nodes = tuple(_node_record(state, name, now) for name in sorted(state.noted_nodes))
    vips = {name: _placement(state, each) for name, each in state.plan.vips.items()}
    plan = replace(state.plan, records=records, overrides=overrides, nodes=nodes, vips=vips)
    return replace(state, plan=plan, command=kind(plan=plan), sent_at=None)


def _placement(state: State, placement: Placement) -> Placement:
    """Return a placement without incidents that are over."""
    still = tuple(name for name in placement.incidents if name in state.cases)
    return placement if still == placement.incidents else replace(placement, incidents=still)


def _record(state: State, instance: Instance, now: Instant) -> Record:
    case = state.cases.get(instance.incident or "")
    return Record(
        service=instance.service,
        node=instance.node,
        incident=instance.incident,
        cause=case.incident.cause if case is not None else "",
        opened_wall_us=case.incident.began_wall_us if case is not None else 0,
        relapses=instance.relapses,
        moves_us=tuple(now - at for at in instance.moves_at),
    )


def _node_record(state: State, node: str, now: Instant) -> NodeRecord:
    member = state.members[node]
    case = state.cases.get(member.incident or "")
    return NodeRecord(
        node=node,
        incident=member.incident,
        cause=case.incident.cause if case is not None else "",
        opened_wall_us=case.incident.began_wall_us if case is not None else 0,
        relapses=member.relapses,
        moves_us=tuple(now - at for at in member.moves_at),
    )
