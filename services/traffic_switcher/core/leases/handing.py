"""Planned moves: what belongs to connections of the holder before is handed over to it."""

from services.traffic_switcher.core.leases.actions import (
    Action,
    Decided,
    HandOver,
    Keep,
)
from services.traffic_switcher.core.leases.state import (
    State,
    Vip,
    with_vip,
)
from shared.frozen import replace
from shared.instant import Instant


def hand_over(state: State, name: str, now: Instant) -> Decided:
    """Set it up before the guard opens; once in a term, if the plan is known and wants it."""
    vip = state.vips[name]
    placement = vip.placement
    if placement is None or placement.previous is None or not placement.drain_us:
        return state, ()
    to = state.cluster.nodes.get(placement.previous)
    is_due = placement.term == vip.term > vip.handing_over and vip.ends_at > now
    if to is None or placement.previous == state.node or not is_due:
        return state, ()
    handing = replace(vip, handing_over=vip.term, hand_over_ends_at=now + placement.drain_us)
    return with_vip(state, name, handing), (HandOver(name, to.address, placement.drain_us),)


def kept(name: str, vip: Vip, now: Instant) -> tuple[Action, ...]:
    """Return what ends it early, when the VIP itself leaves."""
    return (Keep(name),) if vip.hand_over_ends_at > now else ()
