"""Who could hold a virtual IP, who is to, and the plan that places it there.

Rule 1: a VIP goes to its home if that can hold it, else to the node that holds fewest, the
        first of the file before others.
Rule 2: fit is who is heard regularly by ears that we trust, whose guard and load balancer work,
        who says nothing against this VIP, and whom no person keeps away from it.
Rule 3: only a plan places a VIP; its number is the term, so that no older grant can count.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.arbiter.core.leases import (
    hold_of,
    is_granted,
    is_regular,
    is_silent,
    may_hold,
    unfit,
    was_released,
)
from services.arbiter.core.state import Say, State, Vip
from shared.frozen import replace
from shared.instant import SECOND, Duration, Instant, milliseconds
from shared.messages.facts import VipChanged, VipMove
from shared.messages.leases import NO_TERM
from shared.messages.traffic import Override, OverrideKind, Placement

KEEPING_AWAY = (OverrideKind.MAINTENANCE, OverrideKind.FAILOVER)
REASONS_MAX = 3  # a sentence lists so many nodes
NEVER_HEARD_US: Duration = 3 * SECOND  # what a cluster that starts may take
STARTING_US: Duration = SECOND  # what a switcher's start takes, several times over
FIRST_START_US: Duration = 5 * SECOND  # where nobody has served yet: a load balancer's, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """VIPs that go elsewhere, with one plan."""

    to: Mapping[str, str]  # VIP -> node
    reason: str
    incident: str | None
    drain_us: Duration = 0
    waited_us: Duration = 0  # for leases to end


def keeper(state: State, node: str, vip: str) -> Override | None:
    """Return what a person keeps a VIP off a node by."""
    for item in state.standing:
        override = item.override
        concerns = override.service is None and override.vip in (None, vip)
        if override.kind in KEEPING_AWAY and override.node == node and concerns:
            return override
    return None


def kept_off(state: State, node: str, vip: str) -> str:
    """Return why a person keeps a VIP off a node; "" nobody does."""
    override = keeper(state, node, vip)
    if override is None:
        return ""
    what = "in maintenance" if override.kind is OverrideKind.MAINTENANCE else "taken out"
    return f"{what} by {override.owner}"


def unable(state: State, node: str, vip: str, now: Instant) -> str:
    """Return why a node could not take a VIP now, in words; "" it could."""
    member, lessee = state.members[node], state.ledger.lessees[node]
    if member.is_lost:
        return f"it is {member.state}"
    words = kept_off(state, node, vip) or unfit(state.ledger, lessee, vip)
    if words:
        return words
    if now - lessee.received_at > lessee.length_us:
        return "its switcher is not heard"
    if not is_regular(lessee, now, state.ears_since):
        return f"its beats are not regular yet for {milliseconds(lessee.length_us):.0f} ms"
    return ""


def lost(state: State, vip: str, now: Instant) -> str:
    """Return why the holder of a VIP cannot hold it, in words; "" it can, or we cannot know."""
    placement = state.plan.vips[vip]
    lessee = state.ledger.lessees[placement.holder]
    since = state.ears_since
    if lessee.beat is None:
        return "its switcher was never heard" if now - since > NEVER_HEARD_US else ""
    words = unfit(state.ledger, lessee, vip)
    here_us = now - max(since, state.vips[vip].since)
    if words and was_never_up(state, vip) and here_us <= FIRST_START_US:
        return ""
    if is_silent(lessee, now, since):
        if now - lessee.received_at <= lessee.length_us:
            return words or "its guard is not seen at work"
        return f"silent for {milliseconds(now - max(lessee.received_at, since)):.0f} ms"
    if was_released(placement.term, hold_of(lessee, vip).floor):
        return words or "it has released the address"
    # Who is just starting says so, and is waited for a little before others take over.
    is_new = not is_granted(state.ledger, vip, placement)
    if is_new and here_us <= STARTING_US:
        return ""
    return words


def was_never_up(state: State, vip: str) -> bool:
    """Whether nobody was ever answered through a VIP since the cluster began: nothing has failed.

    A new switcher has given up the term that it found, which is no sign that it had the VIP.
    """
    placement = state.plan.vips[vip]
    return (
        placement.term[0] == state.ledger.epoch  # else an earlier arbiter had placed it
        and state.vips[vip].answered == NO_TERM
        and not placement.incidents
        and state.members[placement.holder].incident is None
    )


def begins_anew(state: State, vip: str, now: Instant) -> bool:
    """Whether the holder only lacks a term: it released the old one, and could hold the VIP.

    One that a person keeps off, and left it on since nobody else could hold it, has it again.
    """
    placement = state.plan.vips[vip]
    holder, lessee = placement.holder, state.ledger.lessees[placement.holder]
    return (
        was_released(placement.term, hold_of(lessee, vip).floor)
        and not unfit(state.ledger, lessee, vip)
        and not (kept_off(state, holder, vip) and chosen(state, (vip,), now, holder))
    )


def is_free(state: State, vip: str, now: Instant) -> bool:
    """Whether the holder's leases of a VIP have certainly ended."""
    return not may_hold(state.ledger, state.plan.vips[vip].holder, vip, now)


