"""Whether this node can hold a VIP, and what somebody else did to the guard or the addresses."""

from services.traffic_switcher.core.leases.actions import (
    Action,
    CloseGuard,
    Decided,
    DropAddress,
    Renew,
    Stand,
    TakeAddress,
)
from services.traffic_switcher.core.leases.pace import (
    ADDRESS_VALID_US,
    LEFT_ALONE_US,
    MISSED_US,
    NOT_TAKEN_US,
    PERMIT_US,
    REPAIRS_MAX,
    REPAIRS_WINDOW_US,
    stand_again,
)
from services.traffic_switcher.core.leases.state import (
    AddressNotTaken,
    GuardShown,
    PlacesSeen,
    State,
    Vip,
    with_vip,
)
from services.traffic_switcher.core.places import Place
from services.traffic_switcher.core.state import Say
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.traffic import DRIFT_OF_GUARD, DRIFT_OF_VIPS, Drift

SOMEBODY = "someone else"


def unfit(state: State, vip: Vip) -> str:
    """Return why this machine cannot hold it ("" it can)."""
    new = "it has not persisted a plan yet" if state.is_new else ""
    return state.guard or new or vip.trouble or vip.place.unfit


def why_not(state: State, vip: Vip) -> str:
    """Return why this node wants to hold it no more ("" it does): rule 8 of the node's side."""
    if state.leaving:
        return state.leaving
    if state.balancer:
        return f"load balancer {state.balancer}"
    return unfit(state, vip)


def fit(state: State) -> frozenset[str]:
    """Return the VIPs that this node can hold now."""
    return frozenset(name for name, vip in state.vips.items() if not why_not(state, vip))


# -- the guard -------------------------------------------------------------------------------


def stood(state: State, now: Instant) -> Decided:
    """Everything is closed; open again what is leased."""
    after = replace(state, has_stood=True, guard="", guard_at=now, standing=False, stand_failures=0)
    for name, vip in sorted(state.vips.items()):
        if vip.release is not None and vip.release.closed_at is None:
            closed = replace(vip, release=replace(vip.release, closed_at=now))
            after = with_vip(after, name, closed)
    ends = {n: v.ends_at for n, v in sorted(state.vips.items()) if v.opened_at is not None}
    return after, (Renew(ends),) if ends else ()


def not_stood(state: State, detail: str, now: Instant) -> State:
    """Give up what is held: nothing would close it in time."""
    failures = state.stand_failures + 1
    return replace(
        state,
        guard=detail,
        standing=False,
        stand_failures=failures,
        stand_at=now + stand_again(failures),
    )


def broken(state: State, detail: str, now: Instant) -> Decided:
    """Make the guard anew, unless somebody breaks it again and again."""
    state = replace(state, looking=False, looked=state.looking or state.looked)
    if state.guard or state.standing:
        return state, ()
    repairs = _recent(state.repairs, now)
    drift = _drift(state, DRIFT_OF_GUARD, ("the guard of virtual IPs", detail))
    if len(repairs) < REPAIRS_MAX:
        return replace(state, standing=True, repairs=(*repairs, now)), (Stand(), Say(drift))
    given_up = replace(
        state,
        guard=_at_war("the guard is removed", detail, "nft monitor"),
        stand_at=now + LEFT_ALONE_US,
    )
    return given_up, (Say(replace(drift, repaired=False)),)


def shown(state: State, seen: GuardShown, now: Instant) -> Decided:
    """Compare what the kernel had with what it was told by then."""
    rests = seen.rests
    state = replace(state, guard_at=now, looking=False, looked=state.looking or state.looked)
    actions: list[Action] = []
    ends: dict[str, Instant] = {}
    for name, vip in sorted(state.vips.items()):
        if vip.release is not None and vip.release.closed_at is None and name not in rests:
            closed = replace(vip, release=replace(vip.release, closed_at=now))
            state = with_vip(state, name, closed)
        elif vip.release is None and vip.ends_at <= seen.at and name in rests:
            drift = _drift(state, name, ("closed", f"open for {rests[name]} us more"))
            actions += (CloseGuard(name), Say(drift))
        elif _was_closed(vip, seen.at, now) and name not in rests:
            drift = _drift(state, name, ("open", "closed"))
            state, is_repaired = _repaired(
                state, name, ("the lease is removed", "nft monitor"), now
            )
            actions.append(Say(replace(drift, repaired=is_repaired)))
            if is_repaired:
                ends[name] = vip.ends_at
    return state, (*actions, Renew(ends)) if ends else tuple(actions)


