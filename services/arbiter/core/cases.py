"""Incidents: opened with a decision, timed until verified, closed when all is as it was.

All instants are this arbiter's own. The four phases of the handling follow one another without
gaps: detect (first sign to the evidence that decided), decide (to the command's sending),
switch (to the last load balancer's read-back), verify (to the last real request), so they add
up to the whole. The recovery's phases do the same from then on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.arbiter.core.detection import gap_of, lease_of
from services.arbiter.core.evidence import Judgement, items
from services.arbiter.core.plans import with_instances
from services.arbiter.core.state import Case, Say, State, Target
from shared.frozen import replace
from shared.instant import Instant, milliseconds
from shared.messages.facts import (
    Cost,
    EvidenceItem,
    Incident,
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    NodeState,
    Phase,
)
from shared.messages.traffic import Measured
from shared.rules import Rule, digest
from shared.trace import trace_id_of

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: nothing looks like something else
EVIDENCE_MAX = 24  # items in a document: a node's loss, and what its instances' probes said
SENTENCE_MAX = 1_000
ID_LENGTH = 6  # 30 bits: among 1,000 incidents two are alike once in 2,000 clusters


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an incident begins with."""

    targets: tuple[Target, ...]
    cause: str
    sentence: str
    judgement: Judgement | None = None  # None: a person asked, or a node was lost
    node: str = ""  # that was lost
    evidence: tuple[EvidenceItem, ...] = ()  # for its loss
    began_at: Instant | None = None  # when it was last heard
    owner: str = ""
    not_done: str = ""
    moved: tuple[Target, ...] = ()  # whose rules change; () is found out by looking at all


def incident_id(state: State, targets: tuple[Target, ...]) -> str:
    """Return a short name, the same in every replay: of the plan that opens it and its targets."""
    text = f"{state.cluster.name}/{state.plan.epoch}/{state.plan.sequence + 1}/{targets}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return "".join(ALPHABET[number >> (5 * place) & 31] for place in range(ID_LENGTH))


def opened(
    before: State, after: State, name: str, opening: Opening, now: Instant
) -> tuple[State, Say]:
    """Return the state with a new case for the plan just made, and what to say of it."""
    judgement = opening.judgement
    bad = judgement.bad if judgement is not None else ()
    began_at = min(
        (view.first_at for view in bad),
        default=now if opening.began_at is None else opening.began_at,
    )
    moved = opening.moved or _moved(before, after, opening.targets)
    incident = Incident(
        id=name,
        trace_id=trace_id_of(after.cluster.name, name),
        planned=judgement is None and not opening.evidence,
        state=IncidentState.OPEN,
        service=_one({service for service, _ in opening.targets}),
        node=opening.node or _one({node for _, node in opening.targets}),
        cause=opening.cause,
        sentence=opening.sentence,
        began_wall_us=began_at + after.wall_ahead_us,
        closed_wall_us=None,
        evidence=items(judgement, now) if judgement is not None else opening.evidence,
        phases=(),
        recovery=(),
        cost=Cost(requests=0, failed=0),
        before=_rules(before, moved),
        after=_rules(after, moved),
        not_done=opening.not_done,
        owner=opening.owner,
    )
    case = Case(
        incident=incident,
        targets=opening.targets,
        number=after.plan.number,
        began_at=began_at,
        evidence_at=min(max((view.received_at for view in bad), default=now), now),
    )
    return replace(after, cases={**after.cases, name: case}), Say(IncidentOpened(incident=incident))


def is_of_node(state: State, case: Case) -> bool:
    """Whether a case is a node's: its loss, its virtual IPs, its return."""
    member = state.members.get(case.incident.node)
    return member is not None and member.incident == case.incident.id


