"""Whether this arbiter can do its work now."""

from services.arbiter.core.state import State
from shared.health import Check
from shared.instant import SECOND, Duration, Instant, milliseconds

STILL_US: Duration = SECOND  # fifty ticks missed: what decides does not decide


def own_readiness(state: State | None, now: Instant) -> tuple[Check, ...]:
    """Return what must be so for failures to be decided on."""
    if state is None:
        text = "the plan in force is not known yet: the nodes' switchers are being asked for it"
        return (Check(name="plan", failure=text),)
    return (
        Check(name="plan", note=f"plan {state.plan.epoch}.{state.plan.sequence}"),
        _deciding(state, now),
        _heard(state, now),
    )


def _deciding(state: State, now: Instant) -> Check:
    idle_us = now - state.touched_at
    if idle_us > STILL_US:
        text = f"nothing was decided for {milliseconds(idle_us):.0f} ms: this machine is starved"
        return Check(name="deciding", failure=text)
    awake = "" if state.awake else "it slept, and hears what it missed"
    return Check(name="deciding", failure=awake)


def _heard(state: State, now: Instant) -> Check:
    """See whether anybody is heard: a node that is lost is its own trouble, all are ours."""
    nodes = sorted(state.cluster.nodes)
    present = state.present(now)
    if not present:
        text = (
            f"no traffic_switcher of {', '.join(nodes)} is heard: start them, or see why the bus"
            " does not carry what they say"
        )
        return Check(name="switchers", failure=text)
    return Check(name="switchers", note=f"hears {len(present)} of {len(nodes)}")
