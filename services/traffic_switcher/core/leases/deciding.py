"""What a switcher decides about leases: state and event in, state and actions out.

    closed --grant--> opening --kernel--> open --address--> taken --request--> answered
       ^                                   |
       |   lapsed: the lease ran out  <----+---->  released: a plan, unfit, leaving
       +-----------------------------------+         guard closed, floor persisted, said

1  A grant counts for a beat of this process that it knows, and from no arbiter before the last.
2  A lease runs from when its beat was sent; of a term the latest end counts.
3  A grant gives, a plan takes away; terms at or below the floor are never taken again.
4  Renewing is one action: permit, clock, commit; what came of it is heard as an event.
5  Taken is: guard open, address there, announced, flows forgotten, answered through it.
6  A lease that ran out is noticed before anything else is done, so also after a sleep.
7  A start is quarantine: everything closed, left-overs dropped. Who remembers nothing takes
   nothing before a plan is persisted, and then only terms that are made after it.
8  What this node cannot hold, it gives up at once.
9  Nothing is said of a floor or an epoch before it is on the disk.
10 A release with a drain serves connections that are open; the next holder hands over to it.
   Who would begin one meanwhile is held back, and passed on to that holder.

`granting` has rules 1 to 3 and 7, `releasing` 3, 6, 8 and 9, `taking` 5, `fitness` 8, `handing`
10, `beating` what is said of it all.
"""

from dataclasses import dataclass
from typing import assert_never