def joined(before: State, after: State, name: str, joining: Opening) -> State:
    """Return the state with more that an open case is about: targets, evidence, moved rules."""
    case = after.cases[name]
    more = tuple(target for target in joining.targets if target not in case.targets)
    evidence = (*case.incident.evidence, *joining.evidence)[-EVIDENCE_MAX:]
    services = {service for service, _ in (*case.targets, *more)}
    incident = replace(
        case.incident,
        service=_one(services),
        sentence=joining.sentence,
        evidence=evidence,
        before={**_rules(before, joining.moved), **case.incident.before},
        after={**case.incident.after, **_rules(after, joining.moved)},
        not_done=joining.not_done or case.incident.not_done,
    )
    wider = replace(case, targets=(*case.targets, *more), incident=incident)
    return put(after, replace(wider, base=_widened(after, case, wider)))


def _widened(state: State, case: Case, wider: Case) -> Mapping[str, tuple[int, int]] | None:
    """Return the base of a case that is about more services now: those are counted from now."""
    if case.base is None:
        return None
    base = {}
    for name, (requests, failed) in case.base.items():
        newest = state.members[name].samples[-1][1]
        was, now = _counted(newest, case), _counted(newest, wider)
        base[name] = (requests + now[0] - was[0], failed + now[1] - was[1])
    return base


def merged(
    state: State, names: Iterable[str], into: str, now: Instant
) -> tuple[State, tuple[Say, ...]]:
    """Close cases that are signs of what another case is about, and say where they went."""
    told = []
    for name in names:
        case, other = state.cases[name], state.cases[into]
        cause = other.incident.node or other.incident.service
        sentence = f"{case.incident.sentence}; it was the loss of {cause}: goes on as {into}"
        incident = replace(
            case.incident,
            state=IncidentState.CLOSED,
            closed_wall_us=now + state.wall_ahead_us,
            sentence=sentence[:SENTENCE_MAX],
            merged_into=into,
            waiting_for="",
        )
        told.append(Say(IncidentClosed(incident=incident)))
        document = replace(
            other.incident,
            evidence=(*other.incident.evidence, *case.incident.evidence)[:EVIDENCE_MAX],
            before={**other.incident.before, **case.incident.before},
            after={**case.incident.after, **other.incident.after},
        )
        cases = {key: value for key, value in state.cases.items() if key != name}
        state = replace(state, cases={**cases, into: replace(other, incident=document)}, news=True)
        state = with_targets(state, case.targets, name, into)
    return state, tuple(told)


def with_targets(state: State, targets: tuple[Target, ...], name: str, into: str) -> State:
    """Return the state with instances of one incident in another."""
    instances = [state.instance(target) for target in targets]
    moved = (replace(each, incident=into) for each in instances if each.incident == name)
    return with_instances(state, *moved)


def _one(names: set[str]) -> str:
    return next(iter(names)) if len(names) == 1 else ""


