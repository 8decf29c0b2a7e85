"""What documents, alerts and boards say of metrics is what the code measures."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from shared.measures import Kind
from tests.metrics import BY_PROGRAM, DOCUMENT, ROOT, TARGET_LABELS, document, unknown_in

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
SCRAPING = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
BOARD = ROOT / "deploy" / "grafana" / "equipoise.json"
WANTED = {
    "NotServing",
    "NoSpare",
    "VipNotHeld",
    "VipHeldTwice",
    "RuleDrift",
    "Flapping",
    "ConfigDiffers",
    "OverrideEndsSoon",
    "BusLost",
    "ProcessNotReady",
}
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


def expressions(value: object) -> Iterator[str]:
    """Yield what a board asks Prometheus."""
    match value:
        case dict():
            if isinstance(expression := value.get("expr"), str):
                yield expression
            for part in value.values():
                yield from expressions(part)
        case list():
            for part in value:
                yield from expressions(part)
        case _:
            return


ASKED = tuple(expressions(json.loads(BOARD.read_text())))


def test_the_page_of_metrics_is_made_from_the_code() -> None:
    assert DOCUMENT.read_text() == document(), "run `make docs`"


def test_names_follow_prometheus() -> None:
    for metric in (metric for metrics in BY_PROGRAM.values() for metric in metrics):
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert metric.kind is not Kind.HISTOGRAM or metric.name.endswith("_seconds")
        assert not TARGET_LABELS & set(metric.labels), f"{metric.name}: scraping sets these"


def test_a_name_means_the_same_in_every_program() -> None:
    known: dict[str, object] = {}
    for metrics in BY_PROGRAM.values():
        for metric in metrics:
            assert known.setdefault(metric.name, metric) == metric


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("equipoise_bus_connceted == 0", ["equipoise_bus_connceted"]),
        ('equipoise_vip_holders{node="a"} > 1', ["equipoise_vip_holders{node}"]),
        ("sum by (vpi) (equipoise_vip_held)", ["vpi"]),
        ("rate(equipoise_probe_duration_seconds[5m])", ["equipoise_probe_duration_seconds"]),
        ("count(count by (hash) (equipoise_config_info)) > 1", []),
    ],
)
def test_what_nothing_measures_is_found(expression: str, unknown: list[str]) -> None:
    assert list(unknown_in(expression)) == unknown


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_uses_what_is_measured_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert list(unknown_in(rule["expr"])) == []
    assert rule["labels"]["severity"] in {"page", "warning"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (\S+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]
    assert "; " in rule["annotations"]["summary"], "what is wrong; what to do"
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert list(unknown_in(f"sum by ({', '.join(shown)}) ({rule['expr']})")) == []


def test_nothing_that_must_be_alarmed_is_missing() -> None:
    assert {rule["alert"] for rule in RULES} >= WANTED


@pytest.mark.parametrize("expression", ASKED)
def test_the_board_shows_what_is_measured(expression: str) -> None:
    assert list(unknown_in(expression)) == []


def test_the_board_has_room_for_every_panel() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(BOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_scraping_names_programs_and_sets_the_labels_that_alerts_use() -> None:
    (job,) = yaml.safe_load(SCRAPING.read_text())["scrape_configs"]
    assert job["job_name"] == "equipoise"
    for targets in job["static_configs"]:
        assert set(targets["labels"]) == {"member", "program"}
        assert targets["labels"]["program"] in BY_PROGRAM
