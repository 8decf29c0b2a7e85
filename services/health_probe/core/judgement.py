"""What one sample means for what an observer thinks of an instance.

Rule 1: of what probes meet, only a refused connection is conclusive, and counts at once: a process
that listens is there, whatever ails it, and lateness of ours cannot make a kernel refuse. What an
engine says of a container comes with its grade, and counts at once too.
Rule 2: everything else that is bad is suspicious and counts after `fall` in a row.
Rule 3: health needs `rise` in a row, from the start too: unknown is not healthy.
Rule 4: what failed while we were late may have failed because of us. It is not judged: we
abstain from this instance until a sample of it can be judged.

             rise good in a row                    a refusal, or fall bad in a row
    UNKNOWN ------------------> HEALTHY <----------------------------------------+
       |                           |                rise good in a row           |
       |                           +------------------> UNHEALTHY ---------------+
       +-- a refusal, or fall bad ----------------------^
"""

from dataclasses import dataclass

from services.health_probe.core import answers
from services.health_probe.core.signs import Outcome, shown
from shared.cluster import Probe
from shared.frozen import replace
from shared.instant import Duration, Instant
from shared.messages.health import Grade, Sign, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A probe that ended."""

    outcome: Outcome
    began_at: Instant
    ended_at: Instant
    timeout_us: Duration
    late_us: Duration  # how late our own loop was meanwhile
    graded: Grade = Grade.NONE  # by an engine, which saw for itself; NONE: as the sign says


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What an observer thinks of an instance, and why."""

    verdict: Verdict = Verdict.UNKNOWN
    grade: Grade = Grade.NONE
    sign: Sign = Sign.NOTHING
    detail: str = "not probed yet"
    value: str = ""
    timeout_us: Duration = answers.TIMEOUT_MAX  # that the newest sample was held against
    good: int = 0  # in a row
    bad: int = 0  # in a row
    first_bad_at: Instant | None = None  # the first sign of this run of bad ones
    alarmed_at: Instant | None = None  # the kept connection was lost, and nothing judged since
    ended_at: Instant | None = None  # of the newest sample
    abstains: bool = False
    late_us: Duration = 0
    answers: tuple[Duration, ...] = ()


def timeout_of(judgement: Judgement, probe: Probe) -> Duration:
    """Return how long the next probe may take."""
    if probe.timeout_us is not None:
        return probe.timeout_us
    if judgement.verdict is Verdict.UNHEALTHY:
        return answers.TIMEOUT_MAX
    return answers.timeout_us(judgement.answers)


def settled(judgement: Judgement, probe: Probe) -> bool:
    """Return whether the instance is healthy and its time-out is no longer the first guess."""
    timed = probe.timeout_us is not None or answers.known(judgement.answers)
    return judgement.verdict is Verdict.HEALTHY and timed


def doubtful(sample: Sample) -> bool:
    """Return whether a failure may be ours: we were late by half of what the answer had."""
    blameless = sample.outcome.sign in (Sign.OK, Sign.REFUSED) or sample.graded is not Grade.NONE
    return not blameless and sample.late_us > sample.timeout_us // 2


def alarm(before: Judgement, now: Instant) -> Judgement:
    """Note that the kept connection was lost: no evidence yet, but when it began if some comes."""
    return replace(before, alarmed_at=now if before.alarmed_at is None else before.alarmed_at)


def abstain(before: Judgement, sample: Sample) -> Judgement:
    """Vouch for nothing; what was known before stays."""
    # The trouble is worth telling where it is the observer's own; a late failure is none.
    own = sample.outcome.sign is Sign.NOTHING
    return replace(
        before,
        detail=sample.outcome.detail if own else before.detail,
        abstains=True,
        late_us=sample.late_us,
    )


def judge(before: Judgement, sample: Sample, probe: Probe) -> Judgement:
    """Return the judgement after one more sample."""
    if sample.outcome.sign is Sign.OK:
        return _good(before, sample, probe)
    return _bad(before, sample, probe)


def _good(before: Judgement, sample: Sample, probe: Probe) -> Judgement:
    good = before.good + 1
    # What comes back may be another process, or slower for good: what was normal is forgotten.
    back = before.verdict is Verdict.UNHEALTHY and before.bad > 0
    healthy = before.verdict is Verdict.HEALTHY or good >= probe.rise
    # An answer that was under way when the connection was lost does not lift the alarm.
    lifted = before.alarmed_at is None or sample.began_at >= before.alarmed_at
    return replace(
        _sampled(before, sample),
        verdict=Verdict.HEALTHY if healthy else before.verdict,
        grade=Grade.NONE,
        good=good,
        bad=0,
        first_bad_at=None,
        alarmed_at=None if lifted else before.alarmed_at,
        answers=answers.learned(() if back else before.answers, sample.outcome.took_us),
    )


def _bad(before: Judgement, sample: Sample, probe: Probe) -> Judgement:
    conclusive = sample.outcome.sign is Sign.REFUSED or sample.graded is Grade.CONCLUSIVE
    bad = before.bad + 1
    at_once = conclusive or sample.graded is not Grade.NONE
    unhealthy = before.verdict is Verdict.UNHEALTHY or at_once or bad >= probe.fall
    return replace(
        _sampled(before, sample),
        verdict=Verdict.UNHEALTHY if unhealthy else before.verdict,
        grade=Grade.CONCLUSIVE if conclusive else Grade.SUSPICIOUS,
        good=0,
        bad=bad,
        first_bad_at=_first_bad_at(before, sample),
    )


def _sampled(before: Judgement, sample: Sample) -> Judgement:
    return replace(
        before,
        sign=sample.outcome.sign,
        detail=sample.outcome.detail,
        value=sample.outcome.value,
        timeout_us=sample.timeout_us,
        ended_at=sample.ended_at,
        abstains=False,
        late_us=sample.late_us,
    )


def _first_bad_at(before: Judgement, sample: Sample) -> Instant:
    if before.first_bad_at is not None:
        return before.first_bad_at
    if before.alarmed_at is not None:
        return before.alarmed_at
    # Silence began when we asked; everything else began when we saw it.
    return sample.began_at if sample.outcome.sign is Sign.TIMEOUT else sample.ended_at


def threshold(judgement: Judgement, probe: Probe) -> str:
    """Return what the newest sample was held against, in words."""
    match judgement.sign:
        case Sign.OK if judgement.verdict is not Verdict.HEALTHY:
            return f"rise {judgement.good} of {probe.rise}"
        case Sign.OK:
            return f"within {shown(judgement.timeout_us)}"
        case Sign.NOTHING:
            return ""
        case Sign.REFUSED:
            return "one refusal is conclusive"
        case Sign.STOPPED:
            return "a container that does not run is conclusive"
        case Sign.FAILING:
            return "by the container's own health check"
        case _:
            return f"fall {min(judgement.bad, probe.fall)} of {probe.fall}"
