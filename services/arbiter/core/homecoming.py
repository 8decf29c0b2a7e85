"""The way home of virtual IPs: one at a time, when their home has been well for long enough.

Rule 1: home must be heard, able to hold the VIP, and serving; for `policy.after.node`, doubled for
        each relapse; or a person asks.
Rule 2: each comes only when the one before it is answered there, with draining, so that no
        connection is lost.
Rule 3: what automation does to and fro is bounded by `policy.moves`, and waits while it is paused.
"""

from services.arbiter.core.losing import node_hold_us, with_member
from services.arbiter.core.placing import Move, incident_of, lost, placed, unable, with_vip
from services.arbiter.core.plans import Why, planned
from services.arbiter.core.progress import marked
from services.arbiter.core.returning import ordered
from services.arbiter.core.state import SERVING_STATES, Actions, Case, Member, State
from services.arbiter.core.vip_cases import is_answered
from shared.cluster import FailbackMode
from shared.frozen import replace
from shared.instant import SECOND, Instant
from shared.messages.facts import NodeState
from shared.messages.traffic import Failback

MOVES_OF_A_LOSS = 2  # giving up what it had, and having it back
PAUSED = "automation is paused"


def brought_home(state: State, now: Instant) -> tuple[State, Actions]:
    """Bring home one VIP, if its home has been well for long enough."""
    for vip, placement in sorted(state.plan.vips.items()):
        home = state.cluster.vips[vip].home
        if placement.holder == home:
            continue
        known = state.vips[vip]
        is_up = state.members[home].state is NodeState.UP
        is_well = is_up and not unable(state, home, vip, now)
        if is_well is (known.well_since is None):
            state = with_vip(state, replace(known, well_since=now if is_well else None))
        if not obstacle(state, vip, now):
            return came_home(state, vip, now)
    return state, ()


def unwell(state: State, node: str) -> str:
    """Return what a node lacks to have its VIPs back, beside holding them; "" nothing."""
    if state.members[node].state is not NodeState.UP:
        return f"{node} is {state.members[node].state}"
    for service, of_service in sorted(state.instances.items()):
        if of_service[node].state not in SERVING_STATES:
            return f"{service} on {node} to serve again"
    return ""


def obstacle(state: State, vip: str, now: Instant) -> str:
    """Return what keeps a VIP from coming home, in words; "" if nothing does."""
    home = state.cluster.vips[vip].home
    known = state.vips[vip]
    if state.paused:
        return PAUSED
    if state.cluster.policy.failback is FailbackMode.MANUAL and not known.asked:
        return f"a person: equipoise failback {vip}"
    if words := unable(state, home, vip, now):
        return f"{home}: {words}"
    return (
        unwell(state, home)
        or ("" if known.asked else _hold_down(state, vip, home, now))
        or ("" if known.asked else _bounded(state, home, now))
        or _one_at_a_time(state, vip, home, now)
    )


def _hold_down(state: State, vip: str, home: str, now: Instant) -> str:
    since = state.vips[vip].well_since
    # What happened while we slept was not observed.
    well_us = now - max(since, state.trusted_since) if since is not None else 0
    wanted_us = node_hold_us(state, state.members[home])
    if since is not None and well_us >= wanted_us:
        return ""
    return f"{home} being well for {well_us // SECOND} of {wanted_us / SECOND:.0f} s"


def _bounded(state: State, home: str, now: Instant) -> str:
    policy, member = state.cluster.policy, state.members[home]
    if _since_its_loss(member) >= MOVES_OF_A_LOSS:
        return ""  # this return has begun, and was counted
    lately = sum(now - at < policy.moves_window_us for at in member.moves_at)
    return f"the window of {policy.moves_max} automatic moves" if lately >= policy.moves_max else ""


def _one_at_a_time(state: State, vip: str, home: str, now: Instant) -> str:
    for other, placement in sorted(state.plan.vips.items()):
        on_the_way = placement.holder == home and not is_answered(state, other)
        if other != vip and on_the_way and not lost(state, other, now):
            return f"an answer through {other} on {home}"
    return ""


def came_home(state: State, vip: str, now: Instant) -> tuple[State, Actions]:
    """Order the plan that brings a VIP home, its open connections drained."""
    home = state.cluster.vips[vip].home
    known = state.vips[vip]
    name = incident_of(state, vip)
    reason = f"{vip} comes home to {home}"
    if not known.asked:
        member = state.members[home]
        moves_at = counted(state, member, now, most=MOVES_OF_A_LOSS)
        state = with_member(state, replace(member, moves_at=moves_at))
    move = Move(
        to={vip: home}, reason=reason, incident=name, drain_us=state.cluster.policy.drain_us
    )
    told: Actions = ()
    for each in state.plan.vips[vip].incidents:
        if each in state.cases:
            state, more = _waited(state, state.cases[each], now)
            told = (*told, *more)
    state = planned(state, (), Why(reason, name))
    state, facts = placed(state, move, now)
    state, orders = ordered(state, Failback, now)
    return state, (*orders, *told, *facts)


def _waited(state: State, case: Case, now: Instant) -> tuple[State, Actions]:
    """End the phase before the first VIP of an incident comes home, if no instance ended one."""
    if len(case.marks) > 1:
        return state, ()
    phase = "out" if case.incident.planned else "observe"
    return marked(state, case.incident.id, phase, now)


def counted(state: State, member: Member, now: Instant, most: int) -> tuple[Instant, ...]:
    """Return a node's moves with one more, if fewer than `most` followed its loss."""
    window_us = state.cluster.policy.moves_window_us
    kept = tuple(at for at in member.moves_at if now - at < window_us)
    return kept if _since_its_loss(member) >= most else (*kept, now)


def _since_its_loss(member: Member) -> int:
    return sum(at >= (member.lost_at or 0) for at in member.moves_at)
