"""What a grant gives, and what a plan takes away.

The rules are those of docs/vip-safety.md; each has a function here that bears its number.
"""

from collections.abc import Mapping

from services.traffic_switcher.core.leases import fitness, handing, releasing
from services.traffic_switcher.core.leases.actions import (
    Action,
    Decided,
    LetGo,
    Renew,
)
from services.traffic_switcher.core.leases.pace import PERMIT_US
from services.traffic_switcher.core.leases.releasing import Cause
from services.traffic_switcher.core.leases.state import (
    PlanInForce,
    State,
    Vip,
    with_vip,
)
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.leases import Grant, Term
from shared.messages.traffic import Placement, Plan


def beat_sent_at(state: State, grant: Grant) -> Instant | None:
    """Rule 1: a grant counts only for a beat of this process, from when that was sent."""
    if grant.node != state.node:
        return None
    if grant.incarnation != state.incarnation:
        return None
    before = state.number - grant.number  # so many beats were sent since
    return state.sent[-1 - before] if 0 <= before < len(state.sent) else None


def lease_end(sent_at: Instant, length_us: Duration) -> Instant:
    """Rule 2: the node counts from when it sent the beat, which is before anybody received it."""
    return sent_at + length_us


def is_above_floor(vip: Vip, term: Term) -> bool:
    """Rule 3: what was given up once is never taken again."""
    return term > vip.floor


def is_not_older(vip: Vip, term: Term) -> bool:
    """Rule 3: a higher term replaces a lower one, never the other way round."""
    return term >= vip.term


def floor_after(node: str, vip: Vip, placement: Placement) -> Term:
    """Rule 3: a plan that gives a VIP to another, or here anew, ends every lower term here."""
    if placement.holder != node:
        return max(vip.floor, placement.term)
    return max(vip.floor, vip.term) if placement.term > vip.term else vip.floor


def is_of_the_past(state: State, grant: Grant) -> bool:
    """Rule 8: who heard an arbiter takes nothing from one before it."""
    return grant.epoch < state.epoch


def floors_of_the_new(state: State, plan: Plan) -> State:
    """Rule 7: who remembers nothing gets only terms that were made after it came."""
    floors = {name: p.term for name, p in plan.vips.items()}
    vips = {
        name: replace(vip, floor=max(vip.floor, floors.get(name, vip.floor)))
        for name, vip in state.vips.items()
    }
    return replace(state, vips=vips, is_new=False)


def rests(ends: Mapping[str, Instant], now: Instant) -> Mapping[str, Duration]:
    """Rule 4: what is left when the clock is read *after* the permit, less the permit's life."""
    found = {name: ends_at - now - PERMIT_US for name, ends_at in ends.items()}
    return {name: rest_us for name, rest_us in sorted(found.items()) if rest_us > 0}


# -- a grant ---------------------------------------------------------------------------------


def heard(state: State, grant: Grant, now: Instant) -> Decided:
    """Take what a grant gives, and renew what it lengthens."""
    sent_at = beat_sent_at(state, grant)
    if sent_at is None or is_of_the_past(state, grant):
        return state, ()
    state = replace(
        state, epoch=max(state.epoch, grant.epoch), heard=max(state.heard, grant.number)
    )
    ends_at = lease_end(sent_at, grant.length_us)
    before: list[Action] = []
    ends: dict[str, Instant] = {}
    for name, term in sorted(grant.vips.items()):
        vip = state.vips.get(name)
        if vip is None or not (is_above_floor(vip, term) and is_not_older(vip, term)):
            continue
        if state.is_new or fitness.why_not(state, vip):
            state = with_vip(state, name, replace(vip, floor=term))  # not used, so given up
        elif ends_at > now:
            vip = explained(vip, term, grant.incidents.get(name))
            state = with_vip(state, name, leased(vip, term, ends_at, now))
            if vip.held_back_until is not None and state.vips[name].held_back_until is None:
                before.append(LetGo(name))
            state, more = handing.hand_over(state, name, now)
            before += more
            if state.vips[name].ends_at > vip.ends_at or term > vip.term:
                ends[name] = state.vips[name].ends_at
    return state, (*before, Renew(ends)) if ends else tuple(before)


def explained(vip: Vip, term: Term, incident: str | None) -> Vip:
    """Return the VIP with what a new term is given for, if its plan has not come yet."""
    is_planned = vip.placement is not None and vip.placement.term == term
    if is_planned or term == vip.term:
        return vip
    return replace(vip, incident=incident, returns=False)


def leased(vip: Vip, term: Term, ends_at: Instant, now: Instant) -> Vip:
    """Return the VIP with a lease of this term, which runs until the latest end granted of it."""
    if term == vip.term and vip.ends_at > now:
        return replace(vip, ends_at=max(vip.ends_at, ends_at))
    return replace(
        vip,
        term=term,
        ends_at=ends_at,
        committed_ends_at=0,
        granted_at=now,
        opened_at=None,
        address_at=None,
        answered_at=None,
        release=None,
        drained_at=None,
        held_back_until=None,
    )


# -- a plan ----------------------------------------------------------------------------------


def plan_in_force(state: State, event: PlanInForce, now: Instant) -> Decided:
    """Give up what a persisted plan takes away."""
    plan = event.plan
    if state.is_new:
        state = floors_of_the_new(state, plan)
    state = replace(state, epoch=max(state.epoch, plan.epoch))
    actions: list[Action] = []
    for name in sorted(plan.vips):
        if name in state.vips:
            state, told = releasing.told(state, name, event)
            state, more = _placed(state, name, event, now)
            actions += (*told, *more)
    return state, tuple(actions)


def _placed(state: State, name: str, event: PlanInForce, now: Instant) -> Decided:
    plan = event.plan
    vip, placement = state.vips[name], plan.vips[name]
    known = vip.placement is not None and vip.placement.term == placement.term
    is_made_here = placement.term == plan.number
    if not known and (placement.term > vip.term or (placement.term == vip.term and is_made_here)):
        incident = plan.incident if is_made_here else None
        vip = replace(vip, incident=incident, returns=not event.is_failover)
    vip = replace(vip, placement=placement)
    state = with_vip(state, name, vip)
    floor = floor_after(state.node, vip, placement)
    if floor == vip.floor:
        return handing.hand_over(state, name, now)
    if vip.term > floor:
        return with_vip(state, name, replace(vip, floor=floor)), ()
    is_here = placement.holder == state.node
    reason = "anew here" if is_here else f"to {placement.holder}"
    drain_us = placement.drain_us if placement.previous == state.node else 0
    cause = Cause(
        reason=f"the plan gives it {reason}",
        floor=floor,
        drain_us=drain_us,
        incident=vip.incident,
    )
    return releasing.release(state, name, cause, now)