def _moved(before: State, after: State, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return whose rules differ between two plans, in the services concerned."""
    return tuple(
        (service, node)
        for service in sorted({service for service, _ in targets})
        for node, rule in after.plan.services[service].items()
        if rule is not before.plan.services[service][node]
        and rule != before.plan.services[service][node]
    )


def _rules(state: State, moved: tuple[Target, ...]) -> dict[str, Rule]:
    return {f"{service}/{node}": state.plan.services[service][node] for service, node in moved}


def based(state: State, name: str) -> State:
    """Remember each load balancer's counters as they were before the first sign.

    Done at the tick after the decision: the samples reach back far enough, and the decision
    itself must not take longer in a larger cluster.
    """
    case = state.cases[name]
    base = {}
    for member in sorted(state.members.values(), key=lambda each: each.name):
        if member.samples:
            earlier = [sample for at, sample in member.samples if at <= case.began_at]
            base[member.name] = _counted(earlier[-1] if earlier else member.samples[0][1], case)
    return put(state, replace(case, base=base))


def _counted(sample: Measured, case: Case) -> tuple[int, int]:
    services = {service for service, _ in case.targets}
    loads = [sample.services[name] for name in sorted(services) if name in sample.services]
    return sum(load.requests for load in loads), sum(load.failed for load in loads)


def cost(state: State, case: Case) -> Cost:
    """Return what clients have paid so far, by all load balancers' counters."""
    requests = failed = 0
    for name, member in state.members.items():
        if not member.samples:
            continue
        newest = _counted(member.samples[-1][1], case)
        base = (case.base or {}).get(name, newest)
        if newest[0] < base[0]:  # the load balancer was restarted and counts from nought
            base = (0, 0)
        requests += newest[0] - base[0]
        failed += max(newest[1] - base[1], 0)
    return Cost(requests=requests, failed=failed)


def put(state: State, case: Case) -> State:
    """Return the state with a case replaced."""
    return replace(state, cases={**state.cases, case.incident.id: case}, news=True)


def said(state: State, name: str) -> Say:
    """Say how an incident stands."""
    return Say(IncidentUpdated(incident=state.cases[name].incident))


def amended(state: State, name: str, **changes: object) -> State:
    """Return the state with an incident's document changed."""
    case = state.cases[name]
    return put(state, replace(case, incident=replace(case.incident, **changes)))  # type: ignore[arg-type]


def sent(state: State, number: tuple[int, int], now: Instant) -> State:
    """Note when the command that handles an incident first went out."""
    for _, case in sorted(state.cases.items()):
        if case.number == number and case.sent_at is None:
            state = put(state, replace(case, sent_at=now))
    return state


def progressed(state: State, name: str, now: Instant) -> tuple[State, tuple[Say, ...]]:
    """Time a case by how far the present switchers have come with its plan."""
    case = state.cases[name]
    present = state.present(now)
    if case.verified_at is not None or case.sent_at is None or not present:
        return state, ()
    behind = [node for node in present if state.members[node].installed < case.number]
    unproved = [node for node in present if state.members[node].verified < case.number]
    if case.installed_at is None and not behind:
        case = replace(case, installed_at=now)
    if case.installed_at is not None and not unproved:
        return _handled(state, case, now)
    waiting = f"the switcher of {', '.join(behind or unproved)}"
    if case == state.cases[name] and case.incident.waiting_for == waiting:
        return state, ()
    incident = replace(case.incident, phases=phases(case), waiting_for=waiting)
    return put(state, replace(case, incident=incident)), ()


def _handled(state: State, case: Case, now: Instant) -> tuple[State, tuple[Say, ...]]:
    case = replace(case, verified_at=now, marks=case.marks or (("", now),))
    timed = phases(case)
    still = case.incident.state
    incident = replace(
        case.incident,
        state=IncidentState.HANDLED if still is IncidentState.OPEN else still,
        phases=timed,
        cost=cost(state, case),
        waiting_for="",
        faster=_faster(state, case, timed),
    )
    return put(state, replace(case, incident=incident)), (Say(IncidentUpdated(incident=incident)),)


def phases(case: Case) -> tuple[Phase, ...]:
    """Return the phases that are over; each begins where the one before it ends."""
    ends = [
        ("detect", case.evidence_at),
        ("decide", case.sent_at),
        ("switch", case.installed_at),
        ("verify", case.verified_at),
    ]
    return _between(case.began_at, ends)


def _between(begin: Instant, ends: Iterable[tuple[str, Instant | None]]) -> tuple[Phase, ...]:
    parts = []
    for name, at in ends:
        if at is None:
            break
        end = max(at, begin)
        parts.append(Phase(name=name, duration_us=end - begin))
        begin = end
    return tuple(parts)


def _faster(state: State, case: Case, timed: tuple[Phase, ...]) -> str:
    """Say what would have made it faster, by the phase that took longest."""
    whole = max(sum(phase.duration_us for phase in timed), 1)
    longest = max(timed, key=lambda phase: phase.duration_us)
    share = f"{longest.name} took {100 * longest.duration_us // whole} % of the time"
    if case.incident.planned:
        return ""
    if longest.name == "lease" or (longest.name == "detect" and is_of_node(state, case)):
        return f"{share}: {_lease_words(state, case.incident.node)}"
    if longest.name != "detect":
        return share
    probe = state.cluster.services[case.targets[0][0]].probe
    every = milliseconds(probe.every_us)
    return f"{share}: probes go out every {every:g} ms, and {probe.fall} bad answers count"


def _lease_words(state: State, node: str) -> str:
    """Say which length of lease made a lost node wait, and why it is so long."""
    length = f"{milliseconds(lease_of(state, node)):.0f} ms"
    every = f"beats go out every {milliseconds(state.cluster.heartbeat.every_us):g} ms"
    if state.cluster.heartbeat.lease_us is not None:
        return f"{every}, and lease: {length} is what the configuration says"
    gap_us = gap_of(state, node)
    if gap_us == 0:
        return f"{every}, and lease: auto chose {length}"
    gap = f"{milliseconds(gap_us):.0f} ms"
    return f"lease: auto chose {length} because its beats came up to {gap} apart"


def marked(state: State, name: str, phase: str, now: Instant) -> tuple[State, tuple[Say, ...]]:
    """End a phase of an incident's recovery now."""
    case = state.cases[name]
    marks = (*(case.marks or ((("", case.verified_at or now),))), (phase, now))
    recovery = _between(marks[0][1], marks[1:])
    incident = replace(
        case.incident,
        state=IncidentState.RETURNING,
        recovery=recovery,
        cost=cost(state, case),
    )
    state = put(state, replace(case, marks=marks, incident=incident))
    return state, (said(state, name),)


def closable(state: State, case: Case, now: Instant) -> str:
    """Return what still keeps a case from being closed; "" when the original settings are back."""
    rules = state.plan.services
    for service in sorted({service for service, _ in case.targets}):
        for node, instance in sorted(state.instances[service].items()):
            foreign = instance.incident not in (None, case.incident.id)
            if not foreign and rules[service][node] != state.original[service][node]:
                return f"{service}/{node} to be as originally set"
    return _uncompared(state, digest(rules), now)


def _uncompared(state: State, wanted: str, now: Instant) -> str:
    """Return whose rules are not known to be these."""
    present = state.present(now)
    for node in sorted(state.cluster.nodes):
        member = state.members[node]
        if node not in present:
            if member.state is NodeState.UP:  # the loss of a node has an incident of its own
                return f"the switcher of {node}, which is not heard"
        elif member.verified < state.plan.number:
            return f"the switcher of {node}"
        elif member.digest != wanted:
            return f"the installed rules of {node} to equal the original settings"
    return "" if present else "any switcher"


def closed(state: State, name: str, now: Instant) -> tuple[State, tuple[Say, ...]]:
    """Close a case: the rules as read back everywhere are the original ones."""
    state, _ = marked(state, name, "compare", now)
    case = state.cases[name]
    incident = replace(
        case.incident,
        state=IncidentState.CLOSED,
        closed_wall_us=now + state.wall_ahead_us,
        waiting_for="",
        original_digest=digest(state.plan.services),
        installed={node: state.members[node].digest for node in state.present(now)},
    )
    cases = {key: value for key, value in state.cases.items() if key != name}
    return replace(state, cases=cases, news=True), (Say(IncidentClosed(incident=incident)),)


def adopted(state: State, name: str, targets: tuple[Target, ...], now: Instant) -> Case:
    """Return a case for an incident that an earlier arbiter opened and whose document is lost."""
    members = state.members.values()
    lost = next((each.name for each in members if each.incident == name), "")
    service = _one({service for service, _ in targets})
    node = lost or _one({node for _, node in targets})
    causes = [each.cause for each in state.plan.nodes if each.incident == name]
    causes += [each.cause for each in state.plan.records if each.incident == name]
    what = f"{node} was lost" if lost else f"{service} on {node} was taken out"
    incident = Incident(
        id=name,
        trace_id=trace_id_of(state.cluster.name, name),
        planned=False,
        state=IncidentState.OPEN,
        service=service,
        node=node,
        cause=next(filter(None, causes), "taken out by an earlier arbiter"),
        sentence=f"{what} before this arbiter began",
        began_wall_us=now + state.wall_ahead_us,
        closed_wall_us=None,
        evidence=(),
        phases=(),
        recovery=(),
        cost=Cost(requests=0, failed=0),
    )
    return Case(
        incident=incident,
        targets=targets,
        number=state.plan.number,
        began_at=now,
        evidence_at=now,
    )