from services.traffic_switcher.core.leases import (
    beating,
    fitness,
    granting,
    releasing,
    taking,
)
from services.traffic_switcher.core.leases.actions import (
    Action,
    Decided,
    LookAround,
    PersistFloors,
    Stand,
)
from services.traffic_switcher.core.leases.pace import LOOK_AROUND_US
from services.traffic_switcher.core.leases.state import (
    AddressNotTaken,
    AddressTaken,
    Answered,
    BalancerChanged,
    Claimed,
    Closed,
    Event,
    FloorsNotPersisted,
    FloorsPersisted,
    GuardBroken,
    GuardShown,
    Heard,
    Leaving,
    Memory,
    NotAnnounced,
    NotAnswered,
    NotRenewed,
    NotStood,
    PlacesChanged,
    PlacesSeen,
    PlacesUnknown,
    PlanInForce,
    Renewed,
    State,
    Stood,
    Tick,
    Vip,
    with_vip,
)
from shared.cluster import Cluster
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.leases import NO_TERM
from shared.messages.traffic import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Who begins, and what it remembers."""

    node: str
    incarnation: str
    memory: Memory | None  # None: a new member, or one whose memory is lost or torn
    plan: Plan | None  # the persisted one


def start(cluster: Cluster, beginning: Beginning, now: Instant) -> State:
    """Begin in quarantine, with what was persisted; `Tick` next."""
    assert beginning.node in cluster.nodes
    memory = beginning.memory or Memory()
    state = State(
        cluster=cluster,
        node=beginning.node,
        incarnation=beginning.incarnation,
        started_at=now,
        vips={name: Vip(floor=memory.floors.get(name, NO_TERM)) for name in sorted(cluster.vips)},
        is_new=beginning.memory is None,
        epoch=memory.epoch,
        persisted=memory,
        beat_at=now,
        guard_at=now,
    )
    if beginning.plan is None:
        return state
    known = replace(beginning.plan, incident=None)  # whose trace is written, or was never
    state, actions = granting.plan_in_force(state, PlanInForce(known), now)
    assert not actions, "nothing is held at the start"
    return state


def decide(state: State, event: Event, now: Instant) -> Decided:
    """Return the state after an event, and what is to be done, in this order."""
    state, lapsed = releasing.lapse(state, now)
    state, actions = _on(state, event, now)
    state, given_up = releasing.give_up(state, now)
    state, due = _due(state, now)
    return state, (*lapsed, *actions, *given_up, *due)


def deadline(state: State) -> Instant:
    """Return when the next `Tick` is due."""
    waits = [state.beat_at]
    if not state.looking_around:
        waits.append(state.around_at)
    if state.guard and not state.standing:
        waits.append(state.stand_at)
    if state.renew_at is not None:
        waits.append(state.renew_at)
    if state.persisting is None and state.persist_again_at > 0:
        waits.append(state.persist_again_at)
    for vip in state.vips.values():
        waits += taking.waits(vip)
        if vip.trouble:
            waits.append(vip.trouble_until)
        waits += releasing.waits(vip)
    return min(waits)


def draining(state: State) -> tuple[str, ...]:
    """Return the VIPs that have left, and whose open connections are served on."""
    return tuple(name for name, vip in sorted(state.vips.items()) if vip.drained_at is not None)


def is_over(state: State) -> bool:
    """Say whether a leaving switcher holds nothing, and has said so."""
    return all(v.opened_at is None and v.release is None for v in state.vips.values())


def _on(  # noqa: C901, PLR0911, PLR0912 - the table of events
    state: State, event: Event, now: Instant
) -> Decided:
    match event:
        case Tick():
            return state, ()
        case Heard():
            return granting.heard(state, event.grant, now)
        case PlanInForce():
            return granting.plan_in_force(state, event, now)
        case Stood():
            return fitness.stood(state, now)
        case NotStood():
            return fitness.not_stood(state, event.detail, now), ()
        case Renewed():
            return taking.renewed(state, event.ends, now)
        case NotRenewed():
            return taking.not_renewed(state, now), ()
        case Closed():
            return releasing.closed(state, event.vip, now), ()
        case GuardShown():
            return fitness.shown(state, event, now)
        case GuardBroken():
            return fitness.broken(state, event.detail, now)
        case PlacesChanged():
            return replace(state, around_at=now), ()
        case PlacesSeen():
            return fitness.places_seen(state, event, now)
        case PlacesUnknown():
            return fitness.places_unknown(state, event.detail), ()
        case BalancerChanged():
            return replace(state, balancer=event.detail), ()
        case AddressTaken():
            return taking.address_taken(state, event, now)
        case AddressNotTaken():
            return fitness.address_not_taken(state, event, now), ()
        case NotAnnounced():
            return taking.not_announced(state, event.vip, now), ()
        case Answered():
            return taking.answered(state, event, now)
        case NotAnswered():
            return taking.not_answered(state, event, now), ()
        case FloorsPersisted():
            return releasing.floors_persisted(state, now)
        case FloorsNotPersisted():
            return releasing.floors_not_persisted(state, event.detail, now), ()
        case Claimed():
            return taking.claimed(state, event, now)
        case Leaving():
            return replace(state, leaving=event.reason, beat_now=True), ()
        case _:
            assert_never(event)


# -- what is due -----------------------------------------------------------------------------


def _due(state: State, now: Instant) -> Decided:
    """Begin what is due and not under way; the beat comes last, and says what became of it."""
    actions: list[Action] = []
    if state.guard and not state.standing and now >= state.stand_at:
        state = replace(state, standing=True)
        actions.append(Stand())
    if not state.looking_around and now >= state.around_at:
        state = replace(state, looking_around=True, around_at=now + LOOK_AROUND_US)
        actions.append(LookAround())
    state, renewing = taking.renew_again(state, now)
    actions += renewing
    for name in state.vips:
        state, more = _due_for(state, name, now)
        actions += more
    if fitness.fit(state) != state.said_fit:
        state = replace(state, beat_now=True)
    state, persisting = _persist(state, now)
    state, beating_now = beating.beat_if_due(state, now)
    return state, (*actions, *persisting, *beating_now)


def _due_for(state: State, name: str, now: Instant) -> Decided:
    vip = state.vips[name]
    if vip.trouble and now >= vip.trouble_until:
        state = with_vip(state, name, replace(vip, trouble=""))
    state = releasing.closed_by_time(state, name, now)
    state, drained = releasing.drained(state, name, now)
    state, kept = taking.keep(state, name, now)
    return state, (*drained, *kept)


def _persist(state: State, now: Instant) -> Decided:
    if state.persisting is not None or now < state.persist_again_at:
        return state, ()
    memory = releasing.to_persist(state)
    if memory is None:
        return (replace(state, persist_again_at=0) if state.persist_again_at else state), ()
    return replace(state, persisting=memory, persist_again_at=0), (PersistFloors(memory),)
