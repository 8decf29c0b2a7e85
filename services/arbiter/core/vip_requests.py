"""What people ask of virtual IPs: one goes elsewhere, or all of a node's; and home again."""

from collections.abc import Iterable

from services.arbiter.core.cases import Opening, incident_id, opened
from services.arbiter.core.homecoming import came_home, obstacle
from services.arbiter.core.placing import (
    Move,
    chosen,
    incident_of,
    keeper,
    kept_off,
    moves,
    nobody,
    placed,
    unable,
)
from services.arbiter.core.plans import Why, planned
from services.arbiter.core.returning import ordered
from services.arbiter.core.state import Actions, Done, Refusal, Say, Standing, State
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.facts import VipMove
from shared.messages.operator import Answer, OperatorRequest
from shared.messages.traffic import Drain, Override, OverrideKind, Restore


def wrong(state: State, request: OperatorRequest) -> Refusal | None:
    """Return what makes no sense in a request about a VIP."""
    if request.vip is not None and request.vip not in state.plan.vips:
        known = ", ".join(sorted(state.plan.vips)) or "none"
        return Refusal(Answer.WRONG, f"there is no virtual IP '{request.vip}'; there are: {known}")
    if request.to is not None and request.to not in state.cluster.nodes:
        known = ", ".join(state.cluster.nodes)
        return Refusal(Answer.WRONG, f"there is no node '{request.to}'; there are: {known}")
    if request.to is not None and request.vip is None:
        return Refusal(Answer.WRONG, "only a virtual IP can be sent to a node: name one with --to")
    if request.vip is not None and (request.node is not None or request.service is not None):
        return Refusal(Answer.WRONG, "name a virtual IP alone, without a node or a service")
    return None


def sent_away(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    """Send one VIP to another node, and keep it off where it was until a person or time says so."""
    vip = request.vip
    assert vip is not None
    holder = state.plan.vips[vip].holder
    to = request.to or chosen(state, (vip,), now, holder).get(vip)
    if to == holder:
        return Refusal(Answer.WRONG, f"{vip} is on {holder} already")
    if to is None:
        why = nobody(state, vip, now, holder)
        return Refusal(Answer.UNSAFE, f"nobody else could hold {vip}: {why} (cannot be forced)")
    if refusal := _kept_off(state, to, vip):
        return refusal
    if words := unable(state, to, vip, now):
        return Refusal(Answer.UNSAFE, f"{to} could not hold {vip}: {words} (cannot be forced)")
    name = incident_id(state, (("vip", vip),))
    what = f"{vip} is sent from {holder} to {to} by {request.owner}: {request.reason}"
    drain_us = state.cluster.policy.drain_us
    move = Move(to={vip: to}, reason=what, incident=name, drain_us=drain_us)
    is_home = to == state.cluster.vips[vip].home
    before, undo = state, f"equipoise failback {vip}"
    if is_home:  # where it belongs: nothing is to keep it off anywhere
        undo = ""
    else:
        standing = _standing(state, request, vip, name, now)
        state = replace(state, standing=(*state.standing, standing))
    after, facts = placed(planned(state, (), Why(what, name)), move, now)
    opening = Opening(
        targets=(),
        node=holder,
        cause=request.reason,
        sentence=what,
        vips=moves(before, move),
        owner=request.owner,
    )
    after, told = opened(before, after, name, opening, now)
    after, orders = ordered(after, Drain, now)
    return Done(after, (*orders, told, *facts), what, name, undo)


def _kept_off(state: State, node: str, vip: str) -> Refusal | None:
    """Refuse what another wish of a person stands against, and say how that one is ended."""
    override = keeper(state, node, vip)
    if override is None:
        return None
    is_maintenance = override.kind is OverrideKind.MAINTENANCE
    end = f"maintenance end {node}" if is_maintenance else f"failback {override.vip or node}"
    text = f"{node} is {kept_off(state, node, vip)}; end that first: equipoise {end}"
    return Refusal(Answer.UNSAFE, text)


def _standing(
    state: State, request: OperatorRequest, vip: str, incident: str, now: Instant
) -> Standing:
    length = request.for_us if request.for_us is not None else state.cluster.policy.override_max_us
    since = now + state.wall_ahead_us
    override = Override(
        kind=OverrideKind.FAILOVER,
        service=None,
        node=state.plan.vips[vip].holder,
        owner=request.owner,
        reason=request.reason,
        since_wall_us=since,
        until_wall_us=since + length,
        incident=incident,
        vip=vip,
    )
    return Standing(override=override, ends_at=now + length)


def emptied(
    state: State, node: str, request: OperatorRequest, now: Instant
) -> dict[str, str] | Refusal:
    """Return to whom the VIPs of a node go that a person takes out."""
    held = [vip for vip, each in sorted(state.plan.vips.items()) if each.holder == node]
    to = chosen(state, held, now, node)
    left = [vip for vip in held if vip not in to]
    if left and not request.force:
        why = nobody(state, left[0], now, node)
        text = f"nobody else could hold {left[0]}: {why}; --force-unsafe leaves it on {node}"
        return Refusal(Answer.UNSAFE, text)
    return to


def moved_with(
    state: State, to: dict[str, str], why: Why, now: Instant
) -> tuple[State, tuple[VipMove, ...], tuple[Say, ...]]:
    """Return the state whose plan, just made for a person, moves these VIPs as well."""
    drain_us = state.cluster.policy.drain_us
    move = Move(to=to, reason=why.reason, incident=why.incident, drain_us=drain_us)
    after, facts = placed(state, move, now)
    return after, moves(state, move), facts


def brought_back(state: State, request: OperatorRequest, now: Instant) -> Done | Refusal:
    """End what keeps a VIP away from home, and bring it home as soon as it can be."""
    vip = request.vip
    assert vip is not None
    kept = tuple(item for item in state.standing if item.override.vip != vip)
    home, holder = state.cluster.vips[vip].home, state.plan.vips[vip].holder
    is_freed = len(kept) < len(state.standing)
    state = replace(state, standing=kept)
    if holder == home:
        if not is_freed:
            return Refusal(Answer.WRONG, f"{vip} is home on {home}; see: equipoise status")
        after, orders = _said(state, f"{request.owner}: {request.reason}", now)
        return Done(after, orders, f"{vip} is home on {home}, and free to move again")
    if refusal := _kept_off(state, home, vip):
        return refusal
    asked = asked_home(state, (vip,))
    if words := obstacle(asked, vip, now):
        after, orders = _said(asked, f"{request.owner} asked for {vip}: {request.reason}", now)
        return Done(after, orders, f"{vip} comes home to {home} after: {words}")
    after, actions = came_home(asked, vip, now)
    return Done(after, actions, f"{vip} comes home to {home}", incident_of(after, vip))


def _said(state: State, reason: str, now: Instant) -> tuple[State, Actions]:
    return ordered(planned(state, (), Why(reason, None)), Restore, now)


def asked_home(state: State, vips: Iterable[str]) -> State:
    """Return the state in which a person has asked for these VIPs' return."""
    known = {vip: replace(state.vips[vip], asked=True) for vip in vips}
    return replace(state, vips={**state.vips, **known})


def away_from(state: State, node: str | None) -> tuple[str, ...]:
    """Return the VIPs whose home is this node, or any, and which are elsewhere."""
    return tuple(
        vip
        for vip, placement in sorted(state.plan.vips.items())
        if placement.holder != state.cluster.vips[vip].home
        and node in (None, state.cluster.vips[vip].home)
    )
