"""What observers say about an instance, and what it amounts to."""

from dataclasses import dataclass

from services.arbiter.core.state import EVIDENCE_AGE_MAX_US, Instance, State, View
from shared.frozen import replace
from shared.instant import Instant
from shared.messages.facts import EvidenceItem
from shared.messages.health import Evidence, Grade, Verdict

CONFIRMING = 2  # observers that make a suspicion true, where there are so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What all counting views of an instance amount to, and which of them are bad."""

    verdict: Verdict
    conclusive: bool
    bad: tuple[View, ...]
    counting: int  # observers that were fresh and vouched for what they said
    needed: int  # of suspicious ones, to believe them


def heard(instance: Instance, evidence: Evidence, now: Instant) -> Instance:
    """Return the instance with an observer's newest word; older words change nothing."""
    known = instance.views.get(evidence.observer)
    if known is not None:
        old = known.evidence
        if old.boot_id == evidence.boot_id and old.sequence > evidence.sequence:
            return instance
    views = {**instance.views, evidence.observer: View.of(evidence, now)}
    return replace(instance, views=views)


def judge(state: State, instance: Instance, now: Instant) -> Judgement:
    """Weigh the fresh views: one conclusive is enough, suspicious ones need company.

    Suspicion counts when at least two observers share it, or all there are; who they are is known
    once everybody had the time to speak since we began or woke. An observer that fell silent, or
    spoke before that, does not count; no evidence is no action. Who abstains is there all the same:
    where the machine beside the instance is starved and the network loses packets, the other's
    time-outs alone would move what works.
    """
    there = [
        view
        for _, view in sorted(instance.views.items())
        if now - view.received_at <= EVIDENCE_AGE_MAX_US and view.received_at > state.trusted_since
    ]
    fresh = [view for view in there if not view.evidence.abstains]
    bad = tuple(view for view in fresh if view.evidence.verdict is Verdict.UNHEALTHY)
    conclusive = any(view.evidence.grade is Grade.CONCLUSIVE for view in bad)
    has_listened = now - state.trusted_since > EVIDENCE_AGE_MAX_US
    needed = max(1, min(CONFIRMING, len(there) if has_listened else len(state.cluster.nodes)))
    if conclusive or len(bad) >= needed:
        verdict = Verdict.UNHEALTHY
    elif state.members[instance.node].is_lost:
        verdict = Verdict.UNKNOWN  # a frozen machine's kernel still accepts connections
    elif fresh and all(view.evidence.verdict is Verdict.HEALTHY for view in fresh):
        verdict = Verdict.HEALTHY
    else:
        verdict = Verdict.UNKNOWN
    return Judgement(
        verdict=verdict, conclusive=conclusive, bad=bad, counting=len(fresh), needed=needed
    )


def settles(evidence: Evidence) -> bool:
    """Whether this one piece of evidence is enough to act on at once."""
    return (
        evidence.grade is Grade.CONCLUSIVE
        and evidence.verdict is Verdict.UNHEALTHY
        and not evidence.abstains
    )


def items(judgement: Judgement, now: Instant) -> tuple[EvidenceItem, ...]:
    """Return the reasons for a decision, as people are shown them."""
    return tuple(
        EvidenceItem(
            observer=view.evidence.observer,
            boot_id=view.evidence.boot_id,
            sequence=view.evidence.sequence,
            what=view.evidence.detail,
            value=view.evidence.value,
            threshold=view.evidence.threshold,
            grade=view.evidence.grade,
            sign=view.evidence.sign,
            age_us=now - view.first_at,
        )
        for view in judgement.bad
    )


def cause(judgement: Judgement) -> str:
    """Say in a few words what is wrong, by the strongest evidence."""
    assert judgement.bad
    ranked = sorted(judgement.bad, key=lambda view: view.evidence.grade is not Grade.CONCLUSIVE)
    return ranked[0].evidence.detail


def identity(instance: Instance) -> str | None:
    """Return what the instance says it is: its own node's observer knows best."""
    local = instance.views.get(instance.node)
    if local is not None and local.evidence.identity is not None:
        return local.evidence.identity
    for _, view in sorted(instance.views.items()):
        if view.evidence.identity is not None:
            return view.evidence.identity
    return None
