"""When to beat, what a beat says, and which peers count as heard.

Rule 1: beats stand on a grid: a late one does not shift those after it, and those that were
missed are not made up for, because a burst of beats says nothing that the newest does not.
Rule 2: a peer counts as heard only by a beat that cannot be a recording. A boot id that we have
not met may be years old, whatever its signature, so it is believed only once it *echoes* our own
boot id, which is random per start, with a sequence that we sent a moment ago. Without this, a
recording would keep a dead peer alive for every member that was restarted since.
Rule 3: of a boot that is believed, each sequence counts once and only upwards; a boot that was
followed by another never counts again. The window of echoes makes this hold for ever although
only the last few such boots are remembered: a recording of an older one has no fresh echo.
Rule 4: after a pause of our own, what lay in the socket is dated back to before the pause, since
it may be as old as that. Otherwise a beat that waited for ours to be read counts from when it came.
Rule 5: who only shows who is there hears of us once a second, beside every so many-th beat.

    a peer:  SILENT --authentic beat--> CLAIMED --it echoes our boot--> HEARD
                ^                          |  ^                           |
                |     (echoed to it in our |  +---- beat of another ------+
                +-------- next beat) ------+        boot (it restarted)

What this does not defend against: someone who sits between two members and holds beats back can
delay the news of a death by as much as it has withheld. Who can do that can also forge silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from services.heartbeat.core.datagram import ECHOES_MAX, Datagram, Echo, Rejection
from shared.cluster import Cluster
from shared.company import companions
from shared.frozen import replace
from shared.instant import MILLISECOND, SECOND, Duration, Instant
from shared.messages.health import Heartbeat, Presence

CLAIMS_MAX = ECHOES_MAX - 1  # boots that may claim to follow at a time; real is one
SUPERSEDED_MAX = 8  # more restarts than can happen while an echo is fresh
ECHO_WINDOW = 40  # beats: 2 s by default, and a hundred times what an echo needs on a LAN
PAUSE_US = 100 * MILLISECOND  # beyond the worst lateness of a loaded loop (54 ms was measured)


@dataclass(frozen=True, slots=True)
class Claim:
    """A boot id that is authentic and may be a recording."""

    boot_id: str
    highest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What is known of another member by its beats."""

    boot_id: str | None = None  # the one that is believed
    highest: int = 0  # sequence heard of it
    heard_at: Instant | None = None
    refused: Rejection | None = None  # why the last one from its address was not even read
    refused_at: Instant = 0
    claims: tuple[Claim, ...] = ()  # newest first
    superseded: tuple[str, ...] = ()  # newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that decisions depend on."""

    member: str
    boot_id: str
    configuration: str
    every_us: Duration
    sequence: int  # of the last beat
    beat_at: Instant  # when the next one is due
    ran_at: Instant  # of the last event: before it we were awake
    doubt_until: Instant  # until then, what is heard may date from before a pause
    awake_at: Instant  # the last moment before that pause
    peers: Mapping[str, Peer]
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Woke:
    """The time that a `Wake` asked for has come."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A datagram arrived, signed with the cluster's key."""

    datagram: Datagram
    age_us: Duration = 0  # since it arrived


@dataclass(frozen=True, slots=True)
class Ignored:
    """A datagram arrived that cannot be used."""

    kind: Rejection
    member: str = ""  # whose address it came from, as far as an address proves anything


@dataclass(frozen=True, slots=True)
class Say:
    """Publish a beat on the bus, or that there are beats."""

    message: Heartbeat | Presence


@dataclass(frozen=True, slots=True)
class Send:
    """Send a beat to a peer directly."""

    datagram: Datagram


@dataclass(frozen=True, slots=True)
class Wake:
    """Come back at this time."""

    at: Instant


Event: TypeAlias = Woke | Heard | Ignored
Action: TypeAlias = Say | Send | Wake


def start(
    cluster: Cluster, member: str, boot_id: str, now: Instant
) -> tuple[State, tuple[Action, ...]]:
    """Begin without knowing anybody; the first beat is due at once."""
    assert member in cluster.members
    peers = {name: Peer() for name in companions(cluster, member)}
    state = State(
        member=member,
        boot_id=boot_id,
        configuration=cluster.configuration,
        every_us=cluster.heartbeat.every_us,
        sequence=0,
        beat_at=now,
        ran_at=now,
        doubt_until=now,
        awake_at=now,
        peers=peers,
    )
    return state, (Wake(now),)


def decide(state: State, event: Event, now: Instant) -> tuple[State, tuple[Action, ...]]:
    """Return the state after an event, and what is to be done about it."""
    state = _notice_pause(state, now)
    match event:
        case Woke():
            return _beat(state, now)
        case Heard(datagram, age_us):
            return _hear(state, datagram, now, age_us), ()
        case Ignored(kind, member):
            return _refuse(_reject(state, kind), kind, member, now), ()
        case _:
            assert_never(event)


