"""What a switcher measures: how far plans come, what drifts, and what its guard holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.traffic_switcher.core.leases.state import State as LeaseState
from services.traffic_switcher.core.state import State
from shared.frozen import replace
from shared.instant import SECOND, Instant
from shared.measures import Histogram, Labels, Measure, counter, gauge, histogram, one_more
from shared.messages.leases import ClaimSeen, Held, Holding
from shared.messages.table import Message
from shared.messages.traffic import Applied, Drift, Refused, Stage

PLAN_EPOCH = gauge("plan_epoch", "The epoch of the newest plan that this process knows.")
PLAN_SEQUENCE = gauge("plan_sequence", "The number of that plan within its epoch.")
PLAN_INSTALLED = gauge(
    "plan_installed", "Whether the load balancer shows what that plan says: 1 or 0."
)
DRIFT = gauge(
    "rule_drift",
    "Whether an instance's rule in the load balancer is another than planned: 1 or 0.",
    "service",
    "target",
)
APPLIED = counter(
    "applied_total", "Plans that came so far here: installed, verified, or failed.", "stage"
)
REFUSED = counter("refused_total", "Plans that were refused as older than the newest one here.")
DRIFTS = counter(
    "drifts_total",
    "Rules that somebody else changed, put right (yes) or left alone (no).",
    "repaired",
)
STEPS = histogram(
    "plan_step_seconds",
    "How long this node took for its steps of a plan: persist, install, verify.",
    "step",
)
VIP_HELD = gauge(
    "vip_held",
    "Whether the kernel was last told to serve a virtual IP until later than now: 1 or 0.",
    "vip",
    "node",
)
LEASE_REST = gauge(
    "lease_rest_seconds", "How long this node's lease of a virtual IP still runs.", "vip"
)
GUARD_AGE = gauge("guard_age_seconds", "Since the kernel last confirmed what the guard holds.")
HOLDINGS = counter(
    "vip_changes_total",
    "What became of virtual IPs here: taken, answered, released, lapsed, drained.",
    "vip",
    "holding",
)
CLAIMS = counter(
    "vip_claims_total", "Times that somebody else announced a virtual IP held here.", "vip"
)
METRICS = (
    PLAN_EPOCH,
    PLAN_SEQUENCE,
    PLAN_INSTALLED,
    DRIFT,
    APPLIED,
    REFUSED,
    DRIFTS,
    STEPS,
    VIP_HELD,
    LEASE_REST,
    GUARD_AGE,
    HOLDINGS,
    CLAIMS,
)
STEP_NAMES = ("persist", "install", "verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What this process has said of plans since it began."""

    applied: Mapping[Labels, float] = field(
        default_factory=lambda: {(stage.value,): 0 for stage in Stage}
    )
    refused: int = 0
    drifts: Mapping[Labels, float] = field(default_factory=lambda: {("yes",): 0, ("no",): 0})
    steps: Mapping[Labels, Histogram] = field(
        default_factory=lambda: {(name,): Histogram() for name in STEP_NAMES}
    )
    newest: tuple[int, int, str] = (0, 0, "")  # what of which plan was counted last


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseCounts:
    """What this process has said of virtual IPs since it began."""

    holdings: Mapping[Labels, float] = field(default_factory=dict)
    claims: Mapping[Labels, float] = field(default_factory=dict)


def counted(counts: Counts, message: Message) -> Counts:
    """Return the counts after something was said of plans."""
    match message:
        case Applied():
            return _applied(counts, message)
        case Refused():
            return replace(counts, refused=counts.refused + 1)
        case Drift():
            repaired = "yes" if message.repaired else "no"
            return replace(counts, drifts=one_more(counts.drifts, repaired))
        case _:
            return counts


def _applied(counts: Counts, said: Applied) -> Counts:
    """Count how far a plan came; what is said again, as commands are repeated, is not news."""
    newest = (said.epoch, said.sequence, said.stage.value)
    if newest == counts.newest:
        return counts
    applied = one_more(counts.applied, said.stage.value)
    counts = replace(counts, applied=applied, newest=newest)
    if said.stage is not Stage.VERIFIED:
        return counts
    lengths = zip(STEP_NAMES, (said.persist_us, said.install_us, said.verify_us), strict=True)
    steps: Mapping[Labels, Histogram] = {
        (name,): counts.steps[(name,)].with_one(length_us) for name, length_us in lengths
    }
    return replace(counts, steps=steps)


def lease_counted(counts: LeaseCounts, message: Message) -> LeaseCounts:
    """Return the counts after something was said of virtual IPs."""
    match message:
        case Held(vip=vip, holding=holding):
            return replace(counts, holdings=one_more(counts.holdings, vip, holding.value))
        case ClaimSeen(vip=vip):
            return replace(counts, claims=one_more(counts.claims, vip))
        case _:
            return counts


def measures(state: State, counts: Counts) -> Iterator[Measure]:
    """Return how the load balancer follows plans."""
    epoch, sequence = state.memory.fence
    yield PLAN_EPOCH.at(epoch)
    yield PLAN_SEQUENCE.at(sequence)
    yield PLAN_INSTALLED.at(int(state.progress.installed_at is not None and not state.detail))
    drifting = state.alarmed | state.memory.theirs
    drifting |= {(drift.service, drift.target) for drift in state.repairing}
    yield DRIFT.of(
        {
            (service, node): int((service, node) in drifting)
            for service in state.cluster.services
            for node in state.cluster.nodes
        }
    )
    yield APPLIED.of(counts.applied)
    yield REFUSED.at(counts.refused)
    yield DRIFTS.of(counts.drifts)
    yield STEPS.of(counts.steps)


def lease_measures(state: LeaseState, counts: LeaseCounts, now: Instant) -> Iterator[Measure]:
    """Return what this node holds, by what the kernel was last told."""
    held = {name: vip.committed_ends_at > now for name, vip in state.vips.items()}
    yield VIP_HELD.of({(name, state.node): int(is_held) for name, is_held in held.items()})
    yield LEASE_REST.of(
        {(name,): max(vip.ends_at - now, 0) / SECOND for name, vip in state.vips.items()}
    )
    yield GUARD_AGE.at((now - state.guard_at) / SECOND)
    nothing = {(name, each.value): 0.0 for name in state.vips for each in Holding}
    yield HOLDINGS.of(nothing | dict(counts.holdings))
    yield CLAIMS.of({(name,): 0.0 for name in state.vips} | dict(counts.claims))
