"""How a VIP comes: guard, address, announcements, the tracker's memory, a real request."""

from collections.abc import Mapping

from services.traffic_switcher.core.leases.actions import (
    Action,
    Announce,
    Ask,
    Decided,
    ForgetFlows,
    PassOn,
    Renew,
    TakeAddress,
)
from services.traffic_switcher.core.leases.pace import (
    ADDRESS_VALID_US,
    ANNOUNCE_AGAIN_US,
    ANNOUNCE_FIRST_US,
    ANNOUNCE_US,
    ANNOUNCED_AT_FIRST,
    ASK_AGAIN_US,
    ASK_US,
    CLAIM_AGAIN_US,
    CLAIM_SAID_AGAIN_US,
    REFRESH_US,
    RENEW_AGAIN_US,
)
from services.traffic_switcher.core.leases.state import (
    AddressTaken,
    Answered,
    Claimed,
    NotAnswered,
    State,
    Vip,
    parent_of,
    with_vip,
)
from services.traffic_switcher.core.state import Say, Trace
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.leases import NO_TERM, ClaimSeen, Held, Holding
from shared.trace import SpanKind


def renewed(state: State, ends: Mapping[str, Instant], now: Instant) -> Decided:
    """Take what was not open before: the guard is open until then."""
    state = replace(state, guard_at=now)
    actions: list[Action] = []
    for name, ends_at in sorted(ends.items()):
        vip = state.vips[name]
        if vip.ends_at <= now:
            continue  # it was slow, and what it opened is closed again
        vip = replace(vip, committed_ends_at=ends_at)
        if vip.opened_at is None:
            vip = replace(vip, opened_at=now, address_at=None, refresh_at=now + REFRESH_US)
            actions.append(TakeAddress(name, vip.term, ADDRESS_VALID_US))
        state = with_vip(state, name, vip)
    return state, tuple(actions)


def not_renewed(state: State, now: Instant) -> State:
    """Try again soon; until then nobody knows what the kernel has of these leases."""
    vips = {name: replace(vip, committed_ends_at=0) for name, vip in state.vips.items()}
    return replace(state, vips=vips, renew_at=now + RENEW_AGAIN_US)


def renew_again(state: State, now: Instant) -> Decided:
    """Renew what was refused, as far as it still runs."""
    if state.renew_at is None or now < state.renew_at:
        return state, ()
    ends = {
        name: vip.ends_at
        for name, vip in sorted(state.vips.items())
        if vip.committed_ends_at < vip.ends_at and vip.ends_at > now
    }
    return replace(state, renew_at=None), (Renew(ends),) if ends else ()


def address_taken(state: State, event: AddressTaken, now: Instant) -> Decided:
    """Tell everybody, when it is there for the first time in this term."""
    name, vip = event.vip, state.vips[event.vip]
    opened_at = vip.opened_at
    if event.term != vip.term or opened_at is None or vip.address_at is not None:
        return state, ()
    vip = replace(
        vip,
        address_at=now,
        announced=1,
        announce_at=now + ANNOUNCE_FIRST_US,
        asking=vip.term,
        ask_at=now,
    )
    held = replace(
        _held(state, name, vip, Holding.TAKEN),
        reason="granted",
        guard_us=opened_at - vip.granted_at,
        address_us=now - opened_at,
    )
    return replace(with_vip(state, name, vip), beat_now=True), (
        Announce(name, vip.place.interface),
        ForgetFlows(name),
        Ask(name, vip.term),
        Say(held),
        *_traced(state, name, vip, now),
    )


def answered(state: State, event: Answered, now: Instant) -> Decided:
    """Say that clients could be served now."""
    name, vip = event.vip, state.vips[event.vip]
    vip = replace(vip, asking=NO_TERM if vip.asking == event.term else vip.asking)
    if event.term != vip.term or vip.opened_at is None or vip.address_at is None:
        return with_vip(state, name, vip), ()
    is_first = vip.answered_at is None
    vip = replace(vip, answered_at=now, ask_at=now + ASK_US)
    state = with_vip(state, name, vip)
    if not is_first:
        return state, ()
    held = replace(_held(state, name, vip, Holding.ANSWERED), reason=event.detail)
    return replace(state, beat_now=True), (Say(held), *_traced(state, name, vip, now))


def not_answered(state: State, event: NotAnswered, now: Instant) -> State:
    """Ask again; whether the load balancer works at all is judged elsewhere."""
    vip = state.vips[event.vip]
    if event.term != vip.asking:
        return state
    wait_us = ASK_AGAIN_US if vip.answered_at is None else ASK_US
    return with_vip(state, event.vip, replace(vip, asking=NO_TERM, ask_at=now + wait_us))


