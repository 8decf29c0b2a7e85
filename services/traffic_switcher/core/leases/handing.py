"""Planned moves: what belongs to connections of the holder before is handed over to it."""

from ipaddress import ip_address, ip_interface

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
from services.traffic_switcher.core.places import is_six
from shared.cluster import Cluster
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.traffic import Placement


def hand_over(state: State, name: str, now: Instant) -> Decided:
    """Set it up before the guard opens; once in a term, if the plan is known and wants it."""
    vip = state.vips[name]
    placement = vip.placement
    if placement is None or placement.previous is None or not placement.drain_us:
        return state, ()
    to = _address(state.cluster, name, placement)
    is_due = placement.term == vip.term > vip.handing_over and vip.ends_at > now
    if not to or placement.previous == state.node or not is_due:
        return state, ()
    handing = replace(vip, handing_over=vip.term, hand_over_ends_at=now + placement.drain_us)
    return with_vip(state, name, handing), (HandOver(name, to, placement.drain_us),)


def _address(cluster: Cluster, name: str, placement: Placement) -> str:
    """Return where the holder before is reached: in the members' network, or beside the VIP.

    Packets are passed on within one version of IP. What a node says of itself is taken only if it
    is an address of the VIP's network.
    """
    vip = cluster.vips[name]
    node = cluster.nodes.get(placement.previous or "")
    if node is None:
        return ""
    if is_six(node.address) is is_six(vip.address) or not placement.previous_beside:
        return node.address
    subnet = ip_interface(f"{vip.address}/{vip.prefix}").network
    try:
        beside = ip_address(placement.previous_beside)
    except ValueError:
        return node.address
    # One with a scope, which may be any text, is in no subnet of addresses without.
    return str(beside) if beside in subnet and "%" not in str(beside) else node.address


def kept(name: str, vip: Vip, now: Instant) -> tuple[Action, ...]:
    """Return what ends it early, when the VIP itself leaves."""
    return (Keep(name),) if vip.hand_over_ends_at > now else ()
