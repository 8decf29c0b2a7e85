"""The switcher's decisions: state and event in, state and actions out.

    command heard --> fenced? --> persisted, and read --> stepped --> read back --> verified
                        |             |                      |            |            |
                     Refused        FAILED                 FAILED     INSTALLED     VERIFIED
                                     (what failed is tried again, later and later)

Rule 1  The fence: a plan is taken on iff its number is higher than that of every plan persisted
        here. An equal number is acknowledged again; a lower one is refused, and told the fence.
Rule 2  A plan that names other services or nodes than the configuration, or that would leave a
        service with nothing, is refused, whoever sent it.
Rule 3  Persisted, then applied, then read back, then said, then verified, then said again.
Rule 4  No effect of a plan older than the newest persisted: what was begun for an older one ends
        without a word, and its steps are not sent (`is_current`, asked at the last moment).
Rule 5  What is installed is compared every second. A difference that nobody ordered is drift: it
        is said and repaired; one that keeps coming back is left alone for a while, and said.
Rule 6  A gate that somebody else closed stays closed, over restarts of everybody too. Ours are
        those that we closed and have not seen open since, and those that a new process of the
        load balancer begins with, because it begins with the file that we wrote.
Rule 7  Where somebody else has closed all that a plan would leave open in a service, what serves
        there goes on serving (never empty), and the plan has failed.

This file has the way of a command and the clock; `following` has rules 5 to 7.
"""

from collections.abc import Iterable
from typing import TypeAlias, assert_never

from services.traffic_switcher.core import following
from services.traffic_switcher.core.pace import (
    CONFIRM_EVERY_US,
    LOOK_EVERY_US,
    PERSIST_AGAIN_US,
    REFUSE_AGAIN_US,
    REMEMBER_AFTER_US,
    again,
)
from services.traffic_switcher.core.state import (
    Action,
    Commanded,
    Doing,
    Event,
    Memory,
    NotPersisted,
    NotShown,
    Number,
    Overtaken,
    Persist,
    Persisted,
    Prepare,
    Prepared,
    Progress,
    Read,
    Say,
    Shown,
    State,
    Tick,
    Trace,
    Verified,
    Verify,
)
from shared.cluster import Cluster
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.traffic import Command, Failover, Plan, Refused, Stage
from shared.rules import original, serving
from shared.trace import SpanKind

Decided: TypeAlias = tuple[State, tuple[Action, ...]]


def start(
    cluster: Cluster, node: str, boot_id: str, remembered: Memory | None, now: Instant
) -> State:
    """Begin with what was persisted; None is a new member, which touches nothing until told."""
    assert node in cluster.nodes
    memory = remembered or Memory(ours=following.not_serving(original(cluster)))
    return State(
        cluster=cluster,
        node=node,
        boot_id=boot_id,
        memory=memory,
        remembered=memory,
        progress=Progress(received_at=now, persisted_at=now, is_new=False),
        look_at=now,
        measure_at=now + LOOK_EVERY_US,
        prepare_at=now,
    )


def is_current(state: State, number: Number) -> bool:
    """Say whether steps of a plan may still be taken: the fence, asked at the last moment."""
    return number == state.memory.fence


def deadline(state: State) -> Instant | None:
    """Return when the next `Tick` is due; None if only something under way can come first."""
    waits: list[Instant] = []
    if state.doing is Doing.NOTHING:
        waits += (state.look_at, state.measure_at)
    if state.verify_at is not None and state.verifying is None:
        waits.append(state.verify_at)
    if not state.prepared and not state.preparing:
        waits.append(state.prepare_at)
    if _to_remember(state):
        waits.append(state.remember_at)
    return min(waits, default=None)


def coalesced(events: Iterable[Event]) -> tuple[Event, ...]:
    """Keep only the newest command of a burst: each is the whole state, and costs a write."""
    found = tuple(events)
    newest = max((e for e in found if isinstance(e, Commanded)), key=_number, default=None)
    return tuple(e for e in found if e is newest or not isinstance(e, Commanded))


def decide(state: State, event: Event, now: Instant) -> Decided:
    """Return the state after an event, and what is to be done, in this order."""
    after, actions = _on(state, event, now)
    after, due = _due(after, now)
    return after, (*actions, *due)


