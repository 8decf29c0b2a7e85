"""The ledger of leases: what every node may still hold, counted so that we end after it does.

The rules are those of docs/vip-safety.md; each is one function here:

Rule 1 (`is_new`): a beat is (incarnation, number); what was heard before says nothing new, and
        the answer names both.
Rule 2 (`bound_us`, `later`): a node counts from when it sent the beat, we from when we received
        it, times M; of several ends the latest counts.
Rule 3 (`still_running`, `was_released`): a grant carries a term; a release ends grants of its
        term and below for ever, and no others.
Rule 6 (`incapable`): no grants to a node whose guard has not been seen at work lately; nor to one
        that does not hear them, which would only put off their end.
Rule 8 (`is_unknown`): what an earlier arbiter granted is unknown until the node's reports have
        everything in them, or until the longest lease has ended.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from services.arbiter.core.hearing import Hearing, after_silent_answer, hears, is_shown
from services.arbiter.core.meanings import differs, strays
from shared.cluster import LEASE_LONGEST_US, LEASE_SHORTEST_US, Cluster
from shared.frozen import replace
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.leases import Grant, Hold, LeaseBeat, Term
from shared.messages.traffic import Placement

RATE_ERROR_PERCENT = 3  # of any machine's clock: a hundred times what crystals do
KERNEL_TICK_US: Duration = 10 * MILLISECOND  # a time-out in the kernel ends at its next tick
INCARNATIONS_MAX = 4  # of a node, remembered: a switcher that restarts oftener is not believed
GUARD_BEATS_MAX = 3  # beats without a working guard: nothing is granted on older reports
SHRINKING = 256  # beats until two thirds of a gap that does not recur are forgotten: 13 s at 50 ms
# Who comes back beats in bursts for a moment, as its connection mends: those gaps are the fault's.
SETTLED_US: Duration = SECOND

Ends: TypeAlias = tuple[tuple[Term, Instant], ...]  # of the grants of one VIP to one node
Placements: TypeAlias = Mapping[str, Placement]
NO_HOLD = Hold()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessee:
    """One node: its newest beat, how regularly it beats, and what it may still hold."""

    node: str
    gap_us: Duration  # the longest lately between two of its beats, or of our answers to it
    length_us: Duration  # of the leases that it is granted
    beat: LeaseBeat | None = None  # the newest
    received_at: Instant = 0
    able_at: Instant = 0  # when a beat last showed a working guard
    unbroken_since: Instant = 0  # without a pause as long as a lease
    regular_since: Instant = 0  # and hearing us
    hearing: Hearing = field(default_factory=Hearing)
    numbers: Mapping[str, int] = field(default_factory=dict)  # incarnation -> highest heard
    ends: Mapping[str, Ends] = field(default_factory=dict)  # by VIP
    reports_all: bool = False  # it has heard our epoch: no older grant can add anything now
    strays: Mapping[str, Instant] = field(default_factory=dict)  # by VIP: open under another name
    shown: frozenset[str] = frozenset()  # VIPs that it showed running after it had heard that


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All leases that may be running."""

    epoch: int  # of this arbiter
    unknown_until: Instant  # when the longest lease of an earlier arbiter has ended
    every_us: Duration  # between beats
    fixed_us: Duration | None  # the lease's length; None: what the gaps say
    has_strangers: bool  # the earlier arbiter placed a VIP on a node that we do not know
    addresses: Mapping[str, str]  # of VIPs, as our file has them
    lessees: Mapping[str, Lessee]


def begun(cluster: Cluster, epoch: int, now: Instant, *, has_strangers: bool = False) -> Ledger:
    """Return the ledger of an arbiter that knows nothing of what was granted before it."""
    every_us, fixed_us = cluster.heartbeat.every_us, cluster.heartbeat.lease_us
    gap_us = 2 * every_us  # until it is known better
    length_us = fixed_us or length_for(gap_us, every_us)
    return Ledger(
        epoch=epoch,
        # Whatever the file says now: the earlier arbiter may have read another one.
        unknown_until=now + bound_us(LEASE_LONGEST_US),
        every_us=every_us,
        fixed_us=fixed_us,
        has_strangers=has_strangers,
        addresses={name: vip.address for name, vip in cluster.vips.items()},
        lessees={
            node: Lessee(node=node, gap_us=gap_us, length_us=length_us)
            for node in sorted(cluster.nodes)
        },
    )


