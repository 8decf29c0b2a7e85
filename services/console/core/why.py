"""Why something is in its state: a sentence, and everything that speaks for or against it."""

from collections.abc import Iterable, Iterator

from services.console.core.incidents import brief
from services.console.core.state import Known, Remembered, State, fresh
from services.console.core.status import instance_view, knowledge, node_view, override_view
from services.console.core.truths import seen
from services.console.core.vips import vip_view, vip_views
from services.console.core.words import (
    because,
    length,
    number_text,
    rule_text,
    short,
    takeover_text,
    vip_takeover_text,
)
from shared.api import IncidentBrief, Knowledge, Level, NodeView, OverrideView, VipView
from shared.api_why import Fact, Why, WhyInstance
from shared.instant import Instant
from shared.messages.health import Evidence, Grade, Verdict
from shared.messages.traffic import Override
from shared.rules import original


def why(state: State, target: str, now: Instant, wall_us: int) -> Why | None:
    """Return why a VIP, node, service or service/node is in its state; None if there is none."""
    service, _, node = target.partition("/")
    cluster = state.cluster
    addressed = [name for name, vip in cluster.vips.items() if vip.address == target]
    if addressed:
        return _of_vip(state, addressed[0], now, wall_us)
    if node:
        known = service in cluster.services and node in cluster.nodes
        return _of_instance(state, service, node, now, wall_us) if known else None
    if target in cluster.vips:
        return _of_vip(state, target, now, wall_us)
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
        vips=[],
    )


def _of_vip(state: State, name: str, now: Instant, wall_us: int) -> Why:
    view = vip_view(state, name, now)
    known = knowledge(state, now)
    sentence = view["sentence"]
    if view["state"] == "unknown":
        sentence = f"{sentence}, {because(known['text'] or view['reason'])}"
    return Why(
        target=name,
        kind="vip",
        knowledge=known,
        state=view["state"],
        sentence=short(sentence),
        facts=list(_vip_facts(state, view, now)),
        instances=[],
        readiness=_vip_readiness(state, now, {name}),
        overrides=[
            override_view(item, wall_us)
            for item in _plan_overrides(state)
            if item.vip == name or (item.node == view["home"] and item.service is None)
        ],
        incidents=[
            brief(remembered.incident, wall_us)
            for remembered in _open_incidents(state)
            if any(move.vip == name for move in remembered.incident.vips)
            or remembered.incident.id == view["incident"]
        ],
        vips=[view],
    )


def _vip_facts(state: State, view: VipView, now: Instant) -> Iterator[Fact]:
    """Yield what the arbiter holds of a VIP, then each switcher's own last word on it."""
    name, age_us = view["name"], knowledge(state, now)["age_us"]
    if view["answered_us"] is not None:
        level: Level = "good" if view["answers"] == "yes" else "plain"
        source = f"switcher on {view['holder']}"
        yield _fact("a request through it was answered", "yes", source, view["answered_us"], level)
    if view["lease_us"] is not None:
        yield _fact("lease that its holder is granted", length(view["lease_us"]), "arbiter", age_us)
    if view["term"] is not None:
        term = number_text(view["term"]["epoch"], view["term"]["sequence"])
        yield _fact("plan that gave it to its holder", term, "arbiter", age_us)
    for (node, vip), known in sorted(state.held.items()):
        if vip == name:
            what = f"{known.value.holding.value} here, {because(known.value.reason)}"
            term = f"term {number_text(*known.value.term)}"
            yield _fact(short(what), term, f"switcher on {node}", now - known.at)
    for (node, vip), claim in sorted(state.claims.items()):
        if vip == name:
            what = f"somebody else claimed it on {claim.value.interface}"
            source = f"switcher on {node}"
            yield _fact(short(what), short(claim.value.hardware), source, now - claim.at, "bad")


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
        vips=[vip_view(state, name, now) for name in state.cluster.services[service].vips],
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
        facts=[*_life_facts(view, knowledge(state, now)["age_us"]), *_node_facts(state, view, now)],
        instances=[_instance(state, service, node, now) for service in services],
        readiness=[
            *_readiness(state, now, service=None, node=node),
            *_vip_readiness(state, now, set(view["vips"])),
        ],
        overrides=_overrides(state, wall_us, service=None, node=node),
        incidents=_incidents(state, wall_us, service=None, node=node),
        vips=[item for item in vip_views(state, now) if node in (item["holder"], item["home"])],
    )


def _node_sentence(view: NodeView, known: Knowledge) -> str:
    if view["state"] == "unknown":
        was = f" (it was {view['was']})" if view["was"] else ""
        return f"{view['name']} is unknown{was}, {because(known['text'] or view['reason'])}"
    ago = "" if view["since_us"] is None else f", for {length(view['since_us'])}"
    reason = f", {because(view['reason'])}" if view["reason"] else ""
    waits = f"; its return waits for: {view['waiting_for']}" if view["waiting_for"] else ""
    return f"{view['name']} is {view['state']}{ago}{reason}{waits}"


def _life_facts(view: NodeView, age_us: int | None) -> Iterator[Fact]:
    """Yield what the arbiter holds of a node's life."""
    for signal in view["signals"]:
        yield _fact(signal, "speaks for its death", "arbiter", age_us, "attention")
    if view["lease_us"] is not None:
        yield _fact("lease that it is granted", length(view["lease_us"]), "arbiter", age_us)


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


def _vip_readiness(state: State, now: Instant, names: set[str]) -> list[str]:
    known = state.situation
    if known is None or not fresh(state, now):
        return []
    return [
        short(vip_takeover_text(takeover))
        for takeover in known.value.readiness.vips
        if takeover.vip in names
    ]


def _plan_overrides(state: State) -> tuple[Override, ...]:
    return state.situation.value.plan.overrides if state.situation is not None else ()


def _open_incidents(state: State) -> list[Remembered]:
    ids = state.situation.value.incidents if state.situation is not None else ()
    return [state.incidents[name] for name in ids if name in state.incidents]


def _overrides(
    state: State, wall_us: int, *, service: str | None, node: str | None
) -> list[OverrideView]:
    return [
        override_view(item, wall_us)
        for item in _plan_overrides(state)
        if _touches(item.service, service) and _touches(item.node, node)
    ]


def _incidents(
    state: State, wall_us: int, *, service: str | None, node: str | None
) -> list[IncidentBrief]:
    return [
        brief(remembered.incident, wall_us)
        for remembered in _open_incidents(state)
        if _touches(remembered.incident.service or None, service)
        and _touches(remembered.incident.node or None, node)
    ]


def _touches(named: str | None, asked: str | None) -> bool:
    """Return whether something said of one, or of all, concerns what is asked about."""
    return named is None or asked is None or named == asked
