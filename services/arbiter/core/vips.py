r"""The way of a virtual IP: taken from who cannot hold it, and brought home again.

    HELD --holder released it------------------------------> TAKING (another) --answered--> HELD
      |  \--holder silent--> WAITING --its lease has ended--^
      |                          \--nobody fit--> DARK --somebody fit--^
      +--a person asks, or home is well for long enough: a planned move, drained--^

Rule 1: nobody is given a VIP that another may still hold; `leases` counts that.
Rule 2: a takeover from a holder that released the VIP or has certainly lost it is never bounded;
        a failback is, and only one VIP at a time comes home to a node.
Rule 3: silence counts only in our own hearing, and only who was regular in it takes over: a bus
        that was away, or a pause of ours, moves nothing.
Rule 4: beats are answered at once and on the event; the rest happens at ticks.
Rule 5: what is granted is said before the plan that it follows from: only the grant gives, and
        who takes over need not wait until it has written the plan to its disk.
"""

from services.arbiter.core.cases import (
    Opening,
    incident_id,
    opened,
    put,
    said,
)
from services.arbiter.core.homecoming import PAUSED, brought_home, counted
from services.arbiter.core.leases import (
    NO_HOLD,
    Lessee,
    answered,
    deadline,
    grantable,
    heard,
    is_granted,
    is_silent,
    was_released,
)
from services.arbiter.core.losing import with_member
from services.arbiter.core.placing import (
    Move,
    begins_anew,
    chosen,
    incident_of,
    is_free,
    lost,
    moves,
    nobody,
    placed,
    was_never_up,
    with_vip,
)
from services.arbiter.core.plans import Why, planned
from services.arbiter.core.progress import marked, progressed
from services.arbiter.core.returning import ordered
from services.arbiter.core.state import (
    Actions,
    Adopt,
    Case,
    Say,
    State,
)
from services.arbiter.core.vip_cases import also_moved, is_answered
from shared.frozen import replace
from shared.instant import Instant, milliseconds
from shared.messages.facts import EvidenceItem
from shared.messages.health import Grade, Sign
from shared.messages.leases import ClaimSeen, Held, Holding, LeaseBeat
from shared.messages.traffic import Failover

BEATS_MISSED = 3  # what makes silence a sign, where a lease is not longer


def beaten(state: State, beat: LeaseBeat, now: Instant) -> tuple[State, Actions]:
    """Answer a beat at once, and act on what it reports."""
    ledger = heard(state.ledger, beat, now, state.ears_since)
    if ledger is state.ledger:
        return state, ()
    if beat.epoch > state.plan.epoch:  # it refuses all that we say
        return replace(state, ledger=ledger), (Adopt(epoch_min=beat.epoch),)
    state = replace(state, ledger=ledger)
    actions: Actions = ()
    asked_again = False
    is_bad = False
    for vip, placement in state.plan.vips.items():
        hold = beat.vips.get(vip, NO_HOLD)
        if placement.holder != beat.node:
            asked_again = asked_again or not is_granted(ledger, vip, placement)
            continue
        is_bad = is_bad or was_released(placement.term, hold.floor) or bool(hold.unfit)
        if hold.answered_age_us is not None and hold.term == placement.term:
            state, more = _answer(state, vip, now)
            actions = (*actions, *more)
    if (is_bad or beat.balancer or beat.leaving) and state.awake:
        state, more = _taken_over(state, now)
        actions = (*actions, *more)
    ledger, grant = answered(state.ledger, beat.node, state.plan.vips, now)
    state = replace(state, ledger=ledger)
    grants: Actions = (Say(grant),)
    if asked_again or is_bad:
        state, more = granted_now(state, now)
        grants = (*more, *grants)
    return state, (*grants, *actions)


def granted_now(state: State, now: Instant) -> tuple[State, Actions]:
    """Answer the newest beats again of those who may have now what they are to hold."""
    grants: list[Say] = []
    for vip, placement in sorted(state.plan.vips.items()):
        lessee = state.ledger.lessees[placement.holder]
        is_young = lessee.beat is not None and now - lessee.received_at < lessee.length_us // 2
        if (
            is_young
            and not is_granted(state.ledger, vip, placement)
            and grantable(state.ledger, vip, placement, now)
        ):
            ledger, grant = answered(state.ledger, placement.holder, state.plan.vips, now)
            state = replace(state, ledger=ledger)
            grants.append(Say(grant))
    return state, tuple(grants)


def holding(state: State, held: Held, now: Instant) -> tuple[State, Actions]:
    """Learn that a request through a VIP was answered by its new holder."""
    placement = state.plan.vips.get(held.vip)
    is_here = placement is not None and (placement.holder, placement.term) == (held.node, held.term)
    if not is_here or held.holding is not Holding.ANSWERED:
        return state, ()
    return _answer(state, held.vip, now)


