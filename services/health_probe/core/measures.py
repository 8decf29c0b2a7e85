"""What an observer measures: how its probes end, how long they take, what it vouches for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.health_probe.core.events import Ended, Target
from services.health_probe.core.instance import Instance
from shared.instant import Instant
from shared.measures import Histogram, Labels, Measure, counter, gauge, histogram
from shared.messages.health import Sign, Verdict

RESULTS = counter(
    "probe_results_total", "Probes that ended, by what they met.", "service", "node", "result"
)
DURATIONS = histogram("probe_duration_seconds", "How long probes took.", "service", "node")
RUNNING = gauge("probes_running", "Probes that are under way.")
HEALTHY = gauge(
    "probe_healthy",
    "What is concluded of each instance: 1 healthy, 0 not, or not known yet.",
    "service",
    "node",
)
ABSTAINS = gauge(
    "probe_abstains",
    "Whether this observer vouches for nothing here, by trouble of its own: 1 or 0.",
    "service",
    "node",
)
METRICS = (RESULTS, DURATIONS, RUNNING, HEALTHY, ABSTAINS)


@dataclass(slots=True)
class Tally:
    """What became of all probes; it changes in place, being looked at seldom and added to often."""

    results: dict[tuple[Target, Sign], int] = field(default_factory=dict)
    durations: dict[Target, Histogram] = field(default_factory=dict)
    ended_at: Instant | None = None

    def add(self, ended: Ended, now: Instant) -> None:
        """Count a probe that ended."""
        key = (ended.target, ended.outcome.sign)
        self.results[key] = self.results.get(key, 0) + 1
        before = self.durations.get(ended.target) or Histogram()
        self.durations[ended.target] = before.with_one(ended.outcome.took_us)
        self.ended_at = now


def measures(instances: Mapping[Target, Instance], tally: Tally) -> Iterator[Measure]:
    """Return what was counted, and what is concluded now."""
    results: dict[Labels, float] = {
        (*target, sign.value): count for (target, sign), count in sorted(tally.results.items())
    }
    never: dict[Labels, float] = {(*target, Sign.OK.value): 0.0 for target in instances}
    yield RESULTS.of(never | results)
    yield DURATIONS.of({tuple(target): tally.durations[target] for target in tally.durations})
    yield RUNNING.at(sum(len(each.asking.asked) for each in instances.values()))
    yield HEALTHY.of(
        {
            tuple(target): int(each.judgement.verdict is Verdict.HEALTHY)
            for target, each in instances.items()
        }
    )
    yield ABSTAINS.of(
        {tuple(target): int(each.judgement.abstains) for target, each in instances.items()}
    )