def chosen(
    state: State, vips: Iterable[str], now: Instant, but: str | None = None
) -> dict[str, str]:
    """Return to whom these VIPs go, as far as anybody else than `but` could hold them."""
    loads = dict.fromkeys(state.cluster.nodes, 0)
    for name, placement in state.plan.vips.items():
        if name not in vips:
            loads[placement.holder] += 1
    to: dict[str, str] = {}
    for vip in vips:
        able = [node for node in ranked(state, vip, loads) if node != but]
        taker = next((node for node in able if not unable(state, node, vip, now)), None)
        if taker is not None:
            to[vip] = taker
            loads[taker] += 1
    return to


def ranked(state: State, vip: str, loads: Mapping[str, int]) -> list[str]:
    """Return all nodes, the best place for a VIP first."""
    home = state.cluster.vips[vip].home
    return sorted(state.cluster.nodes, key=lambda node: (node != home, loads[node]))  # stable


def nobody(state: State, vip: str, now: Instant, but: str | None = None) -> str:
    """Say why nobody could hold a VIP, of a few."""
    reasons = [
        f"{node}: {unable(state, node, vip, now)}" for node in state.cluster.nodes if node != but
    ]
    return "; ".join(reasons[:REASONS_MAX]) or "there is no other node"


def placed(state: State, move: Move, now: Instant) -> tuple[State, tuple[Say, ...]]:
    """Return the state whose plan, just made, gives VIPs to other nodes; and what to say of it."""
    placements, vips = dict(state.plan.vips), dict(state.vips)
    facts = []
    for vip, node in sorted(move.to.items()):
        before = placements[vip]
        is_handed_over = move.drain_us > 0 and before.holder != node
        placements[vip] = Placement(
            holder=node,
            term=state.plan.number,
            previous=before.holder if is_handed_over else None,
            drain_us=move.drain_us if is_handed_over else 0,
            incidents=_incidents(state, before, move.incident),
            previous_beside=_beside(state, vip, before.holder) if is_handed_over else "",
        )
        vips[vip] = replace(
            vips[vip], since=now, reason=move.reason, well_since=None, asked=False, stuck=""
        )
        facts.append(
            Say(
                VipChanged(
                    vip=vip,
                    before=before.holder,
                    holder=node,
                    term=state.plan.number,
                    reason=move.reason,
                    incident=move.incident,
                )
            )
        )
    plan = replace(state.plan, vips=placements)
    return replace(state, plan=plan, vips=vips, news=True), tuple(facts)


def _beside(state: State, vip: str, node: str) -> str:
    return hold_of(state.ledger.lessees[node], vip).beside


def _incidents(state: State, before: Placement, name: str | None) -> tuple[str, ...]:
    """Return the open incidents that wait for a VIP's return, the newest last."""
    others = tuple(each for each in before.incidents if each in state.cases and each != name)
    return (*others, name) if name is not None else others


def incident_of(state: State, vip: str) -> str | None:
    """Return the newest open incident that moved a VIP."""
    names = [each for each in state.plan.vips[vip].incidents if each in state.cases]
    return names[-1] if names else None


def moves(before: State, move: Move) -> tuple[VipMove, ...]:
    """Return what an incident's document says of these moves."""
    return tuple(
        VipMove(
            vip=vip,
            address=before.cluster.vips[vip].address,
            before=before.plan.vips[vip].holder,
            after=node,
            waited_us=move.waited_us,
        )
        for vip, node in sorted(move.to.items())
    )


def with_vip(state: State, vip: Vip) -> State:
    """Return the state with what is known of a VIP replaced."""
    return replace(state, vips={**state.vips, vip.name: vip}, news=True)
