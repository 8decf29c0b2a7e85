"""A lost node: its instances leave the rotation in one plan, under one incident, until it is back.

Rule 1: one incident for the node. Incidents that its silent death opened a moment earlier (refused
        probes come before missed beats) go on in it, and so do those of instances that it
        takes away on their way home.
Rule 2: never the last instance of a service: it is held, and tried again at every tick.
Rule 3: a node that is heard again is observed before its instances are, longer for each relapse.
Rule 4: the incident ends when the node's switcher is there, and all that the node lost is back.
"""

from services.arbiter.core.cases import (
    Opening,
    amended,
    incident_id,
    is_of_node,
    joined,
    merged,
    opened,
    said,
)
from services.arbiter.core.detection import Weighing, cause, evidence_of, names_of, weigh
from services.arbiter.core.failing import Held, leave, leaving, overridden, standing_as
from services.arbiter.core.plans import Why, commanded, planned, receives, with_instances
from services.arbiter.core.state import (
    HOLD_MAX_US,
    LOST_STATES,
    SERVING_STATES,
    Actions,
    Case,
    Instance,
    Member,
    Order,
    Say,
    State,
    Target,
)
from shared.frozen import replace
from shared.instant import SECOND, Duration, Instant, milliseconds
from shared.messages.facts import (
    EvidenceItem,
    InstanceState,
    NodeChanged,
    NodeState,
    ServiceChanged,
)
from shared.messages.health import Grade, Sign
from shared.messages.traffic import Failover

MERGE_WITHIN_US: Duration = SECOND  # what a node's silence takes to be noticed, at the most
ALL_OVER = "all its leases have certainly ended, and it is still silent"
OBSERVED_STATES = (InstanceState.OBSERVED, InstanceState.MATCHED)


def turned(state: State, member: Member, after: NodeState, now: Instant) -> tuple[State, Actions]:
    """Let a member be believed something else, and do what follows from it."""
    weighing = weigh(state, member, now)
    was_lost = member.state in LOST_STATES
    fact = Say(
        NodeChanged(
            node=member.name,
            before=member.state,
            after=after,
            reason=_reason(member, weighing, after, now),
        )
    )
    changed = replace(member, state=after, since=now)
    if after in LOST_STATES and not was_lost and member.name in state.cluster.nodes:
        state, actions = _lost(state, changed, weighing, now)
        return state, (*actions, fact)
    state = replace(with_member(state, changed), news=True)
    state = replace(state, attention=state.attention | _targets(state, member.name))
    if after is NodeState.DEAD and member.incident in state.cases:
        state = _dead(state, changed, now)
        return state, (fact, said(state, changed.incident or ""))
    return state, (fact,)


def with_member(state: State, member: Member) -> State:
    """Return the state with a member replaced, and noted for the next arbiter where it matters."""
    state = replace(state, members={**state.members, member.name: member})
    if member.name not in state.cluster.nodes:
        return state
    is_noted = member.incident is not None or member.relapses > 0 or bool(member.moves_at)
    if is_noted == (member.name in state.noted_nodes):
        return state
    return replace(state, noted_nodes=state.noted_nodes ^ {member.name})


def _targets(state: State, node: str) -> frozenset[Target]:
    if node not in state.cluster.nodes:
        return frozenset()
    return frozenset((service, node) for service in state.instances)


def _reason(member: Member, weighing: Weighing, after: NodeState, now: Instant) -> str:
    match after:
        case NodeState.UP if member.heard_at is None or member.state is NodeState.UNKNOWN:
            return "heard"
        case NodeState.UP:
            lost_at = member.lost_at if member.lost_at is not None else member.since
            return f"heard again, {milliseconds(now - lost_at):.0f} ms after it was missed"
        case NodeState.SUSPECT:
            return cause(weighing)
        case NodeState.DEAD:
            return f"{cause(weighing)}; all its leases have ended"
        case NodeState.UNKNOWN:
            return f"{cause(weighing)}; nobody can say whether it is heard by UDP"


# -- lost --------------------------------------------------------------------------------------


def _lost(state: State, member: Member, weighing: Weighing, now: Instant) -> tuple[State, Actions]:
    """Take a lost node's instances out, and open its incident or go on with it."""
    state, facts = _unobserved(replace(with_member(state, member), news=True), member, now)
    instances = [state.instances[service][member.name] for service in sorted(state.instances)]
    if all(overridden(state, each) and not receives(each) for each in instances):
        return state, facts  # a person has taken all of it out: nobody is surprised
    name = member.incident or incident_id(state, (("", member.name),))
    state = with_member(state, _relapsed(state, replace(member, incident=name), now))
    opening = Opening(
        targets=(),
        node=member.name,
        cause=cause(weighing),
        sentence=f"{member.name} was lost: {cause(weighing)}",
        evidence=evidence_of(state, weighing, now),
        began_at=member.bus_at if member.bus_at is not None else state.begun_at,
        not_done=_not_done(state, member.name),
    )
    state, actions = _gone_with(state, member.name, opening, now)
    return state, (*actions, *facts)


