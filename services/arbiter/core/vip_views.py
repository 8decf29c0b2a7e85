"""Virtual IPs as people are shown them: where they stand, who could take them, what is wrong."""

from services.arbiter.core.homecoming import obstacle
from services.arbiter.core.leases import (
    GUARD_BEATS_MAX,
    Lessee,
    end_of,
    hold_of,
    incapable,
    is_granted,
    waits_for,
)
from services.arbiter.core.placing import (
    chosen,
    incident_of,
    is_free,
    kept_off,
    lost,
    nobody,
    ranked,
    unable,
)
from services.arbiter.core.state import PRESENCE_US, State
from services.arbiter.core.vip_cases import is_answered
from shared.instant import MINUTE, Duration, Instant
from shared.messages.facts import VipBelief, VipState, VipTakeover
from shared.messages.leases import LeaseBeat

CLAIM_SHOWN_US: Duration = MINUTE  # after it was last seen
NAMES_MAX = 3  # a sentence lists so many nodes


def beliefs(state: State, now: Instant) -> dict[str, VipBelief]:
    """Return what is believed of every VIP."""
    return {vip: _belief(state, vip, now) for vip in sorted(state.plan.vips)}


def _belief(state: State, vip: str, now: Instant) -> VipBelief:
    placement, known = state.plan.vips[vip], state.vips[vip]
    configured = state.cluster.vips[vip]
    lessee = state.ledger.lessees[placement.holder]
    hold = hold_of(lessee, vip)
    age_us = hold.answered_age_us if hold.term == placement.term else None
    where = standing(state, vip, now)
    reason, since = known.reason, known.since
    if where is VipState.DARK and known.stuck:
        reason, since = f"{placement.holder}: {lost(state, vip, now)}", known.stuck_since
    return VipBelief(
        address=configured.address,
        home=configured.home,
        holder=placement.holder,
        term=placement.term,
        state=where,
        reason=reason,
        waiting_for=_waiting_for(state, vip, where, now),
        since_us=now - since,
        incident=incident_of(state, vip),
        lease_us=lessee.length_us,
        answered_age_us=age_us + now - lessee.received_at if age_us is not None else None,
    )


def standing(state: State, vip: str, now: Instant) -> VipState:
    """Return where a VIP stands."""
    placement = state.plan.vips[vip]
    lessee = state.ledger.lessees[placement.holder]
    if is_granted(state.ledger, vip, placement) and end_of(lessee, vip) > now:
        return VipState.HELD if is_answered(state, vip) else VipState.TAKING
    if waits_for(state.ledger, placement.holder, vip, now) is not None:
        return VipState.WAITING
    if not lost(state, vip, now):
        return VipState.TAKING if lessee.beat is not None else VipState.WAITING
    return VipState.DARK if is_free(state, vip, now) else VipState.WAITING


def _waiting_for(state: State, vip: str, where: VipState, now: Instant) -> str:
    holder = state.plan.vips[vip].holder
    match where:
        case VipState.HELD:
            return "" if holder == state.cluster.vips[vip].home else obstacle(state, vip, now)
        case VipState.TAKING:
            return f"an answer through it on {holder}"
        case VipState.WAITING:
            other = waits_for(state.ledger, holder, vip, now)
            if other is None and state.ledger.lessees[holder].beat is None:
                return f"the switcher of {holder}"
            return f"the lease of {other or holder} to end"
        case VipState.DARK:
            return state.vips[vip].stuck


def vip_takeover(state: State, vip: str, now: Instant) -> VipTakeover:
    """Say who could take a VIP over if its holder failed now."""
    holder = state.plan.vips[vip].holder
    best = chosen(state, (vip,), now, holder).get(vip)
    loads = dict.fromkeys(state.cluster.nodes, 0)
    others = [
        node
        for node in ranked(state, vip, loads)
        if node not in (holder, best) and best is not None and not unable(state, node, vip, now)
    ]
    to = (best, *others)[:NAMES_MAX] if best is not None else ()
    return VipTakeover(
        vip=vip,
        holder=holder,
        to=to,
        ready=best is not None,
        reason=f"{' and '.join(to)} could hold it" if to else nobody(state, vip, now, holder),
    )


def vip_alarms(state: State, now: Instant) -> tuple[str, ...]:
    """Return what somebody should look at, in sentences."""
    found = []
    for vip, known in sorted(state.vips.items()):
        if standing(state, vip, now) is VipState.DARK:
            holder, address = state.plan.vips[vip].holder, state.cluster.vips[vip].address
            why = f"{lost(state, vip, now)}; nobody takes it: {known.stuck}"
            found.append(f"{vip} ({address}) is dark: {holder}: {why}")
        if known.claimed_at is not None and now - known.claimed_at <= CLAIM_SHOWN_US:
            found.append(known.claim)
    for lessee in state.ledger.lessees.values():
        if lessee.beat is not None and now - lessee.received_at <= PRESENCE_US:
            found.extend(_of_node(state, lessee, lessee.beat))
            found.extend(_of_disk(lessee.beat))
    return tuple(found)


def _of_disk(beat: LeaseBeat) -> list[str]:
    if not beat.unkept:
        return []
    slow = "until it can, an address leaves it only when its lease has run out"
    return [f"{beat.node} cannot write down what it gives up: {beat.unkept}; {slow}"]


def _of_node(state: State, lessee: Lessee, beat: LeaseBeat) -> list[str]:
    """Return why a node that is heard could not hold VIPs."""
    if beat.guard_age_us > GUARD_BEATS_MAX * state.ledger.every_us:
        detail = beat.guard_detail or "its report is old"
        return [f"the guard of {lessee.node} is not seen at work, it can hold no address: {detail}"]
    if words := incapable(state.ledger, lessee):
        return [f"{lessee.node} can hold no address: {words}"]
    return [
        f"{lessee.node} cannot hold {vip}: {hold.unfit}"
        for vip, hold in sorted(beat.vips.items())
        if hold.unfit and not kept_off(state, lessee.node, vip)
    ]
