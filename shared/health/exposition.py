"""Measures as Prometheus reads them; the only module that knows its client library."""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from shared.instant import SECOND
from shared.measures import BOUNDS_S, Histogram, Kind, Measure

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
PREFIX = "equipoise_"


def exposition(measures: Iterable[Measure]) -> bytes:
    """Return measures in the text format, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Collected(tuple(measures)))
    ProcessCollector(registry=registry)  # its standard names: memory, processor, open files, start
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, measures: tuple[Measure, ...]) -> None:
        self._measures = measures

    def describe(self) -> list[Metric]:
        return []  # registering asks for names otherwise, and would collect twice

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._measures)


def _metric(measure: Measure) -> Metric:
    name = PREFIX + measure.name
    if measure.kind is Kind.HISTOGRAM:
        durations = HistogramMetricFamily(name, measure.help, labels=measure.labels)
        for labels, value in measure.samples.items():
            assert isinstance(value, Histogram), name
            durations.add_metric(labels, _buckets(value), value.total_us / SECOND)
        return durations
    kind = CounterMetricFamily if measure.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(name, measure.help, labels=measure.labels)
    for labels, value in measure.samples.items():
        assert not isinstance(value, Histogram), name
        family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    ends = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    return list(zip(ends, accumulate(histogram.counts), strict=True))
