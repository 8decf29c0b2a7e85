r"""Whether a node is dead: what the bus, its peers' ears and its peers' probes say, weighed.

Three signals, of which silence on the bus is needed and one of the others beside it:

    the bus    neither its heartbeat nor its switcher was heard for its patience: three beats, or
               two thirds of its lease, whichever is longer (a noisy machine has a long lease)
    UDP        all of its company that can be believed say that they hear nothing of it either;
               one who hears it by UDP outvotes all, because a node that speaks is not dead
    probes     what peers' probes of its instances met since it fell silent; that all of them fail
               is known once all could speak since we began or woke

Rule 1: silence that may be our own deafness is none. It counts from when we began, woke, last
        stood still, or heard anybody again after nobody; and it needs a member that was heard
        after it, and that vouches for it, so that a bus that is away accuses nobody.
Rule 2: a member vouches only if it is not silent itself, less by how late its own loop was, and
        only of whom it ever heard (UDP that a firewall drops is no silence).
Rule 3: silent on the bus and failing all peers' probes outweighs datagrams: who is heard and cannot
        hear (a cut in one direction) serves nobody.
Rule 4: dead is more than suspect: its leases have certainly ended, and no peer's probe was
        answered since it fell silent.
Rule 5: only the bus brings a lost node back: without it, it can be told nothing.

    UNKNOWN --heard--> UP --silent, and vouched for--> SUSPECT --leases over, no answer--> DEAD
                       ^  \--silent, nobody knows--> UNKNOWN          |                     |
                       +---------------------- heard on the bus ------+---------------------+

All of it is weighed at ticks, and only for a member whose silence is longer than its patience.
"""

from dataclasses import dataclass

from services.arbiter.core.leases import bound_us, may_hold
from services.arbiter.core.state import (
    EVIDENCE_AGE_MAX_US,
    LOST_STATES,
    UNKNOWN_AFTER_US,
    Member,
    State,
    View,
)
from shared.cluster import LEASE_LONGEST_US
from shared.company import companions
from shared.instant import SECOND, Duration, Instant, milliseconds
from shared.messages.facts import EvidenceItem, NodeState
from shared.messages.health import Grade, Sign, Verdict

BEATS_MISSED = 3  # one may be lost, two may be late
BEATS_OF_NOBODY = 2  # in which nobody at all was heard: then it is not the members
LEARNING_BEATS = 4  # what a member needs to believe a peer that it has not met
ANSWERED_BEATS = 2  # an answer so much later than the last beat shows a life that does not beat
NEVER_US: Duration = 3 * SECOND  # a member that was never heard had this long to come
# Of a lease: the instances leave in time to be gone when the addresses come to the others.
SHARE, OF = 2, 3
NAMES_MAX = 3  # in a sentence
WITNESSES_MAX = 8  # of each kind in an incident's evidence
FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What one member says of another, by the datagrams that it hears."""

    member: str
    boot_id: str
    sequence: int
    silent_us: Duration | None  # since the last datagram that it told of; None: it never did
    vouches: bool | None  # for the silence; None: it cannot tell, and abstains


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """All that speaks for and against a member's death."""

    name: str
    silent_us: Duration | None  # on the bus; None: it was never heard
    patience_us: Duration
    patience: str  # in words: "3 beats are 150 ms"
    hearing: tuple[Testimony, ...]  # who heard it by UDP lately
    missing: tuple[Testimony, ...]  # who vouches that it does not
    is_silent_by_udp: bool
    answered: tuple[View, ...]  # peers' probes that were answered since it fell silent
    unanswered: tuple[View, ...]  # peers' newest, where all of them are bad


def lease_of(state: State, name: str) -> Duration:
    """Return the length of the leases that a node is granted."""
    if name not in state.cluster.nodes:
        return LEASE_LONGEST_US  # the witness holds nothing, so nothing hurries
    return state.ledger.lessees[name].length_us


def gap_of(state: State, name: str) -> Duration:
    """Return the longest gap between a node's beats that its lease's length follows."""
    lessee = state.ledger.lessees.get(name)
    return lessee.gap_us if lessee is not None else 0


def leases_are_over(state: State, member: Member, now: Instant) -> bool:
    """Whether all that a node was ever granted has certainly ended."""
    last_at = member.bus_at if member.bus_at is not None else state.begun_at
    if now - last_at <= bound_us(lease_of(state, member.name)):
        return False
    if member.name not in state.cluster.nodes:
        return True
    return not any(may_hold(state.ledger, member.name, vip, now) for vip in state.plan.vips)