def _relapsed(state: State, member: Member, now: Instant) -> Member:
    """Return a lost member with its relapse counted, if it was lost before and not forgotten."""
    if member.lost_at is not None and now - member.lost_at <= MERGE_WITHIN_US:
        return member  # what it lost a moment ago, its addresses, was a sign of this
    lately = member.lost_at is not None and now - member.lost_at < state.cluster.policy.forget_us
    if lately and member.bus_at is None:
        return member  # it is still lost, since before this arbiter began
    return replace(member, lost_at=now, relapses=member.relapses + 1 if lately else 0)


def _unobserved(state: State, member: Member, now: Instant) -> tuple[State, Actions]:
    """End the observation of instances whose node is silent."""
    facts: Actions = ()
    for service in sorted(state.instances):
        instance = state.instances[service][member.name]
        if instance.state in OBSERVED_STATES:
            reason = f"{member.name} was lost"
            state, more = standing_as(state, instance, InstanceState.OUT, reason, now)
            facts = (*facts, *more)
    return state, facts


def _gone_with(state: State, node: str, opening: Opening, now: Instant) -> tuple[State, Actions]:
    """Order a plan without the node's instances, as far as others serve in their place."""
    name = state.members[node].incident
    assert name is not None
    merging = _merging(state, node, name, now)
    gone, others, held = _leavers(state, node, now)
    gone = tuple(
        each if each.incident in set(state.cases) - {*merging} else replace(each, incident=name)
        for each in gone
    )
    ended = {target for merged_name in merging for target in state.cases[merged_name].targets}
    targets = sorted({*(each.target for each in gone), *ended})
    opening = replace(
        opening,
        targets=tuple(targets),
        sentence=f"{opening.sentence}{_takers(state, gone)}",
        moved=tuple(sorted(each.target for each in (*gone, *others))),
    )
    after = planned(state, (*gone, *others), Why(opening.sentence, name))
    after, told = _told(state, after, name, opening, now)
    after, ended_ones = merged(after, merging, name, now)
    more: Actions = ended_ones
    facts = tuple(_changed(state, each) for each in gone)
    after = commanded(after, Failover, now)
    order = Order(command=after.command, to=tuple(after.cluster.nodes))
    after = replace(after, sent_at=now)
    for instance, why in held:
        after, said_of_it = leave(after, instance, why, now)
        more = (*more, *said_of_it)
    return after, (order, *told, *more, *facts)


def _merging(state: State, node: str, name: str, now: Instant) -> tuple[str, ...]:
    """Return the incidents of the node's instances that are signs of its loss."""
    return tuple(
        other
        for other, case in sorted(state.cases.items())
        if other != name
        and not case.incident.planned
        and not is_of_node(state, case)
        and all(target[1] == node for target in case.targets)
        and (
            now - case.evidence_at <= MERGE_WITHIN_US
            or any(receives(state.instance(target)) for target in case.targets)
        )
    )


def _leavers(
    state: State, node: str, now: Instant
) -> tuple[tuple[Instance, ...], tuple[Instance, ...], list[tuple[Instance, str]]]:
    """Return who leaves, who serves in their place before its time, and who is held and why."""
    gone: list[Instance] = []
    others: list[Instance] = []
    held: list[tuple[Instance, str]] = []
    why = f"{node} was lost"
    for service in sorted(state.instances):
        each = state.instances[service][node]
        if not receives(each):
            continue
        found = leaving(state, each, why, now)
        if isinstance(found, Held):
            held.append((each, f"{why}, yet left serving: {found.reason}"))
        else:
            gone.append(found[0])
            others.extend(found[1:])
    return tuple(gone), tuple(others), held


def _told(
    before: State, after: State, name: str, opening: Opening, now: Instant
) -> tuple[State, Actions]:
    if name not in after.cases:
        after, told = opened(before, after, name, opening, now)
        return after, (told,)
    sentence = after.cases[name].incident.sentence
    relapses = after.members[opening.node].relapses
    when = "again" if relapses else "then"  # what its addresses had lost a moment earlier
    again = replace(opening, sentence=f"{sentence}; {when}: {opening.sentence}"[:1_000])
    after = amended(joined(before, after, name, again), name, relapses=relapses)
    return after, (said(after, name),)