def is_new(lessee: Lessee, beat: LeaseBeat) -> bool:
    """Rule 1: whether nothing as new was heard of this incarnation."""
    return beat.number > lessee.numbers.get(beat.incarnation, 0)


def is_news(ledger: Ledger, beat: LeaseBeat) -> bool:
    """Whether a beat is of a node of ours, and says what was not heard before."""
    lessee = ledger.lessees.get(beat.node)
    return lessee is not None and is_new(lessee, beat)


def bound_us(length_us: Duration) -> Duration:
    """Rule 2: how long a lease may run by our clock, at the worst of both, to the kernel's tick."""
    faster, slower = 100 + RATE_ERROR_PERCENT, 100 - RATE_ERROR_PERCENT
    return -(-(length_us + KERNEL_TICK_US) * faster // slower)


def later(one: Instant, other: Instant) -> Instant:
    """Rule 2: of two ends of one lease the later counts: the node has heard both grants."""
    return max(one, other)


def still_running(ends: Ends, floor: Term) -> Ends:
    """Rule 3: a release ends the grants of its own term and below, and no others."""
    return tuple((term, end) for term, end in ends if term > floor)


def was_released(term: Term, floor: Term) -> bool:
    """Rule 3: whether a term is over for ever on a node."""
    return term <= floor


def is_unknown(ledger: Ledger, lessee: Lessee, now: Instant) -> bool:
    """Rule 8: whether a node may hold what an earlier arbiter granted and we never heard of.

    A node refuses grants of epochs below the highest that it has heard. So once it has heard
    ours, all that it may hold from an earlier one is in its beats.
    """
    return not lessee.reports_all and now < ledger.unknown_until


def incapable(ledger: Ledger, lessee: Lessee) -> str:
    """Rule 6: return why nothing may be granted on its newest beat, whatever the VIP; "" it may."""
    beat = lessee.beat
    if beat is None:
        return "its switcher was never heard"
    if beat.leaving:
        return beat.leaving
    if beat.balancer:
        return f"load balancer {beat.balancer}"
    if beat.guard_age_us > GUARD_BEATS_MAX * ledger.every_us:
        return f"its guard is not seen at work: {beat.guard_detail or 'its report is old'}"
    return lessee.hearing.deafness


def shows_all(ledger: Ledger, beat: LeaseBeat) -> bool:
    """Rule 8: whether a beat has everything in it that the node may hold, now and later.

    A process that could not make its guard does not know what the one before it left open.
    """
    return beat.epoch >= ledger.epoch and not beat.guard_detail


def hold_of(lessee: Lessee, vip: str) -> Hold:
    """Return a VIP as the node's newest beat shows it."""
    return lessee.beat.vips.get(vip, NO_HOLD) if lessee.beat is not None else NO_HOLD


def unfit(ledger: Ledger, lessee: Lessee, vip: str) -> str:
    """Return why a node could not hold a VIP by its own newest word; "" it could."""
    if lessee.beat is not None and vip not in lessee.beat.vips:
        return "its switcher does not know this address"
    hold = hold_of(lessee, vip)
    if lessee.beat is not None and (why := differs(hold, ledger.addresses.get(vip, ""))):
        return why
    return incapable(ledger, lessee) or hold.unfit


def heard(ledger: Ledger, beat: LeaseBeat, now: Instant, ears_since: Instant = 0) -> Ledger:
    """Return the ledger after a beat; the very same if the beat says nothing new.

    `ears_since` is since when we have been listening without a pause of our own.
    """
    if not is_news(ledger, beat):
        return ledger
    lessee = ledger.lessees[beat.node]
    gap_us = _gap(ledger, lessee, beat, now, ears_since)
    hearing = _hearing(lessee, beat, now, gap_us=gap_us, ears_since=ears_since)
    was_regular = lessee.beat is not None and now - lessee.received_at <= lessee.length_us
    is_able = beat.guard_age_us <= GUARD_BEATS_MAX * ledger.every_us
    changed = replace(
        lessee,
        beat=beat,
        received_at=now,
        able_at=now if is_able else lessee.able_at,
        unbroken_since=lessee.unbroken_since if was_regular else now,
        regular_since=lessee.regular_since if was_regular and not hearing.deafness else now,
        hearing=hearing,
        numbers=_numbers(lessee, beat),
        gap_us=gap_us,
        length_us=ledger.fixed_us or length_for(gap_us, ledger.every_us),
        ends=_ends(lessee, beat, now),
        strays=_strays(ledger, lessee, beat, now),
        reports_all=lessee.reports_all or shows_all(ledger, beat),
        shown=lessee.shown | _shown(ledger, beat)
        if now < ledger.unknown_until and shows_all(ledger, beat)
        else lessee.shown,
    )
    return _with(ledger, changed)


def _hearing(
    lessee: Lessee, beat: LeaseBeat, now: Instant, *, gap_us: Duration, ears_since: Instant
) -> Hearing:
    if is_shown(beat, lessee.beat):
        return hears(now)
    return after_silent_answer(lessee.hearing, now, gap_us=gap_us, ears_since=ears_since)


def _shown(ledger: Ledger, beat: LeaseBeat) -> frozenset[str]:
    return frozenset(
        vip
        for vip, hold in beat.vips.items()
        if hold.rest_us > 0 and hold.address == ledger.addresses.get(vip)
    )


def _strays(ledger: Ledger, lessee: Lessee, beat: LeaseBeat, now: Instant) -> Mapping[str, Instant]:
    """Return until when a node may hold our VIPs' addresses under other names."""
    known = lessee.strays
    for vip, rest_us in strays(beat, ledger.addresses):
        known = {**known, vip: later(known.get(vip, 0), now + bound_us(rest_us))}
    return known


def _with(ledger: Ledger, lessee: Lessee) -> Ledger:
    return replace(ledger, lessees={**ledger.lessees, lessee.node: lessee})


def _numbers(lessee: Lessee, beat: LeaseBeat) -> Mapping[str, int]:
    if beat.incarnation in lessee.numbers:
        return {**lessee.numbers, beat.incarnation: beat.number}
    newest = list(lessee.numbers.items())[1 - INCARNATIONS_MAX :]
    return {**dict(newest), beat.incarnation: beat.number}


def _gap(
    ledger: Ledger, lessee: Lessee, beat: LeaseBeat, now: Instant, ears_since: Instant
) -> Duration:
    """Return the longest gap that a lease must bridge: grows at once, shrinks slowly.

    Between beats, and between answers that the beats show: a lost grant is missed like a lost beat.
    Our own pauses are not the node's, and where it was gone for longer than any lease it was lost.
    """
    went_on = lessee.beat is not None and lessee.beat.incarnation == beat.incarnation
    since = lessee.hearing.since if is_shown(beat, lessee.beat) else lessee.received_at
    gap_us = now - min(since, lessee.received_at)
    if not went_on or since < ears_since or gap_us > LEASE_LONGEST_US:
        return lessee.gap_us
    if lessee.received_at - lessee.unbroken_since < SETTLED_US:
        return lessee.gap_us
    if gap_us >= lessee.gap_us:
        longest_us = (LEASE_LONGEST_US - ledger.every_us) // 2
        return max(lessee.gap_us, min(gap_us, longest_us))
    return lessee.gap_us - (lessee.gap_us - gap_us) // SHRINKING


def length_for(gap_us: Duration, every_us: Duration) -> Duration:
    """Return a length that bridges twice the longest gap, and a beat more."""
    return min(max(2 * gap_us + every_us, LEASE_SHORTEST_US), LEASE_LONGEST_US)


def _ends(lessee: Lessee, beat: LeaseBeat, now: Instant) -> Mapping[str, Ends]:
    """Return what a node may still hold after a beat.

    Without what it released (rule 3), and with what it shows of leases not granted by us (rule 8).
    """
    ends = lessee.ends
    for vip, hold in beat.vips.items():
        known = ends.get(vip, ())
        running = still_running(known, hold.floor)
        if hold.rest_us > 0 and not was_released(hold.term, hold.floor):
            granted_by_us = any(term == hold.term for term, _ in running)
            if not (granted_by_us and lessee.reports_all):
                running = _noted(running, hold.term, now + bound_us(hold.rest_us), now)
        if running != known:
            ends = {**ends, vip: running}
    return ends


def _noted(ends: Ends, term: Term, end: Instant, now: Instant) -> Ends:
    """Return the ends with one more; those that are over are forgotten."""
    others = tuple(each for each in ends if each[0] != term and each[1] > now)
    before = next((known for known_term, known in ends if known_term == term), end)
    return (*others, (term, later(before, end)))


def end_of(lessee: Lessee, vip: str) -> Instant:
    """Return when a node's leases of a VIP have certainly ended, of those that we know."""
    granted = max((end for _, end in lessee.ends.get(vip, ())), default=0)
    return later(granted, lessee.strays.get(vip, 0))


def may_hold(ledger: Ledger, node: str, vip: str, now: Instant) -> bool:
    """Whether a node may hold a VIP now, by our grants or an earlier arbiter's."""
    lessee = ledger.lessees[node]
    return end_of(lessee, vip) > now or is_unknown(ledger, lessee, now)


def waits_for(ledger: Ledger, node: str, vip: str, now: Instant) -> str | None:
    """Return another node that may still hold a VIP which this one is to get; None: none may."""
    own = ledger.lessees[node]
    # Who had heard our epoch when it showed a running lease is the only holder: an earlier arbiter
    # could have granted the VIP to another only after this lease's end. An older beat that comes
    # late shows nothing of the kind.
    is_reported = vip in own.shown
    if ledger.has_strangers and now < ledger.unknown_until and not is_reported:
        return "a node that is configured no more"
    for name, lessee in ledger.lessees.items():
        if name == node:
            continue
        if end_of(lessee, vip) > now:
            return name
        if is_unknown(ledger, lessee, now) and not is_reported:
            return name
    return None


def is_granted(ledger: Ledger, vip: str, placement: Placement) -> bool:
    """Whether the VIP was ever granted to its holder in this term, or found running there."""
    ends = ledger.lessees[placement.holder].ends.get(vip, ())
    return any(term == placement.term for term, _ in ends)


def grantable(ledger: Ledger, vip: str, placement: Placement, now: Instant) -> bool:
    """Whether the holder may be granted a VIP on its newest beat."""
    lessee = ledger.lessees[placement.holder]
    return (
        not unfit(ledger, lessee, vip)
        and not was_released(placement.term, hold_of(lessee, vip).floor)
        and waits_for(ledger, placement.holder, vip, now) is None
    )


def news_of(ledger: Ledger, placements: Placements) -> Mapping[str, str]:
    """Return the newest incidents of VIPs that are granted for the first time in their term."""
    return {
        vip: placement.incidents[-1]
        for vip, placement in placements.items()
        if placement.incidents and not is_granted(ledger, vip, placement)
    }


def answered(
    ledger: Ledger, node: str, placements: Placements, now: Instant
) -> tuple[Ledger, Grant]:
    """Answer a node's newest beat: grant it all that it is to hold and nobody else may."""
    lessee = ledger.lessees[node]
    beat = lessee.beat
    assert beat is not None
    vips = {
        vip: placement.term
        for vip, placement in placements.items()
        if placement.holder == node and grantable(ledger, vip, placement, now)
    }
    incidents = news_of(ledger, {vip: placements[vip] for vip in vips})
    if vips:
        end = lessee.received_at + bound_us(lessee.length_us)
        ends = dict(lessee.ends)
        for vip, term in vips.items():
            ends[vip] = _noted(ends.get(vip, ()), term, end, now)
        ledger = _with(ledger, replace(lessee, ends=ends))
    grant = Grant(
        node=node,
        incarnation=beat.incarnation,
        number=beat.number,
        epoch=ledger.epoch,
        length_us=lessee.length_us,
        vips=vips,
        incidents=incidents,
    )
    return ledger, grant


def is_regular(lessee: Lessee, now: Instant, since: Instant) -> bool:
    """Whether a node has beaten without a pause for one of its leases, in our hearing."""
    return (
        lessee.beat is not None
        and now - lessee.received_at <= lessee.length_us
        and now - max(lessee.regular_since, since) >= lessee.length_us
    )


def is_silent(lessee: Lessee, now: Instant, since: Instant) -> bool:
    """Whether a node has shown no working guard for a whole lease, in our hearing."""
    return now - max(lessee.able_at, since) >= bound_us(lessee.length_us)


def _all_ends(lessee: Lessee) -> Iterator[Instant]:
    yield from (end for of_vip in lessee.ends.values() for _, end in of_vip)
    yield from lessee.strays.values()


def deadline(ledger: Ledger, now: Instant) -> Instant | None:
    """Return the next instant at which a lease has certainly ended."""
    ends = [end for lessee in ledger.lessees.values() for end in _all_ends(lessee) if end > now]
    is_complete = all(each.reports_all for each in ledger.lessees.values())
    if now < ledger.unknown_until and (ledger.has_strangers or not is_complete):
        ends.append(ledger.unknown_until)
    return min(ends, default=None)
