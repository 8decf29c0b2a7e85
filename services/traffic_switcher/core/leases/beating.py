"""Beats: numbered, on a grid that being late does not shift, and at once when it matters."""

from services.traffic_switcher.core.leases import fitness
from services.traffic_switcher.core.leases.actions import (
    Action,
    Beat,
    Decided,
    Look,
)
from services.traffic_switcher.core.leases.pace import SENT_MAX
from services.traffic_switcher.core.leases.state import (
    State,
    Vip,
)
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.leases import NO_TERM, Hold, LeaseBeat


def beat_if_due(state: State, now: Instant) -> Decided:
    """Look at the guard before every beat, so that the beat says what the kernel has (rule 6)."""
    if state.looked:
        return _beat(state, now)
    is_due = now >= state.beat_at or state.beat_now
    if not is_due or state.looking or state.standing or state.persisting is not None:
        return state, ()
    if state.guard:
        return _beat(state, now)
    return replace(state, looking=True), (Look(),)


def _beat(state: State, now: Instant) -> Decided:
    number = state.number + 1
    late_us = max(now - state.beat_at, 0)
    beat = LeaseBeat(
        node=state.node,
        incarnation=state.incarnation,
        number=number,
        epoch=state.persisted.epoch,
        vips={name: _hold(state, name, vip, now) for name, vip in sorted(state.vips.items())},
        guard_age_us=now - state.guard_at,
        guard_detail=state.guard,
        balancer=state.balancer,
        leaving=state.leaving,
        late_us=late_us,
        unkept=state.unkept,
        heard=state.heard,
    )
    every_us = state.cluster.heartbeat.every_us
    is_on_grid = now >= state.beat_at
    after = replace(
        state,
        number=number,
        sent=(*state.sent[1 - SENT_MAX :], now),
        beat_at=state.beat_at + (late_us // every_us + 1) * every_us
        if is_on_grid
        else state.beat_at,
        looked=False,
        beat_now=False,
        said_fit=fitness.fit(state),
    )
    actions: tuple[Action, ...] = (Beat(beat),)
    return after, actions


def _hold(state: State, name: str, vip: Vip, now: Instant) -> Hold:
    """Return what a beat says of a VIP: all that may run, and only the floors that are on disk."""
    rest_us: Duration = max(vip.ends_at - now, 0)
    if vip.release is not None and vip.release.closed_at is None:
        rest_us = max(vip.release.ends_at - now, 0)
    return Hold(
        term=vip.term,
        rest_us=rest_us,
        floor=state.persisted.floors.get(name, NO_TERM),
        unfit=fitness.unfit(state, vip),
        answered_age_us=None if vip.answered_at is None else now - vip.answered_at,
        beside=vip.place.beside,
        address=state.cluster.vips[name].address,
    )
