"""Why something is in its state: a sentence, and everything that speaks for or against it."""

from collections.abc import Iterable

from services.console.core.incidents import brief
from services.console.core.state import Known, State, fresh
from services.console.core.status import instance_view, knowledge, node_view, override_view
from services.console.core.truths import seen
from services.console.core.words import because, length, rule_text, short, takeover_text
from shared.api import (
    Fact,
    IncidentBrief,
    Knowledge,
    Level,
    NodeView,
    OverrideView,
    Why,
    WhyInstance,
)
from shared.instant import Instant
from shared.messages.health import Evidence, Grade, Verdict
from shared.rules import original


def why(state: State, target: str, now: Instant, wall_us: int) -> Why | None:
    """Return why a node, service or service/node is in its state; None if there is none such."""
    service, _, node = target.partition("/")
    cluster = state.cluster
    if node:
        known = service in cluster.services and node in cluster.nodes
        return _of_instance(state, service, node, now, wall_us) if known else None
    if target in cluster.services:
        return _of_service(state, target, now, wall_us)
    return _of_node(state, target, now, wall_us) if target in cluster.members else None


def _of_instance(state: State, service: str, node: str, now: Instant, wall_us: int) -> Why:
    instance = _instance(state, service, node, now)
    return Why(
        target=f"{service}/{node}",
        kind="instance",
        knowledge=knowledge(state, now),
        state=instance["state"],
        sentence=instance["sentence"],
        facts=[],
        instances=[instance],
        readiness=_readiness(state, now, service=service, node=node),
        overrides=_overrides(state, wall_us, service=service, node=node),
        incidents=_incidents(state, wall_us, service=service, node=node),
    )


def _of_service(state: State, service: str, now: Instant, wall_us: int) -> Why:
    instances = [_instance(state, service, node, now) for node in state.cluster.nodes]
    unlike = [item for item in instances if item["state"] != "home"]
    sentence = f"{service} is as originally set on every node"
    if unlike:
        sentence = unlike[0]["sentence"]
    return Why(
        target=service,
        kind="service",
        knowledge=knowledge(state, now),
        state=unlike[0]["state"] if unlike else "home",
        sentence=sentence,
        facts=[],
        instances=instances,
        readiness=_readiness(state, now, service=service, node=None),
        overrides=_overrides(state, wall_us, service=service, node=None),
        incidents=_incidents(state, wall_us, service=service, node=None),
    )


def _of_node(state: State, node: str, now: Instant, wall_us: int) -> Why:
    view = node_view(state, node, None, now)
    services = state.cluster.services if node in state.cluster.nodes else ()
    return Why(
        target=node,
        kind="node",
        knowledge=knowledge(state, now),
        state=view["state"],
        sentence=_node_sentence(view, knowledge(state, now)),
        facts=list(_node_facts(state, view, now)),
        instances=[_instance(state, service, node, now) for service in services],
        readiness=_readiness(state, now, service=None, node=node),
        overrides=_overrides(state, wall_us, service=None, node=node),
        incidents=_incidents(state, wall_us, service=None, node=node),
    )


def _node_sentence(view: NodeView, known: Knowledge) -> str:
    if view["state"] == "unknown":
        was = f" (it was {view['was']})" if view["was"] else ""
        return f"{view['name']} is unknown{was}, {because(known['text'] or view['reason'])}"
    ago = "" if view["since_us"] is None else f", for {length(view['since_us'])}"
    reason = f", {because(view['reason'])}" if view["reason"] else ""
    return f"{view['name']} is {view['state']}{ago}{reason}"


def _node_facts(state: State, view: NodeView, now: Instant) -> Iterable[Fact]:
    name = view["name"]
    if view["silent_us"] is not None:
        yield _fact("heartbeat on the bus", length(view["silent_us"]), "arbiter", view["silent_us"])
    if view["heard_us"] is not None:
        yield _fact("heartbeat heard here", length(view["heard_us"]), state.member, 0)
    for peer, beat in sorted(state.heartbeats.items()):
        heard_us = beat.value.hears_us.get(name)
        if peer != name and heard_us is not None:
            age_us = heard_us + now - beat.at
            yield _fact("heartbeat heard directly", f"{length(age_us)} ago", peer, age_us)
    if view["balancer"] != "none":
        level: Level = "good" if view["balancer"] == "yes" else "attention"
        words = {"yes": "answers", "no": "does not answer"}.get(view["balancer"], "unknown")
        text = f"{words}: {view['balancer_text']}" if view["balancer_text"] else words
        yield _fact("load balancer", text, f"switcher on {name}", view["measured_us"], level)
    if view["configuration_differs"]:
        yield _fact("configuration", view["configuration"], name, view["heard_us"], "attention")


