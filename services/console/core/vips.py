"""Virtual IPs as people read them: who holds each, whether it answers, and what it waits for.

What the arbiter believes is shown only while it is fresh. Beside it stands what the switchers
said themselves when they took or released one; a VIP that nobody is heard of is unknown.
"""

from collections.abc import Iterator
from typing import Literal

from services.console.core.state import State, fresh
from services.console.core.words import because, length, number, short, vip_takeover_text
from shared.api import Truth, VipRow, VipTakeoverView, VipView, VipWord
from shared.instant import Instant
from shared.messages.facts import Situation, VipBelief, VipState
from shared.messages.leases import Holding
from shared.messages.traffic import Placement, Plan

_TAKEN = {Holding.TAKEN, Holding.ANSWERED}
_SILENT = {VipState.WAITING, VipState.DARK}


def vip_views(state: State, now: Instant) -> list[VipView]:
    """Return every VIP, in the configuration's order."""
    return [vip_view(state, name, now) for name in state.cluster.vips]


def vip_view(state: State, name: str, now: Instant) -> VipView:
    """Return one VIP: where it is to be, what is believed of it, and why."""
    vip = state.cluster.vips[name]
    known = state.situation
    belief = known.value.vips.get(name) if known is not None else None
    placement = known.value.plan.vips.get(name) if known is not None else None
    age_us = 0 if known is None else now - known.at
    current = belief if fresh(state, now) else None
    holder = _holder(belief, placement)
    word: VipWord = "unknown" if current is None else current.state.value
    answered_us = None if belief is None else belief.answered_age_us
    view = VipView(
        name=name,
        address=f"{vip.address}/{vip.prefix}",
        home=vip.home,
        holder=holder,
        state=word,
        was=belief.state.value if belief is not None and current is None else "",
        away=holder is not None and holder != vip.home,
        answers=_answers(current),
        answered_us=None if answered_us is None else answered_us + age_us,
        reason=short(belief.reason) if belief is not None else "nothing is known of it",
        waiting_for=short(belief.waiting_for) if belief is not None else "",
        since_us=None if belief is None else belief.since_us + age_us,
        term=None if placement is None else number(*placement.term),
        lease_us=None if belief is None else belief.lease_us or None,
        incident=None if belief is None else belief.incident,
        sentence="",
    )
    view["sentence"] = short(sentence(view))
    return view


def sentence(view: VipView) -> str:
    """Return what a VIP does, and why, in a sentence."""
    about, holder = f"{view['name']} ({view['address']})", view["holder"] or "nobody"
    why = f", {because(view['reason'])}" if view["reason"] else ""
    ago = "" if view["since_us"] is None else f", for {length(view['since_us'])}"
    match view["state"]:
        case "held" if view["away"]:
            return f"{about} is held by {holder}, away from its home {view['home']}{ago}{why}"
        case "held":
            return f"{about} is held by {holder}, its home{ago}"
        case "taking":
            return f"{about} is being taken by {holder}, and not yet answered there{why}"
        case "waiting":
            return f"{about} is to go to {holder}, and nobody holds it yet{ago}{why}"
        case "dark":
            return f"{about} is dark: nobody holds it{ago}{why}"
        case _:
            was = f" (it was {view['was']}, on {holder})" if view["was"] else ""
            return f"{about} is unknown{was}"


def _holder(belief: VipBelief | None, placement: Placement | None) -> str | None:
    if belief is not None and belief.holder:
        return belief.holder
    return None if placement is None else placement.holder


def _answers(belief: VipBelief | None) -> Truth:
    if belief is None:
        return "unknown"
    match belief.state:
        case VipState.HELD:
            return "yes"
        case VipState.TAKING:
            return "unknown"
        case VipState.WAITING | VipState.DARK:
            return "no"


def held_by(state: State, situation: Situation | None, node: str) -> list[str]:
    """Return the VIPs that a node holds, as far as is known, in the configuration's order."""
    if situation is None:
        return []
    return [
        name
        for name in state.cluster.vips
        if (belief := situation.vips.get(name)) is not None
        and belief.holder == node
        and belief.state not in _SILENT
    ]


def silent_vips(state: State, situation: Situation) -> list[str]:
    """Return the VIPs that nobody answers for: they are waited for, dark, or unheard of."""
    return [
        name
        for name in state.cluster.vips
        if (belief := situation.vips.get(name)) is None or belief.state in _SILENT
    ]


def vip_readiness(situation: Situation | None) -> list[VipTakeoverView]:
    """Return whether each VIP could be taken over if its holder failed now."""
    takeovers = () if situation is None else situation.readiness.vips
    return [
        VipTakeoverView(
            vip=short(item.vip),
            holder=short(item.holder),
            to=[short(node) for node in item.to],
            ready=item.ready,
            reason=short(item.reason),
            sentence=short(vip_takeover_text(item)),
        )
        for item in takeovers
    ]


def vip_rows(state: State, plan: Plan | None, now: Instant) -> Iterator[VipRow]:
    """Yield a row for each VIP on the node that is to hold it, and wherever else it was taken.

    `plan` is the plan in force, or None if it is not known now.
    """
    for name in state.cluster.vips:
        placement = plan.vips.get(name) if plan is not None else None
        wanted = None if placement is None else placement.holder
        for node in state.cluster.nodes:
            given_up = node != wanted and _still_there(state, node, name, now)
            if node == wanted or given_up or (wanted is None and node == _last_holder(state, name)):
                yield _row(state, name, node, placement, now)


def _last_holder(state: State, name: str) -> str | None:
    belief = state.situation.value.vips.get(name) if state.situation is not None else None
    return belief.holder if belief is not None else state.cluster.vips[name].home


def _taken(state: State, node: str, name: str) -> bool:
    """Return whether a node's last word on a VIP was that it has it."""
    said = state.held.get((node, name))
    return said is not None and said.value.holding in _TAKEN


def _still_there(state: State, node: str, name: str, now: Instant) -> bool:
    """Return whether a node has not given up what is waited for; an old word proves nothing else.

    Whoever was lost never says so: once another node holds it, the lease of the lost has ended.
    """
    return vip_view(state, name, now)["state"] == "waiting" and _taken(state, node, name)


def _row(state: State, name: str, node: str, placement: Placement | None, now: Instant) -> VipRow:
    view = vip_view(state, name, now)
    here = placement is not None and placement.holder == node
    installed = _installed(state, view, node)
    verified: Truth = "unknown"
    if installed == "here":
        verified = "yes" if view["state"] == "held" else "unknown"
    vip = state.cluster.vips[name]
    return VipRow(
        node=node,
        vip=name,
        address=view["address"],
        wanted=None if placement is None else "here" if here else "elsewhere",
        installed=installed,
        verified=verified,
        verified_us=view["answered_us"] if installed == "here" and here else None,
        term=view["term"],
        home=vip.home,
        differs=placement is None or (installed == "here") != here,
        by="" if placement is None else f"plan {placement.term[0]}.{placement.term[1]}",
    )


def _installed(state: State, view: VipView, node: str) -> Literal["here", "not here"] | None:
    """Return what a node's guard shows: by the arbiter, who hears its beats, or its own word."""
    if view["state"] == "unknown":
        return None
    if view["holder"] == node:
        if view["state"] == "held":
            return "here"
        if view["state"] == "taking":
            return "here" if _taken(state, node, view["name"]) else "not here"
        return "not here"
    return (
        "here" if view["state"] == "waiting" and _taken(state, node, view["name"]) else "not here"
    )
