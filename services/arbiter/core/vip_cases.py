"""What an incident has to do with virtual IPs: where they must answer, where they must return."""

from services.arbiter.core.state import Case, State
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.facts import IncidentState, VipMove


def is_answered(state: State, vip: str) -> bool:
    """Whether a request through a VIP was answered by its present holder, in its present term."""
    return state.vips[vip].answered == state.plan.vips[vip].term


def unanswered(state: State, case: Case) -> list[str]:
    """Return the VIPs of a case through which nothing was answered yet where they are now."""
    return [
        move.vip
        for move in case.incident.vips
        if move.vip in state.plan.vips and not is_answered(state, move.vip)
    ]


def away(state: State, vip: str) -> str:
    """Return what a VIP still needs to be as it was; "" nothing, or it is configured no more."""
    if vip not in state.plan.vips:
        return ""
    home = state.cluster.vips[vip].home
    if state.plan.vips[vip].holder != home:
        return f"{vip} to be home on {home}"
    return "" if is_answered(state, vip) else f"an answer through {vip} on {home}"


def also_moved(
    case: Case, state: State, moves: tuple[VipMove, ...], lease_at: Instant | None
) -> Case:
    """Return a case whose newest plan, just made, moves VIPs as well.

    It is handled when this plan is in force and its VIPs answer where they are now. Once its
    return has begun, what it does is a part of that.
    """
    names = {move.vip for move in moves}
    vips = (*(move for move in case.incident.vips if move.vip not in names), *moves)
    incident = replace(case.incident, vips=vips)
    if incident.state is IncidentState.RETURNING:
        return replace(case, incident=incident)
    return replace(
        case,
        incident=replace(incident, state=IncidentState.OPEN, phases=()),
        number=state.plan.number,
        lease_at=lease_at,
        sent_at=None,
        installed_at=None,
        verified_at=None,
        marks=(),
    )
