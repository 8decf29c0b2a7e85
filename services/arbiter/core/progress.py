"""The course of an incident: timed until verified, marked on its way back, closed at its end.

All instants are this arbiter's own. The phases of the handling follow one another without gaps:
detect (first sign to the evidence that decided), lease (where a virtual IP had to wait for it to
end), decide (to the command's sending), switch (to the last load balancer's read-back), verify (to
the last real request, through its virtual IPs too), so they add up to the whole. The recovery's
phases do the same from then on.
"""

from collections.abc import Iterable

from services.arbiter.core.cases import counted, is_of_node, put, said
from services.arbiter.core.detection import gap_of, lease_of
from services.arbiter.core.state import Case, Say, State
from services.arbiter.core.vip_cases import away, unanswered
from shared.frozen import replace
from shared.instant import Instant, milliseconds
from shared.messages.facts import (
    Cost,
    IncidentClosed,
    IncidentState,
    IncidentUpdated,
    NodeState,
    Phase,
)
from shared.rules import digest


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
            base[member.name] = counted(earlier[-1] if earlier else member.samples[0][1], case)
    return put(state, replace(case, base=base))


def cost(state: State, case: Case) -> Cost:
    """Return what clients have paid so far, by all load balancers' counters."""
    requests = failed = 0
    for name, member in state.members.items():
        if not member.samples:
            continue
        newest = counted(member.samples[-1][1], case)
        base = (case.base or {}).get(name, newest)
        if newest[0] < base[0]:  # the load balancer was restarted and counts from nought
            base = (0, 0)
        requests += newest[0] - base[0]
        failed += max(newest[1] - base[1], 0)
    return Cost(requests=requests, failed=failed)


def sent(state: State, number: tuple[int, int], now: Instant) -> State:
    """Note when the command that handles an incident first went out."""
    for _, case in sorted(state.cases.items()):
        if case.number == number and case.sent_at is None:
            state = put(state, replace(case, sent_at=now))
    return state


def progressed(state: State, name: str, now: Instant) -> tuple[State, tuple[Say, ...]]:
    """Time a case by how far the present switchers have come with its plan."""
    case = state.cases[name]
    able = _able(state, now)
    if case.verified_at is not None or case.sent_at is None or not able:
        return state, ()
    behind = [node for node in able if state.members[node].installed < case.number]
    unproved = [node for node in able if state.members[node].verified < case.number]
    silent = unanswered(state, case)
    if case.installed_at is None and not behind:
        case = replace(case, installed_at=now)
    if case.installed_at is not None and not unproved and not silent:
        return _handled(state, case, now)
    waiting = f"the switcher of {', '.join(behind or unproved)}"
    if not (behind or unproved):
        waiting = f"an answer through {silent[0]} on {state.plan.vips[silent[0]].holder}"
    if case == state.cases[name] and case.incident.waiting_for == waiting:
        return state, ()
    incident = replace(case.incident, phases=phases(case), waiting_for=waiting)
    return put(state, replace(case, incident=incident)), ()


def _able(state: State, now: Instant) -> list[str]:
    """Return the nodes whose switchers can follow: who is deaf, or has no load balancer, cannot."""
    lessees = state.ledger.lessees
    return [
        node
        for node in state.present(now)
        if not lessees[node].hearing.deafness
        and ((beat := lessees[node].beat) is None or not beat.balancer)
    ]


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
    lease = [] if case.lease_at is None else [("lease", case.lease_at)]
    ends = [
        ("detect", case.evidence_at),
        *lease,
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
    if longest.name != "detect" or not case.targets:
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
    for move in case.incident.vips:
        if (waiting := away(state, move.vip)) != "":
            return waiting
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
