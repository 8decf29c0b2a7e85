"""The verdict in words: the first thing that is read, so it promises nothing that is not known.

unknown      the leading arbiter has been silent for over 3 s
not-serving  a service has no instance that is both wanted and believed to serve,
             or no load balancer answers, or every VIP is dark
degraded     serving, and something keeps it from being as originally set, or from being
             known to be: a VIP that is dark or away from home, no spare, a pause, an incident,
             a difference, nothing verified yet
serving      wanted, installed and verified everywhere, and the loss of any node can be taken
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.console.core.state import State, fresh
from services.console.core.truths import Seen, seen
from services.console.core.vips import silent_vips
from services.console.core.words import length
from shared.api import Verdict
from shared.instant import Instant
from shared.messages.facts import InstanceBelief, InstanceState, NodeState, Situation, VipState
from shared.rules import serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict on the cluster, and on each service."""

    verdict: Verdict
    headline: str
    services: Mapping[str, Verdict]


def judge(state: State, now: Instant) -> Judged:
    """Return the verdict at a time."""
    known = state.situation
    if known is None or not fresh(state, now):
        return Judged(
            verdict="unknown",
            headline="unknown: nothing is known"
            if known is None
            else f"unknown: the last word is {length(now - known.at)} old",
            services=dict.fromkeys(state.cluster.services, "unknown"),
        )
    situation = known.value
    services = {name: _service(situation, name) for name in state.cluster.services}
    shown = {node: seen(state, node, situation.plan, now) for node in state.cluster.nodes}
    dark = [name for name, verdict in services.items() if verdict == "not-serving"]
    if dark:
        headline = f"not serving: {', '.join(dark)}"
        return Judged(verdict="not-serving", headline=headline, services=services)
    if headline := _unreachable(state, situation, shown):
        dead: dict[str, Verdict] = dict.fromkeys(services, "not-serving")
        return Judged(verdict="not-serving", headline=headline, services=dead)
    lack = next(_lacks(state, situation, shown), "")
    return Judged(
        verdict="degraded" if lack else "serving",
        headline=f"serving, {lack}" if lack else "serving",
        services=services,
    )


def _unreachable(state: State, situation: Situation, shown: Mapping[str, Seen]) -> str:
    """Return why no client reaches anything; empty when some do."""
    if all(item.balancer == "no" for item in shown.values()):
        return "not serving: no load balancer answers"
    dark = all(
        (belief := situation.vips.get(name)) is not None and belief.state is VipState.DARK
        for name in state.cluster.vips
    )
    count = len(state.cluster.vips)
    if not count or not dark:
        return ""
    return f"not serving: {'the VIP is' if count == 1 else f'all {count} VIPs are'} dark"


def _service(situation: Situation, name: str) -> Verdict:
    rules = situation.plan.services.get(name, {})
    beliefs = situation.instances.get(name, {})
    if not any(_good(situation, beliefs.get(node), node) for node in serving(rules)):
        return "not-serving"
    if any(belief.state is not InstanceState.HOME for belief in beliefs.values()):
        return "degraded"
    return "serving"


_BAD = {InstanceState.HELD, InstanceState.OUT}


def _good(situation: Situation, belief: InstanceBelief | None, node: str) -> bool:
    """Return whether an instance that is to serve is believed to do so."""
    if belief is None or belief.state in _BAD:
        return False
    host = situation.nodes.get(node)
    return host is not None and host.state is not NodeState.DEAD


def _lacks(state: State, situation: Situation, shown: Mapping[str, Seen]) -> Iterator[str]:
    """Yield what keeps the cluster from being simply well, the gravest first."""
    yield from _unheld(state, situation)
    if not situation.readiness.ready or not all(item.ready for item in situation.readiness.vips):
        yield "no spare"
    if situation.paused:
        yield "automation is paused"
    if situation.incidents:
        yield _returning(situation)
    yield from _unwell(situation)
    yield from _away(state, situation)
    yield from _unproved(shown)
    if situation.alarms:
        yield "an alarm" if len(situation.alarms) == 1 else f"{len(situation.alarms)} alarms"
    for name, beat in sorted(state.heartbeats.items()):
        if beat.value.configuration != state.cluster.configuration:
            yield f"{name} runs another configuration"


def _unheld(state: State, situation: Situation) -> Iterator[str]:
    silent, count = silent_vips(state, situation), len(state.cluster.vips)
    if silent:
        yield f"{count - len(silent)} of {count} VIPs"


def _away(state: State, situation: Situation) -> Iterator[str]:
    for name, vip in state.cluster.vips.items():
        belief = situation.vips.get(name)
        if belief is not None and belief.holder != vip.home:
            yield f"{name} is away from home, on {belief.holder}"
        elif belief is not None and belief.state is VipState.TAKING:
            yield f"{name} is being taken by {belief.holder}"


def _returning(situation: Situation) -> str:
    count = len(situation.incidents)
    return "an incident is open" if count == 1 else f"{count} incidents are open"


def _unwell(situation: Situation) -> Iterator[str]:
    for name, member in sorted(situation.nodes.items()):
        if member.state is not NodeState.UP:
            yield f"{name} is {member.state.value}"
    for service, beliefs in sorted(situation.instances.items()):
        for node, belief in sorted(beliefs.items()):
            if belief.state is not InstanceState.HOME:
                yield f"{service}/{node} is {belief.state.value}"


def _unproved(shown: Mapping[str, Seen]) -> Iterator[str]:
    """Wanted is not installed, and installed is not verified."""
    for node, item in sorted(shown.items()):
        if item.balancer == "no":
            yield f"{node}'s load balancer does not answer"
        if item.installed == "no":
            yield f"{node}'s load balancer differs from the plan"
        if item.balancer == "unknown" or item.installed == "unknown":
            yield f"nothing is known of {node}'s load balancer"
        if item.verified != "yes":
            yield f"not verified on {node}"