def _on(state: State, event: Event, now: Instant) -> Decided:  # noqa: C901, PLR0911, PLR0912
    match event:
        case Commanded():
            return _commanded(state, event.command, now)
        case Persisted():
            return _persisted(state, event.number, now)
        case NotPersisted():
            return _not_persisted(state, event, now)
        case Shown():
            return following.shown(state, event.installation, now)
        case NotShown():
            return following.not_shown(state, event.detail, now)
        case Overtaken():
            return _overtaken(state, now), ()
        case Prepared():
            return _prepared(state, event.detail, now), ()
        case Verified():
            return _verified(state, event, now)
        case Tick():
            return state, ()
        case _:
            assert_never(event)


# -- a command -------------------------------------------------------------------------------


def _commanded(state: State, command: Command, now: Instant) -> Decided:
    assert state.persisting is None
    plan, memory = command.plan, state.memory
    if reason := _unfit(state.cluster, plan) or _fenced(memory, plan):
        return _refuse(state, plan, reason, now)
    if plan.number == memory.fence:
        return state, () if state.said is None else (Say(state.said),)
    if now < state.persist_again_at:
        return state, ()
    closed = following.not_serving(plan.services) - memory.theirs
    persisting = replace(memory, plan=plan, ours=memory.ours | closed)
    received = Progress(received_at=now, is_failover=isinstance(command, Failover))
    after = replace(state, persisting=persisting, received=received)
    if state.doing is not Doing.NOTHING:
        return after, (Persist(persisting),)
    # Reading has no effect: the load balancer answers while the disk is waited for.
    return replace(after, doing=Doing.READING), (Read(counters=False), Persist(persisting))


def _unfit(cluster: Cluster, plan: Plan) -> str:
    """Return why no switcher of this cluster may follow a plan ("" it may): rule 2."""
    if difference := _difference("services", cluster.services, plan.services):
        return difference
    for name, rules in sorted(plan.services.items()):
        if difference := _difference(f"nodes of {name}", cluster.nodes, rules):
            return difference
        if not serving(rules):
            return f"{name} would be left with no serving instance"
    return ""


def _fenced(memory: Memory, plan: Plan) -> str:
    """Return why this switcher does not follow a plan any more ("" it does): rule 1."""
    if plan.number < memory.fence:
        return "older than the plan in force here"
    same = memory.plan is not None and plan.number == memory.fence
    if same and memory.plan is not None and plan.services != memory.plan.services:
        return "another plan of the same number is in force here"
    return ""


def _difference(what: str, configured: Iterable[str], named: Iterable[str]) -> str:
    missing, unknown = sorted({*configured} - {*named}), sorted({*named} - {*configured})
    parts = [
        f"{words} {', '.join(names)}"
        for words, names in (("without", missing), ("with unknown", unknown))
        if names
    ]
    return f"{what} differ from the configuration here: {' and '.join(parts)}" if parts else ""


def _refuse(state: State, plan: Plan, reason: str, now: Instant) -> Decided:
    if state.refused == plan.number and now < state.refuse_again_at:
        return state, ()
    epoch, sequence = state.memory.fence
    refused = Refused(
        node=state.node,
        epoch=plan.epoch,
        sequence=plan.sequence,
        fence_epoch=epoch,
        fence_sequence=sequence,
        reason=reason[:1000],  # names are from outside
    )
    after = replace(state, refused=plan.number, refuse_again_at=now + REFUSE_AGAIN_US)
    return after, (Say(refused),)


# -- the disk --------------------------------------------------------------------------------


def _persisted(state: State, number: Number, now: Instant) -> Decided:
    memory, received = state.persisting, state.received
    assert memory is not None
    assert memory.fence == number >= state.memory.fence
    written = replace(state, memory=memory, remembered=memory, persisting=None, received=None)
    if received is None:
        return written, ()
    assert number > state.memory.fence
    return replace(
        written,
        progress=replace(received, persisted_at=now),
        look_at=now,
        prepared=False,
        prepare_at=now + REMEMBER_AFTER_US,
        remember_at=now + REMEMBER_AFTER_US,
        verifying=None,
        verify_at=None,
        verify_failures=0,
        confirmed_at=None,
        said=None,
        repairing=(),
        failures=0,
    ), ()


def _not_persisted(state: State, event: NotPersisted, now: Instant) -> Decided:
    """Keep what is in force; without a persisted number nothing may change."""
    again_at = now + PERSIST_AGAIN_US
    later = replace(
        state, persisting=None, received=None, persist_again_at=again_at, remember_at=again_at
    )
    if state.received is None or state.persisting is None or state.persisting.plan is None:
        return later, ()
    failed = following.applied(
        replace(state, progress=state.received),
        state.persisting.plan,
        Stage.FAILED,
        f"not persisted: {event.detail}",
    )
    return later, (Say(failed),)


