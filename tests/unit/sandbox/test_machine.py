"""What is said when the machine lacks something, and that the generated files are accepted."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from services.sandbox import configuration
from services.sandbox.inner import Orders, write_files
from services.sandbox.machine import Tools, check_runs, find_tools, isolation
from services.sandbox.network import addresses, node_names
from services.sandbox.options import Extent, Options
from shared.errors import MachineError
from shared.rules import original
from shared.settings.load import load


@pytest.fixture(scope="module")
def tools() -> Tools:
    return find_tools(None)


def orders(tools: Tools, options: Options) -> Orders:
    nodes = node_names(options.nodes)
    return Orders(options=options, tools=tools, nodes=nodes, addresses=addresses(nodes))


def test_a_haproxy_that_is_not_there_is_named() -> None:
    with pytest.raises(MachineError, match="/no/such/haproxy, which --haproxy names"):
        find_tools(Path("/no/such/haproxy"))


def test_a_program_that_does_not_start_is_refused_with_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "haproxy"
    program.write_text("#!/bin/sh\necho 'libssl.so.3 is missing' >&2; exit 127\n")
    program.chmod(0o755)
    with pytest.raises(MachineError, match=r"does not start: libssl\.so\.3 is missing"):
        check_runs(str(program), "-v")


def test_a_machine_that_refuses_a_bridge_is_told_how_to_go_on(tools: Tools, tmp_path: Path) -> None:
    # As Ubuntu does it: `unshare` succeeds, what it was for does not.
    denied = tmp_path / "ip"
    denied.write_text("#!/bin/sh\necho 'RTNETLINK answers: Operation not permitted' >&2; exit 2\n")
    denied.chmod(0o755)
    with pytest.raises(MachineError) as refusal:
        isolation(replace(tools, ip=str(denied)))
    text = str(refusal.value)
    assert "Operation not permitted" in text
    assert "To go on: " in text
    assert ("run it as root" in text) == (os.geteuid() != 0)


@pytest.mark.parametrize(("count", "capacities"), [(2, ()), (3, (300, 100)), (10, ())])
def test_the_generated_configuration_is_accepted(
    tools: Tools, tmp_path: Path, count: int, capacities: tuple[int, ...]
) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    options = Options(nodes=count, capacities=capacities)
    write_files(folder, orders(tools, options))
    assert (folder / configuration.KEY).stat().st_mode & 0o777 == 0o600
    for member in (*node_names(count), "witness"):
        settings = load(folder / configuration.CLUSTER_FILE, {"EQUIPOISE_NODE": member})
        assert settings.member == member
        assert settings.cluster.name == "sandbox"
        assert list(settings.cluster.nodes) == list(node_names(count))
    cluster = load(folder / configuration.CLUSTER_FILE, {"EQUIPOISE_NODE": "witness"}).cluster
    rules = original(cluster)
    serving = {node: rule.weight for node, rule in rules["orders"].items()}
    assert [node for node, weight in serving.items() if weight] == ["node-a"]
    if capacities:
        weights: Mapping[str, int] = {n: rule.weight for n, rule in rules["shop"].items()}
        assert weights["node-a"] == 3 * weights["node-b"]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a folder whose sockets' paths are short enough for the kernel."""
    with tempfile.TemporaryDirectory(prefix="eq-", dir="/tmp") as made:
        yield Path(made)


def test_the_real_servers_accept_their_files(tools: Tools, short_path: Path) -> None:
    folder = short_path / "sandbox"
    folder.mkdir()
    write_files(folder, orders(tools, Options(extent=Extent.INFRASTRUCTURE)))
    checks = [
        [tools.nats_server, "-t", "--config", str(folder / "nats.conf")],
        [tools.haproxy, "-c", "-f", str(folder / "node-a" / "haproxy.cfg")],
    ]
    for command in checks:
        result = subprocess.run(command, capture_output=True, timeout=30, check=False)
        assert result.returncode == 0, result.stderr
