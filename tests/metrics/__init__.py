"""What the services measure, by name: `docs/metrics.md`, and what alerts and boards may use."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import ProcessCollector

from services.arbiter.core import measures as arbiter
from services.console.core import measures as console
from services.health_probe.core import measures as health_probe
from services.heartbeat.core import measures as heartbeat
from services.traffic_switcher.core import measures as traffic_switcher
from shared.health import process
from shared.health.exposition import PREFIX
from shared.measures import Kind, Metric

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "metrics.md"
EVERY = "every service"
BY_PROGRAM: Mapping[str, tuple[Metric, ...]] = {
    EVERY: process.METRICS,
    "arbiter": arbiter.METRICS,
    "console": console.METRICS,
    "health_probe": health_probe.METRICS,
    "heartbeat": heartbeat.METRICS,
    "traffic_switcher": traffic_switcher.METRICS,
}
# Prometheus itself adds these: `job`, `instance` always, the others by our scrape configuration.
TARGET_LABELS = frozenset({"job", "instance", "member", "program"})
WORDS = {"and", "or", "unless", "bool", "offset"}
OPENING = """# What the services measure

Every service answers `/metrics` in Prometheus' text format, on `<program>.health.sock` in its run
directory and on TCP where `EQUIPOISE_HEALTH` names an address. Nothing is measured unless somebody
asks. Labels take their values from the configuration and from fixed lists, so their number does not
grow by what happens. `/metrics` adds the standard `process_*` of Prometheus' client library:
memory, processor time and start.

* `deploy/prometheus/prometheus.yaml`: a scrape configuration to start from.
* `deploy/prometheus/alerts.yaml`: alert rules; [alerts.md](alerts.md) says what to do about each.
* `deploy/grafana/equipoise.json`: a board.

This page is made from the code by `make docs`.
"""


def document() -> str:
    """Return the page of all metrics."""
    return "\n".join([OPENING, *(_section(name, each) for name, each in BY_PROGRAM.items())])


def _section(program: str, metrics: tuple[Metric, ...]) -> str:
    title = f"## {program[0].upper()}{program[1:]}" if program == EVERY else f"## `{program}`"
    rows = [
        f"| `{PREFIX}{one.name}` | {one.kind} | {', '.join(f'`{n}`' for n in one.labels)} |"
        f" {one.help} |"
        for one in metrics
    ]
    return "\n".join(
        [title, "", "| name | kind | labels | meaning |", "|---|---|---|---|", *rows, ""]
    )


def series() -> dict[str, frozenset[str]]:
    """Return the names that Prometheus knows, each with the labels that it may have."""
    found: dict[str, frozenset[str]] = {"up": TARGET_LABELS, "ALERTS": frozenset({"alertname"})}
    for one in ProcessCollector(registry=None).collect():
        found |= {sample.name: TARGET_LABELS for sample in one.samples}
    for metrics in BY_PROGRAM.values():
        for metric in metrics:
            labels = TARGET_LABELS | frozenset(metric.labels)
            if metric.kind is Kind.HISTOGRAM:
                for end in ("bucket", "sum", "count"):
                    more = {"le"} if end == "bucket" else set()
                    found[f"{PREFIX}{metric.name}_{end}"] = labels | more
            else:
                found[PREFIX + metric.name] = labels
    return found


def unknown_in(expression: str) -> Iterator[str]:
    """Yield the names and labels in an expression of PromQL that nothing measures."""
    known = series()
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    mentioned: set[str] = set()
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?", _names_only(bare)):
        if name in WORDS:
            continue
        if name not in known:
            yield name
            continue
        mentioned |= known[name]
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in known[name]:
                yield f"{name}{{{label}}}"
    for labels in re.findall(
        r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare
    ):
        yield from (
            label for each in labels.split(",") if (label := each.strip()) not in {*mentioned, ""}
        )


def _names_only(expression: str) -> str:
    """Leave out lists of labels, functions, ranges, and numbers with units."""
    lists = r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
    without_lists = re.sub(lists, " ", expression)
    return re.sub(r"\b[a-z_]+\s*\(|\[[^\]]*\]|\b\d[\w.]*", " ", without_lists)