def _fact(what: str, value: str, source: str, age_us: int | None, level: Level = "plain") -> Fact:
    return Fact(what=what, value=value, threshold="", source=source, age_us=age_us, level=level)


def _instance(state: State, service: str, node: str, now: Instant) -> WhyInstance:
    known = state.situation
    plan = known.value.plan if known is not None else None
    rules = plan.services.get(service, {}) if plan is not None else {}
    view = instance_view(state, service, node, rules, now)
    rule = rules.get(node)
    installed = {}
    for balancer in state.cluster.nodes:
        shown = seen(state, balancer, plan if fresh(state, now) else None, now)
        there = shown.rules.get(service, {}).get(node) if shown.rules is not None else None
        installed[balancer] = "unknown" if there is None else rule_text(there)
    return WhyInstance(
        service=service,
        node=node,
        state=view["state"],
        sentence=_sentence(state, f"{service}/{node}", view["state"], view["reason"], now),
        wanted=None if rule is None else rule_text(rule),
        original=rule_text(original(state.cluster)[service][node]),
        installed=installed,
        waiting_for=view["waiting_for"],
        facts=list(_evidence(state, service, node, now)),
    )


def _sentence(state: State, target: str, word: str, reason: str, now: Instant) -> str:
    if word == "unknown":
        return f"{target} is unknown, {because(knowledge(state, now)['text'] or reason)}"
    if word == "home":
        return f"{target} is as originally set"
    return f"{target} is {word}" + (f", {because(reason)}" if reason else "")


def _evidence(state: State, service: str, node: str, now: Instant) -> Iterable[Fact]:
    for (_, of_service, of_node), known in sorted(state.evidence.items()):
        if (of_service, of_node) == (service, node):
            yield _evidence_fact(known, now)


def _evidence_fact(known: Known[Evidence], now: Instant) -> Fact:
    evidence = known.value
    level: Level = "attention"
    if evidence.verdict is Verdict.HEALTHY and evidence.grade is Grade.NONE:
        level = "good"
    elif evidence.grade is Grade.CONCLUSIVE:
        level = "bad"
    what = f"{evidence.detail} ({evidence.grade.value})" if level != "good" else evidence.detail
    if evidence.abstains:
        what, level = f"{what}; the observer was late and abstains", "plain"
    return Fact(
        what=short(what),
        value=short(evidence.value),
        threshold=short(evidence.threshold),
        source=evidence.observer,
        age_us=evidence.age_us + now - known.at,
        level=level,
    )


def _readiness(state: State, now: Instant, *, service: str | None, node: str | None) -> list[str]:
    known = state.situation
    if known is None or not fresh(state, now):
        return []
    return [
        short(takeover_text(takeover, state.cluster.nodes))
        for takeover in known.value.readiness.takeovers
        if service in (None, takeover.service) and node in (None, takeover.node)
    ]


def _overrides(
    state: State, wall_us: int, *, service: str | None, node: str | None
) -> list[OverrideView]:
    plan = state.situation.value.plan if state.situation is not None else None
    return [
        override_view(item, wall_us)
        for item in (plan.overrides if plan is not None else ())
        if _touches(item.service, service) and _touches(item.node, node)
    ]


def _incidents(
    state: State, wall_us: int, *, service: str | None, node: str | None
) -> list[IncidentBrief]:
    ids = state.situation.value.incidents if state.situation is not None else ()
    return [
        brief(remembered.incident, wall_us)
        for remembered in (state.incidents.get(name) for name in ids)
        if remembered is not None
        and _touches(remembered.incident.service or None, service)
        and _touches(remembered.incident.node or None, node)
    ]


def _touches(named: str | None, asked: str | None) -> bool:
    """Return whether something said of one, or of all, concerns what is asked about."""
    return named is None or asked is None or named == asked
