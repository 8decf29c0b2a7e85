"""One composed cluster for all tests here, and what was measured with it, told in the end."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.sandbox.drills.report import DrillResult, longest
from shared.clock import SystemClock
from shared.instant import SECOND
from tests.compose.playing import Running, running

LEFT = Path(tempfile.gettempdir()) / "equipoise-test-compose"  # of the last run: logs, results
SHOWN_LINES = 3
RESULTS: list[DrillResult] = []
FIGURES: dict[str, float] = {}
COLUMNS = ("noticed", "switched", "VIP elsewhere", "dark", "failed", "slowest")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Running]:
    """Bring the cluster up; its figures count from the moment compose was asked."""
    LEFT.mkdir(exist_ok=True)
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="equipoise-test-") as folder:
        begin_at = clock.now()
        with running(Path(folder), dict(os.environ)) as found:
            found.until_serving()
            FIGURES["up to serving, first time, s"] = (clock.now() - begin_at) / SECOND
            yield found


@pytest.fixture(autouse=True)
def logs_of_failures(cluster: Running, request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep what the containers said while a test failed, and show the end of it."""
    begin_s = SystemClock().wall() // SECOND
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed == failed_before:
        return
    folder = LEFT / request.node.name.replace("/", "-")
    folder.mkdir(exist_ok=True)
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    reporter.write_line(f"\nlogs of the containers: {folder}")
    for service, said in cluster.composed.logs(begin_s):
        (folder / f"{service}.log").write_text(said)
        for line in said.splitlines()[-SHOWN_LINES:]:
            reporter.write_line(f"{service:20} {line[:300]}")


def row(play: DrillResult) -> list[str]:
    """Return what the table shows of a play."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}"

    return [
        f"{play['drill']} {play['target']}",
        shown(play["noticed_ms"]),
        shown(play["switched_ms"]),
        shown(longest(play["vip_moved_ms"])),
        shown(longest(play["vip_dark_ms"])),
        f"{play['requests']['failed']}/{play['requests']['sent']}",
        shown(play["requests"]["slowest_ms"]),
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was measured; nothing of it is asserted."""
    if not RESULTS:
        return
    terminalreporter.section("drills on the composed cluster, ms")
    rows = [["", *COLUMNS], *map(row, RESULTS)]
    widths = [max(len(each[place]) for each in rows) for place in range(len(rows[0]))]
    for each in rows:
        cells = [x.rjust(width) for x, width in zip(each[1:], widths[1:], strict=True)]
        terminalreporter.write_line("  ".join([each[0].ljust(widths[0]), *cells]))
    for what, value in FIGURES.items():
        terminalreporter.write_line(f"{what}: {value:.1f}")
    (LEFT / "results.json").write_text(json.dumps({"drills": RESULTS, "figures": FIGURES}))
