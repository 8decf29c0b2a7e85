"""What is going on: every view of `equipoise status`, for a time that is handed in."""

from collections.abc import Iterable, Mapping

from services.console.core.advice import advice
from services.console.core.incidents import brief
from services.console.core.loads import failed, requests_per_s, shares
from services.console.core.state import Filling, State, fresh, newest_incident
from services.console.core.truths import seen
from services.console.core.verdict import Judged, judge
from services.console.core.view import FAILURES_US
from services.console.core.vips import held_by, vip_readiness, vip_views
from services.console.core.words import (
    length,
    moment,
    number,
    percent,
    short,
    takeover_text,
)
from shared.api import (
    IncidentBrief,
    InstanceView,
    InstanceWord,
    Knowledge,
    NodeView,
    NodeWord,
    Overrides,
    OverrideView,
    ServiceView,
    Status,
    TakeoverView,
    Truth,
)
from shared.cluster import Service
from shared.instant import Duration, Instant
from shared.messages.facts import NodeState, Situation
from shared.messages.traffic import Override, OverrideKind, Plan
from shared.rules import Rule

ALARMS_MAX = 20
SIGNALS_MAX = 20  # the bus, UDP, and probes of ten peers


def status(state: State, now: Instant, wall_us: int) -> Status:
    """Return what is going on."""
    situation = state.situation.value if state.situation is not None else None
    current = situation if fresh(state, now) else None
    plan = situation.plan if situation is not None else None
    judged = judge(state, now)
    last = newest_incident(state)
    return Status(
        cluster=state.cluster.name,
        seen_from=state.member,
        version=state.version,
        time=moment(wall_us),
        verdict=judged.verdict,
        headline=judged.headline,
        knowledge=knowledge(state, now),
        arbiter=short(situation.arbiter) if situation is not None else None,
        plan=number(*plan.number) if plan is not None else None,
        settled=_settled(current),
        paused=situation is not None and situation.paused,
        nodes=node_views(state, now),
        services=[_service(state, service, judged, now) for service in _services(state)],
        readiness=_readiness(state, current),
        overrides=[override_view(item, wall_us) for item in plan.overrides] if plan else [],
        incidents=_open(state, situation, wall_us),
        last_incident=None if last is None else brief(last, wall_us),
        alarms=[short(alarm) for alarm in current.alarms[:ALARMS_MAX]] if current else [],
        next=advice(state, current, now),
        vips=vip_views(state, now),
        vip_readiness=vip_readiness(current),
    )


def knowledge(state: State, now: Instant) -> Knowledge:
    """Return how much of an answer may be taken for the present."""
    situation = state.situation
    age_us = None if situation is None else now - situation.at
    texts = []
    if situation is None:
        waited = length(now - state.started_at)
        texts.append(f"no arbiter has been heard since this console began {waited} ago")
    elif not fresh(state, now):
        ago = length(now - situation.at)
        texts.append(f"the arbiter on {short(situation.value.arbiter)} was last heard {ago} ago")
    if not state.bus:
        texts.append("the bus is not reachable from here")
    return Knowledge(
        fresh=fresh(state, now),
        age_us=age_us,
        bus=state.bus,
        history=state.filling is Filling.FILLED,
        text="; ".join(texts),
    )


def overrides(state: State, now: Instant, wall_us: int) -> Overrides:
    """Return what people asked for and is in force."""
    known = state.situation.value.plan.overrides if state.situation is not None else ()
    return Overrides(
        knowledge=knowledge(state, now),
        overrides=[override_view(item, wall_us) for item in known],
    )


def override_view(override: Override, wall_us: int) -> OverrideView:
    """Return one override as JSON."""
    return OverrideView(
        kind=override.kind.value,
        node=override.node,
        service=override.service,
        owner=short(override.owner),
        reason=short(override.reason),
        since=moment(override.since_wall_us),
        until=moment(override.until_wall_us),
        left_us=max(0, override.until_wall_us - wall_us),
        incident=override.incident,
        vip=override.vip,
    )


def _settled(situation: Situation | None) -> Truth:
    if situation is None:
        return "unknown"
    return "yes" if situation.settled else "no"


def _services(state: State) -> Iterable[Service]:
    return state.cluster.services.values()


def node_views(state: State, now: Instant) -> list[NodeView]:
    """Return every member, in the configuration's order."""
    parts = shares(state, now)
    return [node_view(state, name, parts.get(name), now) for name in state.cluster.members]