def _changed(before: State, gone: Instance) -> Say:
    return Say(
        ServiceChanged(
            service=gone.service,
            node=gone.node,
            before=before.instance(gone.target).state,
            after=gone.state,
            reason=gone.reason,
            incident=gone.incident,
        )
    )


def _takers(state: State, gone: tuple[Instance, ...]) -> str:
    """Say that the others serve what a node served."""
    services = [each.service for each in gone if _served(state, each)]
    return f"; the other nodes serve {names_of(services)}" if services else ""


def _served(state: State, instance: Instance) -> bool:
    """Whether an instance received requests, rather than stood by."""
    return state.plan.services[instance.service][instance.node].weight > 0


def _not_done(state: State, node: str) -> str:
    kept = f"{node} was not fenced by power"
    if state.cluster.vips:
        return f"{kept}: its addresses are closed by its own kernel at the end of the lease"
    return f"{kept}: the load balancers send it nothing"


def _dead(state: State, member: Member, now: Instant) -> State:
    """Add to a suspect node's incident that it is dead now."""
    assert member.incident is not None
    case = state.cases[member.incident]
    if any(item.what == ALL_OVER for item in case.incident.evidence):
        return state
    weighing = weigh(state, member, now)
    ended = EvidenceItem(
        observer=state.arbiter,
        boot_id=member.boot_id,
        sequence=member.sequence,
        what=ALL_OVER,
        value=f"{milliseconds(weighing.silent_us or 0):.0f} ms",
        threshold="",
        grade=Grade.CONCLUSIVE,
        sign=Sign.SILENT,
        age_us=weighing.silent_us or 0,
    )
    return amended(state, member.incident, evidence=(*case.incident.evidence, ended))


def followed(state: State, instance: Instance, now: Instant) -> tuple[State, Actions]:
    """Take out what still serves on a lost node as soon as others can serve in its place."""
    why = f"{instance.node} was lost"
    found = leaving(state, instance, why, now)
    if isinstance(found, Held):
        return leave(state, instance, f"{why}, yet left serving: {found.reason}", now)
    member = state.members[instance.node]
    if member.incident is None:
        name = incident_id(state, (("", member.name),))
        state = with_member(state, _relapsed(state, replace(member, incident=name), now))
    weighing = weigh(state, member, now)
    opening = Opening(
        targets=(),
        node=member.name,
        cause=cause(weighing),
        sentence=f"{instance.service} on {member.name} could leave as well",
        evidence=evidence_of(state, weighing, now),
        began_at=member.since,
    )
    return _gone_with(state, member.name, opening, now)


# -- back --------------------------------------------------------------------------------------


def node_hold_us(state: State, member: Member) -> Duration:
    """Return how long a node must be heard before it returns: doubled for each relapse."""
    hold_us = state.cluster.policy.node_after_us * 2 ** min(member.relapses, 20)
    return int(min(hold_us, HOLD_MAX_US))


def node_wait_us(state: State, node: str, now: Instant) -> Duration:
    """Return for how long a node with an open incident is still to be observed; 0 no longer."""
    member = state.members[node]
    if member.incident is None:
        return 0
    heard_us = now - max(member.since, state.trusted_since) if not member.is_lost else 0
    return max(node_hold_us(state, member) - heard_us, 0)


def node_waiting_for(state: State, member: Member, now: Instant) -> str:
    """Say what the return of a node needs."""
    if member.is_lost:
        return "its beats on the bus"
    if member.incident is None:
        return ""
    left_us = node_wait_us(state, member.name, now)
    if left_us:
        hold_us = node_hold_us(state, member)
        return f"being heard for {(hold_us - left_us) // SECOND} of {hold_us / SECOND:g} s"
    case = state.cases.get(member.incident)
    return case.incident.waiting_for if case is not None else ""


def absent(state: State, case: Case, now: Instant) -> str:
    """Return what of a lost node itself is still missing; "" nothing, or it is no node's case."""
    if not is_of_node(state, case):
        return ""
    member = state.members[case.incident.node]
    if member.state is not NodeState.UP:
        return f"{member.name} to be heard again"
    if not case.targets and node_wait_us(state, member.name, now):
        return f"{member.name} to be heard for {node_hold_us(state, member) / SECOND:g} s"
    out = [t for t in case.targets if state.instance(t).state not in SERVING_STATES]
    return f"{names_of([service for service, _ in out])} to come home" if out else ""


def released(state: State, case: Case) -> State:
    """Let the instances and the node of a closed incident be ordinary again."""
    name = case.incident.id
    where = [state.instance(target) for target in case.targets]
    freed = [replace(each, incident=None) for each in where if each.incident == name]
    state = with_instances(state, *freed)
    member = state.members.get(case.incident.node)
    if member is None or member.incident != name:
        return state
    return with_member(state, replace(member, incident=None))