def claimed(state: State, claim: ClaimSeen, now: Instant) -> State:
    """Remember that a stranger announced a VIP: people are alarmed for a while."""
    vip = state.vips.get(claim.vip)
    if vip is None or claim.node not in state.cluster.nodes:
        return state
    text = (
        f"{claim.vip}: {claim.hardware} on {claim.interface} of {claim.node} claims its address "
        f"too (seen so often: {claim.seen}): find the machine with that hardware address, and take "
        f"the address from it"
    )
    return with_vip(state, replace(vip, claim=text, claimed_at=now))


def _answer(state: State, vip: str, now: Instant) -> tuple[State, Actions]:
    """Note the first answer through a VIP where it is now."""
    if is_answered(state, vip):
        return state, ()
    placement = state.plan.vips[vip]
    state = with_vip(state, replace(state.vips[vip], answered=placement.term))
    actions: Actions = ()
    for name in placement.incidents:
        if name in state.cases:
            state, facts = progressed(state, name, now)
            state, more = _home_again(state, state.cases[name], now)
            actions = (*actions, *facts, *more)
    return state, actions


def _home_again(state: State, case: Case, now: Instant) -> tuple[State, Actions]:
    """End the last phase of a return when all VIPs of an incident are home and answered."""
    names = [move.vip for move in case.incident.vips if move.vip in state.plan.vips]
    away = [vip for vip in names if not (_is_home(state, vip) and is_answered(state, vip))]
    # Without a mark the return has not begun: a person has sent them home from elsewhere.
    if away or len(case.marks) <= 1 or case.marks[-1][0] == "home":
        return state, ()
    return marked(state, case.incident.id, "home", now)


def _is_home(state: State, vip: str) -> bool:
    return state.plan.vips[vip].holder == state.cluster.vips[vip].home


def watched(state: State, now: Instant) -> tuple[State, Actions]:
    """Judge at a tick who has lost its VIPs, and which may come home."""
    if not state.plan.vips:
        return state, ()
    state, actions = _taken_over(state, now)
    state, more = brought_home(state, now)
    return state, (*actions, *more)


def wakes_at(state: State, now: Instant) -> Instant | None:
    """Return when a lease has certainly ended next, which ticks would find out later."""
    return deadline(state.ledger, now)


def _taken_over(state: State, now: Instant) -> tuple[State, Actions]:
    """Give away what its holder cannot hold and certainly does not: one plan for each holder."""
    gone: dict[str, dict[str, str]] = {}
    anew: dict[str, str] = {}
    for vip, placement in sorted(state.plan.vips.items()):
        words = lost(state, vip, now)
        if not words or not is_free(state, vip, now):
            state = _stuck(state, vip, "", now)
        elif begins_anew(state, vip, now):
            anew[vip] = placement.holder
        else:
            gone.setdefault(placement.holder, {})[vip] = words
    actions: Actions = ()
    for holder, of_holder in gone.items():
        state, more = _taken_from(state, holder, of_holder, now)
        actions = (*actions, *more)
    if anew:
        state, more = _again(state, anew, now)
        actions = (*actions, *more)
    return state, actions


def _stuck(state: State, vip: str, why: str, now: Instant) -> State:
    """Remember why nobody can have a VIP, and since when."""
    known = state.vips[vip]
    if known.stuck == why:
        return state
    since = known.stuck_since if known.stuck else now
    return with_vip(state, replace(known, stuck=why, stuck_since=since))


def _taken_from(
    state: State, holder: str, words: dict[str, str], now: Instant
) -> tuple[State, Actions]:
    to = {} if state.paused else chosen(state, sorted(words), now)
    for vip in sorted(words):
        if vip not in to:
            state = _stuck(state, vip, PAUSED if state.paused else nobody(state, vip, now), now)
    actions: Actions = ()
    if first := {vip: node for vip, node in to.items() if was_never_up(state, vip)}:
        state, actions = _begun_elsewhere(state, first, words[min(first)], now)
    if lost_now := {vip: node for vip, node in to.items() if vip not in first}:
        state, more = _moved(state, holder, lost_now, words[min(lost_now)], now)
        actions = (*actions, *more)
    return state, actions


def _again(state: State, to: dict[str, str], now: Instant) -> tuple[State, Actions]:
    """Give VIPs to those who have them, under a new term: no incident, nothing has moved."""
    reason = f"a new term for {', '.join(to)}: the switcher has given up the old one"
    name = incident_of(state, min(to))
    state = planned(state, (), Why(reason, name))
    whys = {vip: state.vips[vip].reason for vip in to}
    state, facts = placed(state, Move(to=to, reason=reason, incident=name), now)
    for vip, why in whys.items():  # why it is there has not changed
        state = with_vip(state, replace(state.vips[vip], reason=why or reason))
    state, orders = ordered(state, Failover, now)
    return state, (*orders, *facts)


