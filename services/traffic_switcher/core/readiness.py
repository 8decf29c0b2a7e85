"""Whether this switcher can do its work now: for the load balancer, and for virtual IPs."""

from services.traffic_switcher.core.leases.state import State as LeaseState
from services.traffic_switcher.core.state import FIRST, State
from shared.health import Check
from shared.instant import Instant


def readiness(state: State, now: Instant) -> tuple[Check, ...]:
    """Return what must be so for plans to be carried out."""
    return (
        Check(name="haproxy", failure=state.detail),
        Check(name="haproxy_file", failure=_file(state)),
        _plan(state, now),
    )


def _file(state: State) -> str:
    if state.unprepared or state.prepared:
        return state.unprepared
    return "it is being written"


def _plan(state: State, now: Instant) -> Check:
    """Without a plan the load balancer serves by the original rules: that is no failure."""
    if now < state.persist_again_at:
        text = (
            "the newest plan cannot be written: see the log, and make room in the state directory"
        )
        return Check(name="plan", failure=text)
    epoch, sequence = state.memory.fence
    known = state.memory.fence > FIRST
    note = f"plan {epoch}.{sequence}" if known else "none was heard yet: the original rules hold"
    return Check(name="plan", note=note)


def lease_readiness(state: LeaseState) -> tuple[Check, ...]:
    """Return what must be so for this node to hold virtual IPs."""
    unfit = {name: vip.place.unfit for name, vip in sorted(state.vips.items()) if vip.place.unfit}
    floors = "floors cannot be written: make room in the state directory"
    unwritten = state.persist_again_at > 0 and state.persisting is None
    return (
        Check(name="guard", failure=state.guard),
        Check(name="balancer", failure=state.balancer),
        Check(name="vips", failure="; ".join(f"{name}: {why}" for name, why in unfit.items())),
        Check(name="leases_kept", failure=floors if unwritten else ""),
    )
