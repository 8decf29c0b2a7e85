"""What is installed where: every instance in every load balancer, with all three truths."""

from services.console.core.state import State, fresh
from services.console.core.status import knowledge
from services.console.core.truths import Seen, seen
from services.console.core.vips import vip_rows
from services.console.core.words import number, number_text, rule_text, short
from shared.api import RuleRow, Rules
from shared.instant import Instant
from shared.messages.traffic import Plan
from shared.rules import original, original_of


def rule_rows(state: State, now: Instant) -> Rules:
    """Return what is wanted, installed and verified, by node, service and target."""
    plan = state.situation.value.plan if state.situation is not None else None
    current = plan if fresh(state, now) else None
    shown = {node: seen(state, node, current, now) for node in state.cluster.nodes}
    rows = [
        _row(state, (node, service, target), current, shown[node], now)
        for node in state.cluster.nodes
        for service in state.cluster.services
        for target in state.cluster.nodes
    ]
    vips = list(vip_rows(state, current, now))
    return Rules(
        knowledge=knowledge(state, now),
        plan=None if plan is None else number(*plan.number),
        differs=any(row["differs"] for row in rows) or any(row["differs"] for row in vips),
        away=_away(state, plan),
        rules=rows,
        vips=vips,
    )


def _away(state: State, plan: Plan | None) -> int:
    """Count the instances whose wanted rule is not the original one, and VIPs not at home."""
    if plan is None:
        return 0
    moved = sum(
        name in plan.vips and plan.vips[name].holder != vip.home
        for name, vip in state.cluster.vips.items()
    )
    return moved + sum(
        plan.services.get(service, {}).get(node) != rule
        for service, rules in original(state.cluster).items()
        for node, rule in rules.items()
    )


def _row(
    state: State, key: tuple[str, str, str], plan: Plan | None, shown: Seen, now: Instant
) -> RuleRow:
    node, service, target = key
    wanted = plan.services.get(service, {}).get(target) if plan is not None else None
    installed = shown.rules.get(service, {}).get(target) if shown.rules is not None else None
    differs = wanted is None or wanted != installed
    return RuleRow(
        node=node,
        service=service,
        target=target,
        wanted=None if wanted is None else rule_text(wanted),
        installed=None if installed is None else rule_text(installed),
        verified=shown.verified,
        verified_us=None if shown.verified_at is None else now - shown.verified_at,
        measured_us=None if shown.at is None else now - shown.at,
        original=rule_text(original_of(state.cluster, state.cluster.services[service])[target]),
        differs=differs,
        by=_by(state, key, shown, differs=differs),
    )


def _by(state: State, key: tuple[str, str, str], shown: Seen, *, differs: bool) -> str:
    """Return who made a rule what it is, as far as it is known."""
    drift = state.drifts.get(key)
    if differs and drift is not None:
        return short(drift.value.by)
    if shown.back is None or shown.back.number == (0, 0):
        return ""
    return f"plan {number_text(*shown.back.number)}"
