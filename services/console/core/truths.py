"""The three truths of each load balancer: wanted, installed, verified; never one for another."""

from dataclasses import dataclass

from services.console.core.state import STALE_US, Balancer, ReadBack, State
from services.console.core.words import length
from shared.api import Truth
from shared.instant import Instant
from shared.messages.traffic import Plan
from shared.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What may be said now of one node's load balancer."""

    balancer: Truth
    balancer_text: str
    installed: Truth  # whether what was read back is what the plan in force says
    verified: Truth
    verified_at: Instant | None
    at: Instant | None  # of the newest report
    back: ReadBack | None
    rules: Rules | None  # what was read back, where it is known


_UNKNOWN = Seen(
    balancer="unknown",
    balancer_text="nothing heard of it",
    installed="unknown",
    verified="unknown",
    verified_at=None,
    at=None,
    back=None,
    rules=None,
)


def seen(state: State, node: str, plan: Plan | None, now: Instant) -> Seen:
    """Return what may be said now of a node's load balancer; silence makes all of it unknown.

    `plan` is the plan in force, or None if it is not known now.
    """
    known = state.balancers.get(node)
    if known is None or known.back is None:
        return _UNKNOWN
    balancer, text, at = _balancer(known, known.back, now)
    if now - known.back.at > STALE_US:
        return Seen(
            balancer=balancer,
            balancer_text=text,
            installed="unknown",
            verified="unknown",
            verified_at=known.back.verified_at,
            at=at,
            back=known.back,
            rules=None,
        )
    installed = _installed(known.back, state.plan_digest if plan is not None else "")
    rules = known.back.rules
    if rules is None and installed == "yes" and plan is not None:
        rules = plan.services  # equal digests are equal rules
    return Seen(
        balancer=balancer,
        balancer_text=text,
        installed=installed,
        verified=_verified(known.back, plan, installed),
        verified_at=known.back.verified_at,
        at=at,
        back=known.back,
        rules=rules,
    )


def _balancer(known: Balancer, back: ReadBack, now: Instant) -> tuple[Truth, str, Instant]:
    measured = known.measured
    if measured is None or now - measured.at > STALE_US:
        return "unknown", f"its switcher was last heard {length(now - back.at)} ago", back.at
    if measured.value.balancer_ok:
        return "yes", measured.value.balancer_detail, measured.at
    return "no", measured.value.balancer_detail or "it does not answer", measured.at


def _installed(back: ReadBack, wanted: str) -> Truth:
    if not wanted or not back.digest:
        return "unknown"
    if back.failed:
        return "no"
    return "yes" if back.digest == wanted else "no"


def _verified(back: ReadBack, plan: Plan | None, installed: Truth) -> Truth:
    """Return whether a real request proved the plan in force, and nothing older."""
    if back.failed:
        return "no"
    if plan is None or installed != "yes" or back.number != plan.number:
        return "unknown"
    return "yes" if back.verified_at is not None else "unknown"