def _was_closed(vip: Vip, seen_at: Instant, now: Instant) -> bool:
    """Say whether a lease that the kernel did not show was removed by somebody."""
    was_open = vip.opened_at is not None and vip.opened_at <= seen_at
    return was_open and vip.committed_ends_at - PERMIT_US - now > MISSED_US


# -- links and addresses ---------------------------------------------------------------------


def places_seen(state: State, event: PlacesSeen, now: Instant) -> Decided:
    """Judge every VIP's place; drop what is left over, put back what was removed."""
    state = replace(state, looking_around=False)
    actions: list[Action] = []
    for name, vip in sorted(state.vips.items()):
        place = event.places.get(name, vip.place)
        state = with_vip(state, name, replace(vip, place=place))
        if place.ours and vip.opened_at is None and vip.drained_at is None:
            actions.append(DropAddress(name))
        elif _was_removed(vip, place, event.began_at):
            state, more = _put_back(state, name, now)
            actions += more
    return state, tuple(actions)


def places_unknown(state: State, detail: str) -> State:
    """Hold nothing on a machine that cannot be seen."""
    place = Place(unfit=f"the interfaces of this machine cannot be read: {detail}")
    vips = {name: replace(vip, place=place) for name, vip in state.vips.items()}
    return replace(state, looking_around=False, vips=vips)


def address_not_taken(state: State, event: AddressNotTaken, now: Instant) -> State:
    """Leave a VIP alone whose address the kernel refuses."""
    vip = state.vips[event.vip]
    if event.term != vip.term:
        return state
    where = vip.place.interface or "any interface"
    trouble = f"its address cannot be put on {where}: {event.detail}"
    return with_vip(
        state, event.vip, replace(vip, trouble=trouble, trouble_until=now + NOT_TAKEN_US)
    )


def _was_removed(vip: Vip, place: Place, began_at: Instant) -> bool:
    was_there = vip.opened_at is not None and vip.address_at is not None
    return was_there and (vip.address_at or 0) < began_at and not (place.ours or place.unfit)


def _put_back(state: State, name: str, now: Instant) -> Decided:
    drift = _drift(state, name, ("its address", "removed"))
    state, is_repaired = _repaired(
        state, name, ("its address is removed", "ip monitor address"), now
    )
    said = Say(replace(drift, repaired=is_repaired))
    if not is_repaired:
        return state, (said,)
    vip = replace(state.vips[name], announced=0, announce_at=now)
    return with_vip(state, name, vip), (TakeAddress(name, vip.term, ADDRESS_VALID_US), said)


# -- repairs ---------------------------------------------------------------------------------


def _repaired(state: State, name: str, fault: tuple[str, str], now: Instant) -> tuple[State, bool]:
    """Count a repair; too many, and the VIP is left alone for a while."""
    what, watch = fault
    vip = state.vips[name]
    repairs = _recent(vip.repairs, now)
    if len(repairs) < REPAIRS_MAX:
        return with_vip(state, name, replace(vip, repairs=(*repairs, now))), True
    trouble = _at_war(what, SOMEBODY, watch)
    given_up = replace(vip, trouble=trouble, trouble_until=now + LEFT_ALONE_US)
    return with_vip(state, name, given_up), False


def _recent(repairs: tuple[Instant, ...], now: Instant) -> tuple[Instant, ...]:
    return tuple(at for at in repairs if now - at < REPAIRS_WINDOW_US)


def _at_war(what: str, by: str, watch: str) -> str:
    return f"{what} again and again ({by}): left alone for a minute; find out who does it ({watch})"


def _drift(state: State, target: str, difference: tuple[str, str]) -> Drift:
    wanted, installed = difference
    return Drift(
        node=state.node,
        service=DRIFT_OF_VIPS,
        target=target,
        wanted=wanted,
        installed=installed[:200],
        repaired=True,
        by=SOMEBODY,
    )
