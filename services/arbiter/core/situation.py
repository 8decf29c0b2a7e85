"""The full picture that the arbiter says every second: beliefs, waits, readiness, alarms."""

from services.arbiter.core.detection import gap_of, lease_of, patience_us, signals, weigh
from services.arbiter.core.evidence import identity
from services.arbiter.core.losing import node_wait_us, node_waiting_for
from services.arbiter.core.plans import receives
from services.arbiter.core.readiness import readiness
from services.arbiter.core.returning import hold_us, obstacle
from services.arbiter.core.state import ALARMS_MAX, Instance, Member, State
from services.arbiter.core.vip_views import beliefs, vip_alarms
from shared.instant import SECOND, Instant
from shared.messages.facts import InstanceBelief, InstanceState, NodeBelief, Situation


def situation(state: State, now: Instant) -> Situation:
    """Return all that the arbiter believes and wants."""
    return Situation(
        arbiter=state.arbiter,
        plan=state.plan,
        settled=all(state.members[n].verified >= state.plan.number for n in state.present(now)),
        paused=state.paused,
        nodes={name: _node(state, member, now) for name, member in state.members.items()},
        instances={
            service: {node: _instance(state, each, now) for node, each in of_service.items()}
            for service, of_service in state.instances.items()
        },
        readiness=readiness(state, now),
        incidents=tuple(sorted(state.cases)),
        alarms=(*vip_alarms(state, now), *alarms(state, now))[:ALARMS_MAX],
        vips=beliefs(state, now),
    )


def _node(state: State, member: Member, now: Instant) -> NodeBelief:
    # What is plainly well is not weighed: in a large cluster that is nearly all.
    is_silent = member.bus_at is None or now - member.bus_at >= patience_us(state, member)
    return NodeBelief(
        state=member.state,
        silent_us=now - member.heard_at if member.heard_at is not None else None,
        configuration=member.configuration,
        boot_id=member.boot_id,
        applied=member.installed if member.present_at is not None else None,
        reason=member.failed or member.refused,
        since_us=now - member.since,
        signals=signals(weigh(state, member, now)) if is_silent else (),
        waiting_for=node_waiting_for(state, member, now),
        incident=member.incident,
        lease_us=lease_of(state, member.name),
        gap_us=gap_of(state, member.name),
    )


def _instance(state: State, instance: Instance, now: Instant) -> InstanceBelief:
    local = instance.views.get(instance.node)
    return InstanceBelief(
        state=instance.state,
        reason=instance.reason,
        waiting_for=waiting_for(state, instance, now),
        since_us=now - instance.since,
        incident=instance.incident,
        answer_us=local.evidence.answer_us if local is not None else 0,
        identity=identity(instance),
        relapses=instance.relapses,
    )


def waiting_for(state: State, instance: Instance, now: Instant) -> str:
    """Say what an instance's next step needs."""
    match instance.state:
        case InstanceState.HOME | InstanceState.SUSPECT:
            return ""
        case InstanceState.HELD | InstanceState.OUT:
            is_lost = state.members[instance.node].is_lost
            return f"{instance.node} to be heard again" if is_lost else "its probes to be green"
        case InstanceState.DRAINING:
            left = max(instance.drain_ends_at - now, 0)
            return f"open sessions to end, at most {left / SECOND:.0f} s more"
        case InstanceState.OBSERVED:
            return _observed(state, instance, now)
        case InstanceState.MATCHED:
            return obstacle(state, instance, now)
        case InstanceState.RAMPING:
            return f"step {instance.step} of its ramp"


def _observed(state: State, instance: Instance, now: Instant) -> str:
    """Say for how long an instance is still observed, or its node if that takes longer."""
    held_us = now - instance.healthy_since if instance.healthy_since is not None else 0
    wanted_us = hold_us(state, instance)
    if node_wait_us(state, instance.node, now) > wanted_us - held_us and not instance.asked:
        member = state.members[instance.node]
        return f"{instance.node} {node_waiting_for(state, member, now)}"
    return f"being healthy for {held_us / SECOND:.0f} of {wanted_us / SECOND:.0f} s"


def alarms(state: State, now: Instant) -> tuple[str, ...]:
    """Return what somebody should look at, in sentences."""
    found = [
        f"{each.service} on {each.node}: {each.reason}"
        for some in state.instances.values()
        for each in some.values()
        if each.state is InstanceState.HELD
    ]
    for member in state.members.values():
        if member.failed:
            found.append(f"{member.name} cannot apply the plan: {member.failed}")
        if member.refused:
            found.append(f"{member.name} refuses the plan: {member.refused}")
        if member.configuration not in ("", state.cluster.configuration):
            found.append(
                f"{member.name} runs configuration {member.configuration}, "
                f"the arbiter {state.cluster.configuration}: give both the same file"
            )
    lost = {name for name, member in state.members.items() if member.is_lost}
    found.extend(f"{name} is {state.members[name].state}: nothing is sent to it" for name in lost)
    absent = sorted(set(state.cluster.nodes) - set(state.present(now)) - lost)
    if absent and now - state.begun_at > 3 * SECOND:
        found.append(f"no word from the traffic_switcher of {', '.join(absent)}")
    for service, some in state.instances.items():
        values = {identity(each) for each in some.values() if receives(each)} - {None}
        if len(values) > 1:
            shown = ", ".join(f"{node} has {identity(each)}" for node, each in some.items())
            found.append(f"{service} does not match: {shown}")
    return (*found, *(text for _, text in sorted(state.drifts.items())))
