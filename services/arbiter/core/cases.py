"""Incidents: opened with a decision, timed until verified, closed when all is as it was.

All instants are this arbiter's own. The four phases of the handling follow one another without
gaps: detect (first sign to the evidence that decided), decide (to the command's sending),
switch (to the last load balancer's read-back), verify (to the last real request), so they add
up to the whole. The recovery's phases do the same from then on.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from services.arbiter.core.evidence import Judgement, items
from services.arbiter.core.state import Case, Instance, Say, State, Target
from shared.frozen import replace
from shared.instant import Instant, milliseconds
from shared.messages.facts import (
    Cost,
    Incident,
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    Phase,
)
from shared.messages.traffic import Measured
from shared.rules import Rule, digest
from shared.trace import trace_id_of

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: nothing looks like something else
ID_LENGTH = 6  # 30 bits: among 1,000 incidents two are alike once in 2,000 clusters


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an incident begins with."""

    targets: tuple[Target, ...]
    cause: str
    sentence: str
    judgement: Judgement | None = None  # None: a person asked
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
    began_at = min((view.first_at for view in bad), default=now)
    moved = opening.moved or _moved(before, after, opening.targets)
    incident = Incident(
        id=name,
        trace_id=trace_id_of(after.cluster.name, name),
        planned=judgement is None,
        state=IncidentState.OPEN,
        service=_one({service for service, _ in opening.targets}),
        node=_one({node for _, node in opening.targets}),
        cause=opening.cause,
        sentence=opening.sentence,
        began_wall_us=began_at + after.wall_ahead_us,
        closed_wall_us=None,
        evidence=items(judgement, now) if judgement is not None else (),
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
    if longest.name != "detect":
        return share
    probe = state.cluster.services[case.targets[0][0]].probe
    every = milliseconds(probe.every_us)
    return f"{share}: probes go out every {every:g} ms, and {probe.fall} bad answers count"


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
    wanted = digest(rules)
    for node in state.present(now):
        member = state.members[node]
        if member.verified < state.plan.number:
            return f"the switcher of {node}"
        if member.digest != wanted:
            return f"the installed rules of {node} to equal the original settings"
    return "" if state.present(now) else "any switcher"


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


def adopted(state: State, instance: Instance, cause: str, now: Instant) -> Case:
    """Return a case for an incident that an earlier arbiter opened and whose document is lost."""
    assert instance.incident is not None
    incident = Incident(
        id=instance.incident,
        trace_id=trace_id_of(state.cluster.name, instance.incident),
        planned=False,
        state=IncidentState.OPEN,
        service=instance.service,
        node=instance.node,
        cause=cause or "taken out by an earlier arbiter",
        sentence=f"{instance.service} on {instance.node} was taken out before this arbiter began",
        began_wall_us=now + state.wall_ahead_us,
        closed_wall_us=None,
        evidence=(),
        phases=(),
        recovery=(),
        cost=Cost(requests=0, failed=0),
    )
    return Case(
        incident=incident,
        targets=(instance.target,),
        number=state.plan.number,
        began_at=now,
        evidence_at=now,
    )
