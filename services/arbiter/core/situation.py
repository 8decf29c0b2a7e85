"""The full picture that the arbiter says every second: beliefs, waits, readiness, alarms."""

from services.arbiter.core.evidence import identity
from services.arbiter.core.plans import receives
from services.arbiter.core.readiness import readiness
from services.arbiter.core.returning import hold_us, obstacle
from services.arbiter.core.state import ALARMS_MAX, Instance, Member, State
from shared.instant import SECOND, Instant
from shared.messages.facts import InstanceBelief, InstanceState, NodeBelief, Situation


def situation(state: State, now: Instant) -> Situation:
    """Return all that the arbiter believes and wants."""
    return Situation(
        arbiter=state.arbiter,
        plan=state.plan,
        settled=all(state.members[n].verified >= state.plan.number for n in state.present(now)),
        paused=state.paused,
        nodes={name: _node(member, now) for name, member in state.members.items()},
        instances={
            service: {node: _instance(state, each, now) for node, each in of_service.items()}
            for service, of_service in state.instances.items()
        },
        readiness=readiness(state, now),
        incidents=tuple(sorted(state.cases)),
        alarms=alarms(state, now)[:ALARMS_MAX],
    )


def _node(member: Member, now: Instant) -> NodeBelief:
    return NodeBelief(
        state=member.state,
        silent_us=now - member.heard_at if member.heard_at is not None else None,
        configuration=member.configuration,
        boot_id=member.boot_id,
        applied=member.installed if member.present_at is not None else None,
        reason=member.failed or member.refused,
        since_us=now - member.since,
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
            return "its probes to be green"
        case InstanceState.DRAINING:
            left = max(instance.drain_ends_at - now, 0)
            return f"open sessions to end, at most {left / SECOND:.0f} s more"
        case InstanceState.OBSERVED:
            held = now - instance.healthy_since if instance.healthy_since is not None else 0
            wanted = hold_us(state, instance)
            return f"being healthy for {held / SECOND:.0f} of {wanted / SECOND:.0f} s"
        case InstanceState.MATCHED:
            return obstacle(state, instance, now)
        case InstanceState.RAMPING:
            return f"step {instance.step} of its ramp"


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
    absent = sorted(set(state.cluster.nodes) - set(state.present(now)))
    if absent and now - state.begun_at > 3 * SECOND:
        found.append(f"no word from the traffic_switcher of {', '.join(absent)}")
    for service, some in state.instances.items():
        values = {identity(each) for each in some.values() if receives(each)} - {None}
        if len(values) > 1:
            shown = ", ".join(f"{node} has {identity(each)}" for node, each in some.items())
            found.append(f"{service} does not match: {shown}")
    return (*found, *(text for _, text in sorted(state.drifts.items())))