def not_announced(state: State, name: str, now: Instant) -> State:
    """Say it again soon, instead of when it would be repeated."""
    vip = state.vips[name]
    again = replace(vip, announced=max(vip.announced - 1, 0), announce_at=now + ANNOUNCE_AGAIN_US)
    return with_vip(state, name, again)


def claimed(state: State, event: Claimed, now: Instant) -> Decided:
    """Claim it back, if it is held here: a bare claim proves nothing (rule 9).

    Of what has just left it is the next holder's, and its clients are waiting; it proves nothing
    there either: the guard of whoever they are passed on to decides.
    """
    vip = state.vips[event.vip]
    if vip.held_back_until is not None:
        return state, (PassOn(event.vip, event.hardware),)
    if vip.address_at is None or vip.opened_at is None:
        return state, ()
    name = event.vip
    # Announced as often as in the beginning, for as long as somebody claims it, or answers for it.
    soon_at = min(vip.announce_at, now + ANNOUNCE_FIRST_US)
    vip = replace(vip, claims=vip.claims + 1, announced=1, announce_at=soon_at)
    actions: list[Action] = []
    if _is_due(vip.claim_answered_at, CLAIM_AGAIN_US, now):
        vip = replace(vip, claim_answered_at=now)
        actions.append(Announce(name, vip.place.interface))
    if _is_due(vip.claim_said_at, CLAIM_SAID_AGAIN_US, now):
        vip = replace(vip, claim_said_at=now)
        actions.append(Say(_seen(state, event, vip)))
    return with_vip(state, name, vip), tuple(actions)


def _is_due(done_at: Instant | None, again_us: Duration, now: Instant) -> bool:
    return done_at is None or now - done_at >= again_us


def _seen(state: State, event: Claimed, vip: Vip) -> ClaimSeen:
    return ClaimSeen(
        node=state.node,
        vip=event.vip,
        hardware=event.hardware,
        interface=event.interface,
        seen=vip.claims,
    )


def keep(state: State, name: str, now: Instant) -> Decided:
    """Do what is due for a VIP that is held; one that drains needs its address still."""
    vip, actions = state.vips[name], list[Action]()
    if vip.opened_at is None and vip.drained_at is None:
        return state, ()
    if now >= vip.refresh_at:
        vip = replace(vip, refresh_at=now + REFRESH_US)
        actions.append(TakeAddress(name, vip.term, ADDRESS_VALID_US))
    if vip.address_at is not None and now >= vip.announce_at:
        many = vip.announced + 1
        wait_us = ANNOUNCE_FIRST_US if many < ANNOUNCED_AT_FIRST else ANNOUNCE_US
        vip = replace(vip, announced=many, announce_at=now + wait_us)
        actions.append(Announce(name, vip.place.interface))
    if vip.address_at is not None and vip.asking != vip.term and now >= vip.ask_at:
        vip = replace(vip, asking=vip.term)
        actions.append(Ask(name, vip.term))
    return (with_vip(state, name, vip), tuple(actions)) if actions else (state, ())


def waits(vip: Vip) -> tuple[Instant, ...]:
    """Return when something is due for a VIP that is held."""
    if vip.opened_at is None:
        return () if vip.drained_at is None else (vip.refresh_at,)
    if vip.address_at is None:
        return (vip.ends_at, vip.refresh_at)
    ask = () if vip.asking == vip.term else (vip.ask_at,)
    return (vip.ends_at, vip.refresh_at, vip.announce_at, *ask)


def _held(state: State, name: str, vip: Vip, holding: Holding) -> Held:
    return Held(
        node=state.node,
        vip=name,
        term=vip.term,
        holding=holding,
        reason="",
        incident=vip.incident,
    )


def _traced(state: State, name: str, vip: Vip, now: Instant) -> tuple[Trace, ...]:
    """Return the span of the step that has just ended."""
    if vip.incident is None or vip.address_at is None:
        return ()
    is_taken = vip.answered_at is None
    what = "take" if is_taken else "answer"
    epoch, sequence = vip.term
    return (
        Trace(
            incident=vip.incident,
            name=f"{what} vip",
            key=f"{what}/{state.node}/{name}/{epoch}.{sequence}",
            parent=parent_of(vip, "switch" if is_taken else "verify"),
            begin_at=vip.granted_at if is_taken else vip.address_at,
            end_at=now,
            attributes={"vip": name, "epoch": epoch, "sequence": sequence},
            kind=SpanKind.INTERNAL if is_taken else SpanKind.CLIENT,
        ),
    )