def patience_us(state: State, member: Member) -> Duration:
    """Return how long a member may be silent before it is suspected."""
    if member.bus_at is None:
        return NEVER_US
    beats_us = BEATS_MISSED * state.cluster.heartbeat.every_us
    return max(beats_us, lease_of(state, member.name) * SHARE // OF)


def believed(state: State, member: Member, now: Instant) -> NodeState:
    """Return what is to be believed of a member now."""
    over_us = patience_us(state, member)
    if member.bus_at is not None and now - member.bus_at < over_us:
        return NodeState.UP
    if member.bus_at is None and member.incident is None and state.plan.epoch == FIRST_EPOCH:
        return NodeState.UNKNOWN  # a new cluster comes up as its machines do; nobody is missed
    since = member.bus_at if member.bus_at is not None else state.begun_at
    silent_us = now - max(since, state.trusted_since, state.hearing_since)
    if silent_us < over_us:
        return member.state
    return _concluded(state, member, weigh(state, member, now), silent_us, now)


def _concluded(
    state: State, member: Member, weighing: Weighing, silent_us: Duration, now: Instant
) -> NodeState:
    """Return what the signals of a member that is silent on the bus amount to."""
    if weighing.is_silent_by_udp:
        is_over = leases_are_over(state, member, now) and not weighing.answered
        return NodeState.DEAD if is_over and member.state in LOST_STATES else NodeState.SUSPECT
    if member.state in LOST_STATES:
        return member.state
    if weighing.unanswered and member.bus_at is not None:
        return NodeState.SUSPECT
    unclear = not weighing.hearing and silent_us >= UNKNOWN_AFTER_US
    return NodeState.UNKNOWN if unclear else member.state


def weigh(state: State, member: Member, now: Instant) -> Weighing:
    """Weigh all signals of one member."""
    over_us = patience_us(state, member)
    told = _testimonies(state, member, over_us, now)
    hearing = tuple(t for t in told if t.silent_us is not None and t.silent_us < over_us)
    missing = tuple(t for t in told if t.vouches)
    dissenting = any(t.vouches is False for t in told)
    views = _views(state, member, now)
    has_listened = now - state.trusted_since > EVIDENCE_AGE_MAX_US
    return Weighing(
        name=member.name,
        silent_us=now - member.bus_at if member.bus_at is not None else None,
        patience_us=over_us,
        patience=_patience(state, member, over_us),
        hearing=hearing,
        missing=missing,
        is_silent_by_udp=bool(missing) and not hearing and not dissenting,
        answered=tuple(view for view in views if _answers(state, member, view)),
        unanswered=tuple(views) if has_listened and all(map(_is_bad, views)) else (),
    )


def _patience(state: State, member: Member, over_us: Duration) -> str:
    if member.bus_at is None:
        return f"it had {NEVER_US // SECOND} s to come"
    shown = f"{milliseconds(over_us):.0f} ms"
    if over_us == BEATS_MISSED * state.cluster.heartbeat.every_us:
        return f"{BEATS_MISSED} beats are {shown}"
    return f"{SHARE}/{OF} of its lease are {shown}"


def _testimonies(
    state: State, member: Member, over_us: Duration, now: Instant
) -> tuple[Testimony, ...]:
    """Return what those of its company that were ever heard say of a member."""
    return tuple(
        _testimony(state, member, other, over_us, now)
        for other in map(state.members.__getitem__, companions(state.cluster, member.name))
        if other.heard_at is not None
    )


def _testimony(
    state: State, member: Member, other: Member, over_us: Duration, now: Instant
) -> Testimony:
    """Return what one member says of another, dated back by its own age, and what it is worth."""
    assert other.heard_at is not None
    every_us = state.cluster.heartbeat.every_us
    age_us = other.hears_us.get(member.name)
    vouches: bool | None = None
    # It must have been heard when the other was missed already: else both fell silent together,
    # and it is the bus that is away. Its newest beat may be one beat old.
    needed_us = over_us - every_us
    was_missed = member.bus_at is None or other.heard_at - member.bus_at >= needed_us
    if was_missed and now - other.heard_at < patience_us(state, other):
        if age_us is not None:
            # What came while its own loop was late, it may not have read yet.
            vouches = age_us - other.late_us >= needed_us
        elif member.bus_at is None or member.bus_at < other.boot_at:
            learnt_at = other.boot_at + LEARNING_BEATS * every_us
            vouches = other.heard_at - learnt_at >= over_us or None
    return Testimony(
        member=other.name,
        boot_id=other.boot_id,
        sequence=other.sequence,
        silent_us=now - (other.heard_at - age_us) if age_us is not None else None,
        vouches=vouches,
    )


def _views(state: State, member: Member, now: Instant) -> list[View]:
    """Return the newest words of the peers that probe a node's instances, and vouch for them."""
    return [
        view
        for _, of_service in sorted(state.instances.items())
        if member.name in of_service
        for observer, view in sorted(of_service[member.name].views.items())
        if observer != member.name
        and now - view.received_at <= EVIDENCE_AGE_MAX_US
        and view.received_at > state.trusted_since
        and not view.evidence.abstains
    ]


def _is_bad(view: View) -> bool:
    """Whether a probe found nothing good; one good answer of several that are needed is good."""
    return view.evidence.verdict is Verdict.UNHEALTHY and view.evidence.sign is not Sign.OK


def _answers(state: State, member: Member, view: View) -> bool:
    """Whether an instance answered so long after its node's last beat that the node must live."""
    silent_at = member.bus_at if member.bus_at is not None else state.begun_at
    silent_at += ANSWERED_BEATS * state.cluster.heartbeat.every_us
    answered_at = view.received_at - max(view.evidence.age_us, 0)
    return view.evidence.verdict is Verdict.HEALTHY and answered_at > silent_at


# -- in words ----------------------------------------------------------------------------------


def signals(weighing: Weighing) -> tuple[str, ...]:
    """Say what speaks for and against a member's death, with what was measured."""
    return tuple(text for text in (_of_bus(weighing), _of_udp(weighing), *_of_probes(weighing)))


def cause(weighing: Weighing) -> str:
    """Say why a node is taken for lost, in a few words."""
    by_udp = f", by UDP for {_shown(_least(weighing))}" if weighing.is_silent_by_udp else ""
    if weighing.is_silent_by_udp and _least(weighing) is None:
        by_udp = ", and by UDP since those who live began"
    names = names_of([t.member for t in weighing.missing]) if weighing.is_silent_by_udp else ""
    who = f" ({names})" if names else ""
    probes = f"; {_of_unanswered(weighing)}" if weighing.unanswered else ""
    return f"{_of_bus(weighing)}{by_udp}{who}{probes}"


def _of_bus(weighing: Weighing) -> str:
    if weighing.silent_us is None:
        return f"never heard on the bus ({weighing.patience})"
    return f"silent on the bus for {_shown(weighing.silent_us)} ({weighing.patience})"


def _of_udp(weighing: Weighing) -> str:
    if weighing.hearing:
        names = names_of([t.member for t in weighing.hearing])
        return f"heard by UDP by {names}: only its way to the bus is gone"
    if weighing.is_silent_by_udp:
        names = names_of([t.member for t in weighing.missing])
        least_us = _least(weighing)
        if least_us is None:
            return f"never heard by UDP by {names}"
        return f"silent by UDP for {_shown(least_us)} ({names})"
    return "nobody can say whether it is silent by UDP"


def _least(weighing: Weighing) -> Duration | None:
    """Return since when nobody has heard it by UDP."""
    known = [t.silent_us for t in weighing.missing if t.silent_us is not None]
    return min(known, default=None)


def _of_probes(weighing: Weighing) -> tuple[str, ...]:
    answered = [
        f"{view.evidence.service} has answered {view.evidence.observer} since then"
        for view in weighing.answered[:NAMES_MAX]
    ]
    failing = (_of_unanswered(weighing),) if weighing.unanswered else ()
    return (*answered, *failing)


def _of_unanswered(weighing: Weighing) -> str:
    services = names_of(sorted({view.evidence.service for view in weighing.unanswered}))
    observers = names_of(sorted({view.evidence.observer for view in weighing.unanswered}))
    first = weighing.unanswered[0].evidence.detail
    return f"every probe of {services} by {observers} fails ({first})"


def names_of(names: list[str]) -> str:
    """Return a few names as a sentence lists them."""
    few = names[:NAMES_MAX]
    if len(names) > NAMES_MAX:
        return f"{', '.join(few)} and others"
    return " and ".join(few)


def _shown(duration_us: Duration | None) -> str:
    return f"{milliseconds(duration_us or 0):.0f} ms"


def evidence_of(state: State, weighing: Weighing, now: Instant) -> tuple[EvidenceItem, ...]:
    """Return the reasons for a decision about a node, as people are shown them."""
    member = state.members[weighing.name]
    limit = f"{milliseconds(weighing.patience_us):.0f} ms"
    silent_us = weighing.silent_us
    bus = EvidenceItem(
        observer=state.arbiter,
        boot_id=member.boot_id,
        sequence=member.sequence,
        what=_of_bus(weighing),
        value=_shown(silent_us) if silent_us is not None else "never heard",
        threshold=limit,
        grade=Grade.SUSPICIOUS,
        sign=Sign.SILENT,
        age_us=silent_us if silent_us is not None else now - state.begun_at,
    )
    by_udp = (
        EvidenceItem(
            observer=told.member,
            boot_id=told.boot_id,
            sequence=told.sequence,
            what="hears nothing of it by UDP",
            value=_shown(told.silent_us) if told.silent_us is not None else "never heard",
            threshold=limit,
            grade=Grade.SUSPICIOUS,
            sign=Sign.SILENT,
            age_us=told.silent_us or 0,
        )
        for told in weighing.missing[:WITNESSES_MAX]
    )
    return (bus, *(by_udp if weighing.is_silent_by_udp else ()), *_probed(weighing, now))


def _probed(weighing: Weighing, now: Instant) -> tuple[EvidenceItem, ...]:
    return tuple(
        EvidenceItem(
            observer=view.evidence.observer,
            boot_id=view.evidence.boot_id,
            sequence=view.evidence.sequence,
            what=f"{view.evidence.service}: {view.evidence.detail}",
            value=view.evidence.value,
            threshold=view.evidence.threshold,
            grade=view.evidence.grade,
            sign=view.evidence.sign,
            age_us=now - view.first_at,
        )
        for view in weighing.unanswered[:WITNESSES_MAX]
    )