def _begun_elsewhere(
    state: State, to: dict[str, str], words: str, now: Instant
) -> tuple[State, Actions]:
    """Let VIPs begin where somebody is ready: no incident, what never was up has not failed."""
    reason = f"{', '.join(sorted(to))} begins away from home: {words}"
    state = planned(state, (), Why(reason, None))
    state, facts = placed(state, Move(to=to, reason=reason, incident=None), now)
    state, orders = ordered(state, Failover, now)
    return state, (*orders, *facts)


def _moved(
    before: State, holder: str, to: dict[str, str], words: str, now: Instant
) -> tuple[State, Actions]:
    """Order the plan that gives these VIPs to others, for the node's incident or a new one."""
    known = before.members[holder].incident
    is_joining = known is not None and known in before.cases
    name = known if known is not None and is_joining else incident_id(before, _targets(to))
    lessee = before.ledger.lessees[holder]
    began_at, evidence_at = _signs(before, lessee, now)
    has_waited = evidence_at < now
    reason = f"{', '.join(sorted(to))} leaves {holder}: {words}"
    move = Move(to=to, reason=reason, incident=name, waited_us=now - evidence_at)
    state = planned(_fallen(before, holder, name, now), (), Why(reason, name))
    state, facts = placed(state, move, now)
    if is_joining:
        joined = also_moved(
            state.cases[name], state, moves(before, move), now if has_waited else None
        )
        state = put(state, joined)
        told = said(state, name)
    else:
        opening = Opening(
            targets=(),
            node=holder,
            cause=words,
            sentence=_sentence(to, holder, words),
            evidence=(_evidence(before, lessee, words, began_at, now),),
            vips=moves(before, move),
            began_at=began_at,
            evidence_at=evidence_at,
            lease_at=now if has_waited else None,
            not_done=f"the instances of {holder} go on serving: only its addresses moved",
        )
        state, told = opened(before, state, name, opening, now)
    state, orders = ordered(state, Failover, now)
    return state, (*orders, told, *facts)


def _evidence(
    state: State, lessee: Lessee, words: str, began_at: Instant, now: Instant
) -> EvidenceItem:
    """Return what the switcher of a node said, or that it said nothing, as we have seen."""
    is_heard = now - lessee.received_at <= lessee.length_us
    return EvidenceItem(
        observer=lessee.node if is_heard else state.arbiter,
        boot_id=lessee.beat.incarnation if lessee.beat is not None else "",
        sequence=lessee.beat.number if lessee.beat is not None else 0,
        what=words,
        value="",
        threshold=f"a lease of {milliseconds(lessee.length_us):.0f} ms",
        grade=Grade.CONCLUSIVE,
        sign=Sign.SILENT if began_at < now else Sign.NOTHING,
        age_us=now - began_at,
    )


def _targets(to: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(("vip", vip) for vip in sorted(to))


def _sentence(to: dict[str, str], holder: str, words: str) -> str:
    where = ", ".join(f"{vip} to {node}" for vip, node in sorted(to.items()))
    return f"{holder} cannot hold its addresses ({words}): {where}"


def _signs(state: State, lessee: Lessee, now: Instant) -> tuple[Instant, Instant]:
    """Return when the first sign came, a beat or an answer missing, and when that was enough."""
    if lessee.hearing.deaf_at is not None:
        return lessee.hearing.since, lessee.hearing.deaf_at
    if not is_silent(lessee, now, state.ears_since):
        return now, now
    began_at = max(lessee.able_at, state.ears_since)
    patience_us = max(BEATS_MISSED * state.cluster.heartbeat.every_us, 2 * lessee.length_us // 3)
    return began_at, min(began_at + patience_us, now)


def _fallen(state: State, node: str, incident: str, now: Instant) -> State:
    """Note that a node has lost what it held: once for all that it held at that moment."""
    member = state.members[node]
    policy = state.cluster.policy
    held_since = max(state.vips[v].since for v, p in state.plan.vips.items() if p.holder == node)
    lost_at = member.lost_at
    if lost_at is None or now - lost_at >= policy.forget_us:
        member = replace(member, relapses=0, lost_at=now)
    elif held_since > lost_at:
        member = replace(member, relapses=member.relapses + 1, lost_at=now)
    moves_at = counted(state, member, now, most=1)
    return with_member(state, replace(member, incident=incident, moves_at=moves_at))
