"""How a VIP leaves: given up on purpose, or because its lease ran out.

    given up --> guard closed --> floor persisted --> said --> address dropped (drained: later)
    ran out  --> the kernel has closed it --> address dropped, said

Who begins a connection there is held back from the moment at which the guard is closed, and passed
on to whoever claims the address: nobody has to ask twice, and twice is a second later. So it is in
every release, not only while a VIP drains: this machine's kernel hears them still, whatever became
of its load balancer.

What is said is true: a release is said when the kernel has confirmed that the guard is closed, or
when the lease is over anyway, and when the floor is on the disk.
"""

from dataclasses import dataclass

from services.traffic_switcher.core.following import RECOVERY
from services.traffic_switcher.core.leases import handing
from services.traffic_switcher.core.leases.actions import (
    Action,
    CloseGuard,
    Decided,
    DropAddress,
    HoldBack,
    LetGo,
)
from services.traffic_switcher.core.leases.fitness import why_not
from services.traffic_switcher.core.leases.pace import (
    HOLD_BACK_US,
    KERNEL_TICK_US,
    PERSIST_AGAIN_US,
)
from services.traffic_switcher.core.leases.state import (
    Memory,
    PlanInForce,
    Release,
    State,
    Vip,
    parent_of,
    with_vip,
)
from services.traffic_switcher.core.state import Say, Trace
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.leases import NO_TERM, Held, Holding, Term

RAN_OUT = "its lease ran out: no grant came in time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a VIP is given up, and how."""

    reason: str
    floor: Term
    drain_us: Duration = 0
    incident: str | None = None  # None: it is not known yet, or there is none


def release(state: State, name: str, cause: Cause, now: Instant) -> Decided:
    """Close the guard at once; nothing of the floor's term and below is taken again."""
    vip = state.vips[name]
    assert cause.floor >= vip.term
    if vip.ends_at + KERNEL_TICK_US <= now:
        return with_vip(state, name, replace(vip, floor=cause.floor)), ()
    drain_us = cause.drain_us if vip.address_at is not None else 0
    begun = Release(
        term=vip.term,
        reason=cause.reason,
        incident=cause.incident,
        parent=parent_of(vip, "switch"),
        begun_at=now,
        ends_at=vip.ends_at + KERNEL_TICK_US,
        planned=drain_us > 0,
    )
    after = replace(
        vip,
        floor=cause.floor,
        ends_at=0,
        committed_ends_at=0,
        opened_at=None,
        address_at=None,
        answered_at=None,
        release=begun,
        drained_at=now + drain_us if drain_us else None,
        held_back_until=now + (drain_us or HOLD_BACK_US) if vip.address_at is not None else None,
        hand_over_ends_at=0,
    )
    actions: list[Action] = [CloseGuard(name, drain_us)]
    if after.held_back_until is not None:
        # Who begins a connection after the guard is closed is held back; before, he was met here.
        actions.append(HoldBack(name, vip.place.interface))
    if not drain_us:
        actions.append(DropAddress(name))
    return with_vip(state, name, after), (*actions, *handing.kept(name, vip, now))


def give_up(state: State, now: Instant) -> Decided:
    """Give up at once what this node cannot hold any more, without being told."""
    actions: list[Action] = []
    for name, vip in sorted(state.vips.items()):
        reason = why_not(state, vip)
        if reason and vip.term > vip.floor:
            cause = Cause(reason=reason, floor=vip.term)
            state, more = release(state, name, cause, now)
            actions += more
    return state, tuple(actions)


def lapse(state: State, now: Instant) -> Decided:
    """See whose lease ran out; the kernel has closed the guard by then, whoever slept."""
    actions: list[Action] = []
    for name, vip in sorted(state.vips.items()):
        if vip.opened_at is None or now < vip.ends_at:
            continue
        after = replace(
            vip,
            opened_at=None,
            address_at=None,
            answered_at=None,
            hand_over_ends_at=0,
            incident=None,  # what comes next in this term does not belong to it
        )
        state = replace(with_vip(state, name, after), beat_now=True)
        actions += (DropAddress(name), *handing.kept(name, vip, now))
        if vip.address_at is not None:
            held = _held(state, name, vip.term, Holding.LAPSED)
            actions.append(Say(replace(held, reason=RAN_OUT)))
    return state, tuple(actions)


def drained(state: State, name: str, now: Instant) -> Decided:
    """End the serving of old connections, and the waiting of new ones."""
    vip, actions = state.vips[name], list[Action]()
    if vip.held_back_until is not None and now >= vip.held_back_until:
        vip = replace(vip, held_back_until=None)
        actions.append(LetGo(name))
    if vip.drained_at is not None and now >= vip.drained_at:
        held = replace(_held(state, name, vip.term, Holding.DRAINED), reason="the drain is over")
        vip = replace(vip, drained_at=None)
        actions += (DropAddress(name), Say(held))
    return (with_vip(state, name, vip), tuple(actions)) if actions else (state, ())