def _notice_pause(state: State, now: Instant) -> State:
    assert now >= state.ran_at
    if now - state.ran_at > state.every_us + PAUSE_US:
        # One beat later the socket is empty, and every living peer has sent something new.
        return replace(state, ran_at=now, awake_at=state.ran_at, doubt_until=now + state.every_us)
    return replace(state, ran_at=now)


def _beat(state: State, now: Instant) -> tuple[State, tuple[Action, ...]]:
    late_us = now - state.beat_at
    if late_us < 0:
        return state, (Wake(state.beat_at),)
    beat_at = state.beat_at + (late_us // state.every_us + 1) * state.every_us
    state = replace(state, sequence=state.sequence + 1, beat_at=beat_at)
    heartbeat = Heartbeat(
        node=state.member,
        boot_id=state.boot_id,
        sequence=state.sequence,
        configuration=state.configuration,
        hears_us={
            name: now - peer.heard_at
            for name, peer in state.peers.items()
            if peer.heard_at is not None
        },
        rejected=state.rejected,
        late_us=late_us,
    )
    sends = (Send(_datagram(state, name, peer)) for name, peer in state.peers.items())
    says = [Say(heartbeat)]
    if state.sequence % max(SECOND // state.every_us, 1) == 0:
        says.append(Say(Presence(beat=heartbeat)))
    return state, (*sends, *says, Wake(beat_at))


def _datagram(state: State, name: str, peer: Peer) -> Datagram:
    believed = () if peer.boot_id is None else (Echo(peer.boot_id, peer.highest),)
    claimed = (Echo(claim.boot_id, claim.highest) for claim in peer.claims)
    return Datagram(
        sender=state.member,
        receiver=name,
        boot_id=state.boot_id,
        sequence=state.sequence,
        echoes=(*believed, *claimed),
    )


def _hear(state: State, datagram: Datagram, now: Instant, age_us: Duration) -> State:
    rejection = _misplaced(state, datagram)
    if rejection is not None:
        return _reject(state, rejection)
    judged = _believe(state, state.peers[datagram.sender], datagram)
    if isinstance(judged, Rejection):
        state = _reject(state, judged)
        if judged is Rejection.REPLAYED:
            return state
        judged = _note_claim(state.peers[datagram.sender], datagram)
    else:
        heard_at = state.awake_at if now < state.doubt_until else now - age_us
        judged = replace(judged, heard_at=max(heard_at, judged.heard_at or heard_at))
    return replace(state, peers={**state.peers, datagram.sender: judged})


def _misplaced(state: State, datagram: Datagram) -> Rejection | None:
    if datagram.sender == state.member:
        return Rejection.OWN
    if datagram.sender not in state.peers:
        return Rejection.STRANGER
    if datagram.receiver != state.member:
        return Rejection.MISDIRECTED
    return None


def _believe(state: State, peer: Peer, datagram: Datagram) -> Peer | Rejection:
    """Return the peer as this beat leaves it, if the beat cannot be a recording."""
    if _seen(peer, datagram):
        return Rejection.REPLAYED
    if datagram.boot_id == peer.boot_id:
        return replace(peer, highest=datagram.sequence)
    if not any(_fresh(state, echo) for echo in datagram.echoes):
        return Rejection.UNPROVEN
    before = () if peer.boot_id is None else (peer.boot_id,)
    return replace(
        peer,
        boot_id=datagram.boot_id,
        highest=datagram.sequence,
        claims=tuple(claim for claim in peer.claims if claim.boot_id != datagram.boot_id),
        superseded=(*before, *peer.superseded)[:SUPERSEDED_MAX],
    )


def _seen(peer: Peer, datagram: Datagram) -> bool:
    if datagram.boot_id in peer.superseded:
        return True
    if datagram.boot_id == peer.boot_id:
        return datagram.sequence <= peer.highest
    claimed = (claim.highest for claim in peer.claims if claim.boot_id == datagram.boot_id)
    return datagram.sequence <= next(claimed, 0)


def _fresh(state: State, echo: Echo) -> bool:
    return echo.boot_id == state.boot_id and 0 <= state.sequence - echo.sequence <= ECHO_WINDOW


def _note_claim(peer: Peer, datagram: Datagram) -> Peer:
    others = tuple(claim for claim in peer.claims if claim.boot_id != datagram.boot_id)
    claim = Claim(datagram.boot_id, datagram.sequence)
    return replace(peer, claims=(claim, *others)[:CLAIMS_MAX])


def _refuse(state: State, kind: Rejection, member: str, now: Instant) -> State:
    """Remember it for whoever asks what is wrong; nothing is decided by it."""
    if member not in state.peers:
        return state
    peer = replace(state.peers[member], refused=kind, refused_at=now)
    return replace(state, peers={**state.peers, member: peer})


def _reject(state: State, kind: Rejection) -> State:
    return replace(state, rejected={**state.rejected, kind.value: state.rejected.get(kind, 0) + 1})