def _overtaken(state: State, now: Instant) -> State:
    return replace(state, doing=Doing.NOTHING, applying=None, repairing=(), look_at=now)


# -- what is due -----------------------------------------------------------------------------


def _due(state: State, now: Instant) -> Decided:
    """Begin what is due and not under way."""
    actions: list[Action] = []
    if state.doing is Doing.NOTHING and now >= min(state.look_at, state.measure_at):
        counters = now >= state.measure_at
        state = replace(state, doing=Doing.READING, look_at=now + LOOK_EVERY_US)
        actions.append(Read(counters))
    if state.verify_at is not None and state.verifying is None and now >= state.verify_at:
        state, verify = _verify(state)
        actions.append(verify)
    if not state.prepared and not state.preparing and now >= state.prepare_at:
        state = replace(state, prepared=True, preparing=True)
        actions.append(
            Prepare(following.in_force(state), state.memory.theirs, state.memory.plan is None)
        )
    if state.persisting is None and _to_remember(state) and now >= state.remember_at:
        state = replace(state, persisting=state.memory)
        actions.append(Persist(state.memory))
    return state, tuple(actions)


def _to_remember(state: State) -> bool:
    """Say whether it must be written whose gates are whose: after the plan itself has arrived."""
    arrived = state.memory.plan is None or state.progress.installed_at is not None
    # One that fails for now may do so for long, and what is known meanwhile must outlive us.
    return (arrived or state.failures > 0) and state.memory != state.remembered


def _verify(state: State) -> tuple[State, Verify]:
    progress, rules = state.progress, following.in_force(state)
    first = progress.verified_at is None and progress.touched
    names = progress.touched if first else frozenset(rules)
    number = state.memory.fence
    chosen = {name: rules[name] for name in sorted(names)}
    return replace(state, verifying=number, verify_at=None), Verify(number, chosen)


def _prepared(state: State, detail: str, now: Instant) -> State:
    if not detail:
        return replace(state, preparing=False, prepare_failures=0, unprepared="", look_at=now)
    failures = state.prepare_failures + 1
    return replace(
        state,
        preparing=False,
        prepared=False,
        prepare_failures=failures,
        prepare_at=now + again(failures),
        unprepared=detail,
    )


# -- verification ----------------------------------------------------------------------------


def _verified(state: State, event: Verified, now: Instant) -> Decided:
    if event.number != state.verifying:
        return state, ()
    state = replace(state, verifying=None)
    if event.number != state.memory.fence or state.progress.installed_at is None:
        return replace(state, verify_at=now), ()
    unconfirmed = [outcome for outcome in event.outcomes if not outcome.confirmed]
    if unconfirmed:
        return _unconfirmed(state, "; ".join(outcome.detail for outcome in unconfirmed), now)
    after = replace(state, confirmed_at=now, verify_at=now + CONFIRM_EVERY_US, verify_failures=0)
    if state.progress.verified_at is not None or state.memory.plan is None:
        return after, ()
    after = replace(after, progress=replace(after.progress, verified_at=now))
    seen = "; ".join(outcome.detail for outcome in event.outcomes)
    after, said = following.say(after, Stage.VERIFIED, seen)
    return after, (*said, *_verification_span(after, seen))


def _unconfirmed(state: State, seen: str, now: Instant) -> Decided:
    """Ask again soon; only what was never verified is said, because instances also fail later."""
    failures = state.verify_failures + 1
    after = replace(state, verify_failures=failures, verify_at=now + again(failures))
    if state.progress.verified_at is not None or state.memory.plan is None:
        return after, ()
    return following.say(after, Stage.FAILED, f"not verified: {seen}")


def _verification_span(state: State, seen: str) -> tuple[Action, ...]:
    plan, progress = state.memory.plan, state.progress
    if plan is None or plan.incident is None or not progress.is_new:
        return ()
    assert progress.installed_at is not None
    assert progress.verified_at is not None
    return (
        Trace(
            incident=plan.incident,
            name=f"verify {state.node}",
            key=f"verify/{state.node}/{plan.epoch}.{plan.sequence}",
            parent="verify" if progress.is_failover else following.RECOVERY,
            begin_at=progress.installed_at,
            end_at=progress.verified_at,
            attributes={"epoch": plan.epoch, "sequence": plan.sequence, "seen": seen},
            kind=SpanKind.CLIENT,  # a real request
        ),
    )


def _number(event: Commanded) -> Number:
    return event.command.plan.number
