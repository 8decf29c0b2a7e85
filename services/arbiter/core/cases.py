"""Incidents: opened with a decision, joined by what has the same cause, adopted after a restart."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.arbiter.core.evidence import Judgement, items
from services.arbiter.core.plans import with_instances
from services.arbiter.core.state import Case, Say, State, Target
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.facts import (
    Cost,
    EvidenceItem,
    Incident,
    IncidentClosed,
    IncidentOpened,
    IncidentState,
    IncidentUpdated,
    VipMove,
)
from shared.messages.traffic import Measured
from shared.rules import Rule
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
    vips: tuple[VipMove, ...] = ()
    evidence_at: Instant | None = None  # when it was known, where no judgement tells
    lease_at: Instant | None = None  # when the last lease that had to be awaited had ended


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
        service="" if opening.node else _one({service for service, _ in opening.targets}),
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
        vips=opening.vips,
    )
    case = Case(
        incident=incident,
        targets=opening.targets,
        number=after.plan.number,
        began_at=began_at,
        evidence_at=min(
            max((view.received_at for view in bad), default=opening.evidence_at or now), now
        ),
        lease_at=opening.lease_at,
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
    incident = replace(
        case.incident,
        service="" if joining.node else case.incident.service,
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
        was, now = counted(newest, case), counted(newest, wider)
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


def counted(sample: Measured, case: Case) -> tuple[int, int]:
    """Return requests and failures of a case's services, as one load balancer counts them."""
    services = {service for service, _ in case.targets}
    loads = [sample.services[name] for name in sorted(services) if name in sample.services]
    return sum(load.requests for load in loads), sum(load.failed for load in loads)


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


def adopted(state: State, name: str, targets: tuple[Target, ...], now: Instant) -> Case:
    """Return a case for an incident that an earlier arbiter opened and whose document is lost."""
    members = state.members.values()
    lost = next((each.name for each in members if each.incident == name), "")
    service = _one({service for service, _ in targets})
    node = lost or _one({node for _, node in targets})
    causes = [each.cause for each in state.plan.nodes if each.incident == name]
    causes += [each.cause for each in state.plan.records if each.incident == name]
    service = "" if lost else service
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


def resumed(case: Case, document: Incident, now: Instant) -> Case:
    """Return an adopted case with its document; what was handled is not timed again."""
    if not any(phase.name == "verify" for phase in document.phases):
        return replace(case, incident=replace(document, phases=()), sent_at=now)
    began_at = now - sum(phase.duration_us for phase in document.phases)
    return replace(
        case,
        incident=document,
        began_at=began_at,
        evidence_at=began_at + document.phases[0].duration_us,
        sent_at=now,
        installed_at=now,
        verified_at=now,
    )
