"""Whether this heartbeat beats."""

from collections.abc import Iterator

from services.heartbeat.core.beats import State
from services.heartbeat.core.datagram import Rejection
from shared.health import Check
from shared.instant import SECOND, Duration, Instant, milliseconds

FRESH_US: Duration = 3 * SECOND  # a lost beat or two are no news
# What is wrong with a member whose beats are of no use, and how to mend it.
REFUSED = {
    Rejection.FOREIGN: "they are of another cluster: mend `cluster:` in the file that is wrong",
    Rejection.FORGED: "they are signed with another key: give all members the same key file",
    Rejection.MALFORMED: "they cannot be read: run the same version of Equipoise on all members",
    Rejection.OVERSIZE: "they cannot be read: run the same version of Equipoise on all members",
}
MISSED_MAX = 10  # beats in a row: whoever listens takes us for lost by then


def readiness(state: State | None, now: Instant) -> tuple[Check, ...]:
    """Return what must be so for others to hear us; whom we hear is their own readiness."""
    if state is None:
        return (Check(name="beats", failure="the first beat has not been sent yet"),)
    late_us = now - state.beat_at
    if late_us > MISSED_MAX * state.every_us:
        text = f"the next beat is {milliseconds(late_us):.0f} ms late: this machine is starved"
        return (Check(name="beats", failure=text),)
    fresh = now - SECOND
    heard = sum(
        peer.heard_at is not None and peer.heard_at > fresh for peer in state.peers.values()
    )
    note = f"hears {heard} of {len(state.peers)} members directly"
    return (
        Check(name="beats", note=note),
        Check(name="peers", failure="; ".join(text for _, text in refusals(state, now))),
    )


def refusals(state: State, now: Instant) -> Iterator[tuple[str, str]]:
    """Yield the members whose own beats are refused now, and why.

    Not those that are heard beside it: somebody else may forge an address.
    """
    fresh = now - FRESH_US
    for name, peer in state.peers.items():
        if peer.refused_at > fresh and (peer.heard_at is None or peer.heard_at < fresh):
            assert peer.refused is not None
            why = REFUSED.get(peer.refused, peer.refused.value)
            yield name, f"beats from the address of {name} are refused: {why}"