def node_view(state: State, name: str, share_percent: int | None, now: Instant) -> NodeView:
    """Return one member: what is believed of it, and what its load balancer shows."""
    serves = name in state.cluster.nodes
    known = state.situation
    plan = known.value.plan if known is not None else None
    belief = known.value.nodes.get(name) if known is not None else None
    age_us = 0 if known is None else now - known.at
    beat = state.heartbeats.get(name)
    shown = seen(state, name, plan if fresh(state, now) else None, now)
    word = node_word(state, name, now)
    configuration = beat.value.configuration if beat is not None else ""
    return NodeView(
        name=name,
        role="node" if serves else "witness",
        state=word,
        was=belief.state.value if belief is not None and not fresh(state, now) else "",
        reason=short(belief.reason) if belief is not None else "nothing is known of it",
        since_us=None if belief is None else belief.since_us + age_us,
        silent_us=_silent_us(belief.silent_us if belief is not None else None, age_us),
        heard_us=None if beat is None else now - beat.at,
        wanted_percent=_wanted_percent(plan, name) if serves else None,
        share_percent=share_percent if serves else None,
        balancer=shown.balancer if serves else "none",
        balancer_text=short(shown.balancer_text) if serves else "",
        installed=shown.installed if serves else "none",
        installed_plan=number(*shown.back.number) if shown.back is not None else None,
        verified=shown.verified if serves else "none",
        verified_us=None if shown.verified_at is None else now - shown.verified_at,
        measured_us=None if shown.at is None else now - shown.at,
        configuration=short(configuration),
        configuration_differs=bool(configuration) and configuration != state.cluster.configuration,
        vips=held_by(state, known.value if known is not None and fresh(state, now) else None, name),
        signals=[short(text) for text in belief.signals[:SIGNALS_MAX]] if belief else [],
        waiting_for=short(belief.waiting_for) if belief is not None else "",
        lease_us=belief.lease_us or None if belief is not None else None,
        gap_us=belief.gap_us or None if belief is not None else None,
        incident=belief.incident if belief is not None else None,
    )


def node_word(state: State, name: str, now: Instant) -> NodeWord:
    """Return a member's state in a word; what is not known now is unknown."""
    known = state.situation
    if known is None or not fresh(state, now):
        return "unknown"
    belief = known.value.nodes.get(name)
    if belief is None:
        return "unknown"
    resting = any(
        item.kind is OverrideKind.MAINTENANCE and item.node == name and item.service is None
        for item in known.value.plan.overrides
    )
    return "maintenance" if resting and belief.state is NodeState.UP else belief.state.value


def _silent_us(silent_us: Duration | None, age_us: Duration) -> Duration | None:
    return None if silent_us is None else silent_us + age_us


def _wanted_percent(plan: Plan | None, node: str) -> int | None:
    """Return a node's mean part of all services by weight."""
    if plan is None:
        return None
    parts = [percent(rules, node) for rules in plan.services.values() if node in rules]
    return round(sum(parts) / len(parts)) if parts else None


def _service(state: State, service: Service, judged: Judged, now: Instant) -> ServiceView:
    rules: Mapping[str, Rule] = {}
    if state.situation is not None:
        rules = state.situation.value.plan.services.get(service.name, {})
    return ServiceView(
        name=service.name,
        mode=service.mode.value,
        listen=service.listen,
        serving=judged.services[service.name],
        requests_per_s=requests_per_s(state, service.name, now),
        failed=failed(state, service.name, now),
        failed_within_us=min(FAILURES_US, now - state.started_at),
        instances=[
            instance_view(state, service.name, node, rules, now) for node in state.cluster.nodes
        ],
        vips=list(service.vips),
    )


def instance_view(
    state: State, service: str, node: str, rules: Mapping[str, Rule], now: Instant
) -> InstanceView:
    """Return one instance: what is wanted of it, and what is believed of it."""
    known = state.situation
    belief = known.value.instances.get(service, {}).get(node) if known is not None else None
    rule = rules.get(node)
    current = fresh(state, now)
    word: InstanceWord = "unknown"
    if belief is not None and current:
        word = belief.state.value
    age_us = 0 if known is None else now - known.at
    return InstanceView(
        node=node,
        state=word,
        was=belief.state.value if belief is not None and not current else "",
        admission=None if rule is None else rule.admission.value,
        weight=None if rule is None else rule.weight,
        percent=None if rule is None else percent(rules, node),
        answer_us=belief.answer_us or None if belief is not None and current else None,
        reason=short(belief.reason) if belief is not None else "nothing is known of it",
        waiting_for=short(belief.waiting_for) if belief is not None else "",
        since_us=None if belief is None else belief.since_us + age_us,
        incident=None if belief is None else belief.incident,
    )


def _readiness(state: State, situation: Situation | None) -> list[TakeoverView]:
    if situation is None:
        return []
    return [
        TakeoverView(
            service=takeover.service,
            node=takeover.node,
            to=list(takeover.to),
            ready=takeover.ready,
            reason=short(takeover.reason),
            load_percent=takeover.load_percent,
            sentence=short(takeover_text(takeover, state.cluster.nodes)),
        )
        for takeover in situation.readiness.takeovers
    ]


def _open(state: State, situation: Situation | None, wall_us: int) -> list[IncidentBrief]:
    ids = situation.incidents if situation is not None else ()
    return [brief(state.incidents[i].incident, wall_us) for i in ids if i in state.incidents]