def waits(vip: Vip) -> tuple[Instant, ...]:
    """Return when something of a release is due."""
    ends = tuple(at for at in (vip.drained_at, vip.held_back_until) if at is not None)
    release = vip.release
    open_still = release is not None and release.closed_at is None
    return (*ends, release.ends_at) if release is not None and open_still else ends


# -- the disk --------------------------------------------------------------------------------


def closed(state: State, name: str, now: Instant) -> State:
    """Note that the kernel has confirmed it."""
    vip = state.vips[name]
    if vip.release is None or vip.release.closed_at is not None:
        return state
    return with_vip(state, name, replace(vip, release=replace(vip.release, closed_at=now)))


def closed_by_time(state: State, name: str, now: Instant) -> State:
    """Its lease is over, so the kernel has closed it whether we could tell it to or not."""
    found = state.vips[name].release
    if found is None or now < found.ends_at:
        return state
    return closed(state, name, now)


def to_persist(state: State) -> Memory | None:
    """Return what must be on the disk before it is said (None: it is): rule 7.

    Until our own guard stands, what the process before us opened may be open.
    """
    if state.is_new or not state.has_stood:
        return None  # what is written without its floors would pass for a whole memory
    known = state.persisted.floors
    raised = {
        name: floor
        for name in state.vips
        if (floor := _floor(state, name)) > known.get(name, NO_TERM)
    }
    if not raised and state.epoch <= state.persisted.epoch:
        return None
    floors = dict(sorted({**known, **raised}.items()))
    return Memory(epoch=max(state.epoch, state.persisted.epoch), floors=floors)


def _floor(state: State, name: str) -> Term:
    """Return the floor as far as it is true: the guard is closed for that term."""
    vip, known = state.vips[name], state.persisted.floors.get(name, NO_TERM)
    is_closed = vip.release is None or vip.release.closed_at is not None
    return max(known, vip.floor) if is_closed else known


def floors_persisted(state: State, now: Instant) -> Decided:
    """Say what was given up, now that it can never be taken again."""
    memory = state.persisting
    assert memory is not None
    state = replace(state, persisted=memory, persisting=None, unkept="", beat_now=True)
    actions: list[Action] = []
    for name, vip in sorted(state.vips.items()):
        if vip.release is not None and memory.floors.get(name, NO_TERM) >= vip.release.term:
            release = replace(vip.release, said_at=now)
            actions += _released(state, name, release)
            unexplained = release if release.incident is None else None
            state = with_vip(state, name, replace(vip, release=None, unexplained=unexplained))
    return state, tuple(actions)


def floors_not_persisted(state: State, why: str, now: Instant) -> State:
    """Try again later; until then nothing is said, and the arbiter waits for the lease's end."""
    return replace(state, persisting=None, unkept=why, persist_again_at=now + PERSIST_AGAIN_US)


def told(state: State, name: str, event: PlanInForce) -> Decided:
    """Draw what was given up here without being told, now that a plan names its incident."""
    vip, plan = state.vips[name], event.plan
    release, term = vip.unexplained, plan.vips[name].term
    if release is None or term <= release.term:
        return state, ()
    state = with_vip(state, name, replace(vip, unexplained=None))
    if plan.incident is None or term != plan.number:
        return state, ()
    parent = "switch" if event.is_failover else RECOVERY
    return state, (_drawn(state, name, replace(release, incident=plan.incident, parent=parent)),)


def _released(state: State, name: str, release: Release) -> tuple[Action, ...]:
    held = replace(
        _held(state, name, release.term, Holding.RELEASED),
        reason=release.reason,
        incident=release.incident,
        guard_us=release.guard_us,
    )
    drawn = () if release.incident is None else (_drawn(state, name, release),)
    return (Say(held), *drawn)


def _drawn(state: State, name: str, release: Release) -> Trace:
    assert release.incident is not None
    assert release.said_at is not None
    return Trace(
        incident=release.incident,
        name="release vip",
        key=f"release/{state.node}/{name}/{release.term[0]}.{release.term[1]}",
        parent=release.parent,
        begin_at=release.begun_at,
        end_at=release.said_at,
        attributes={"vip": name, "reason": release.reason, "guard_us": release.guard_us},
    )


def _held(state: State, name: str, term: Term, holding: Holding) -> Held:
    return Held(node=state.node, vip=name, term=term, holding=holding, reason="")
