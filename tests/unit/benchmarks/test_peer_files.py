"""Others' programs accept what is written for them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import envoy
from benchmarks.peers.envoy import Envoy
from benchmarks.peers.haproxy import Haproxy
from benchmarks.peers.keepalived import Keepalived
from benchmarks.peers.places import ENVOY, INTERFACE, KEEPALIVED, NODES, Peer, Places, envoy_program
from benchmarks.peers.stacks import STACKS, Stack, settled, stack
from services.sandbox.guests import Guests
from services.sandbox.machine import find_tools
from tests.eventually import eventually

IFF_MULTICAST = 0x1000
ROUTED = [each for each in STACKS if each.router is not None]
needs_keepalived = pytest.mark.skipif(KEEPALIVED.find() is None, reason=KEEPALIVED.install)
needs_envoy = pytest.mark.skipif(ENVOY.find() is None, reason=ENVOY.install)


def asked(*command: str | Path) -> str:
    result = subprocess.run(
        list(map(str, command)),
        env={"EQUIPOISE_RUN_DIR": "/run", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    return said


def multicasting() -> str | None:
    """Return an interface that VRRP can use out here; it need not be up."""
    for flags in sorted(Path("/sys/class/net").glob("*/flags")):
        if int(flags.read_text(), 16) & IFF_MULTICAST:
            return flags.parent.name
    return None


@pytest.mark.parametrize("each", [x for x in STACKS if isinstance(x.balancer, Haproxy)])
@pytest.mark.parametrize("node", NODES)
def test_haproxy_accepts_what_is_written_for_it(tmp_path: Path, node: str, each: Stack) -> None:
    assert isinstance(each.balancer, Haproxy)
    configured = tmp_path / "haproxy.cfg"
    configured.write_text(each.balancer.file(Places(folder=tmp_path, node=node)))
    said = asked(find_tools(None).haproxy, "-c", "-f", configured)
    assert "WARNING" not in said


@needs_keepalived
@pytest.mark.parametrize("each", ROUTED)
@pytest.mark.parametrize("node", NODES)
def test_keepalived_accepts_what_is_written_for_it(tmp_path: Path, node: str, each: Stack) -> None:
    assert each.router is not None
    places = Places(folder=tmp_path, node=node)
    programs = list(each.router.programs(places))
    assert (programs[0]["member"], programs[0]["name"]) == (node, "keepalived")
    configured = places.file("keepalived.conf")
    here = multicasting()
    if here is None:
        pytest.skip("this machine has no interface as a node has")
    text = configured.read_text().replace(f"interface {INTERFACE}", f"interface {here}")
    configured.write_text(text)
    asked(KEEPALIVED.path, "--config-test", "-f", configured)


@needs_envoy
@pytest.mark.parametrize("each", [x for x in STACKS if isinstance(x.balancer, Envoy)])
@pytest.mark.parametrize("node", NODES)
def test_envoy_accepts_what_is_written_for_it(tmp_path: Path, node: str, each: Stack) -> None:
    assert isinstance(each.balancer, Envoy)
    places = Places(folder=tmp_path, node=node)
    each.balancer.programs(places)
    asked(envoy_program(), "--mode", "validate", "-c", places.file("envoy.json"))


@needs_envoy
@needs_keepalived
@pytest.mark.parametrize("each", STACKS)
def test_what_is_written_is_what_the_sandbox_reads(tmp_path: Path, each: Stack) -> None:
    options = each.options(tmp_path)
    if each.is_ours:
        assert "--guests" not in options
        return
    guests = Guests.read(Path(options[options.index("--guests") + 1]))
    for node in NODES:
        names = {guest.name for guest in guests.programs if guest.member == node}
        assert guests.balance(node) is ("envoy" in names) is isinstance(each.balancer, Envoy)
        # Somebody gives the node its addresses, and only one does.
        assert len(names & {"keepalived", "addresses"}) == 1


def test_each_vip_has_one_home_and_one_number_on_both_nodes(tmp_path: Path) -> None:
    for each in ROUTED:
        assert each.router is not None
        texts = [each.router.file(Places(folder=tmp_path, node=node)) for node in NODES]
        for text in texts:
            assert text.count("state MASTER") == text.count("state BACKUP") == 1
            assert text.count("{") == text.count("}")
        first, second = ([x for x in text.split() if x in {"MASTER", "BACKUP"}] for text in texts)
        assert first == second[::-1]
    assert "advert_int" not in Keepalived().file(Places(folder=tmp_path, node="node-a"))


def test_who_moves_no_address_has_its_own_for_good() -> None:
    scripts = [json.dumps(settled(node)["command"]) for node in NODES]
    assert [script.count("ip address replace") for script in scripts] == [1, 1]
    assert scripts[0] != scripts[1]


def test_unsafe_requests_are_repeated_by_none(tmp_path: Path) -> None:
    places = Places(folder=tmp_path, node="node-a")
    tight = stack("haproxy-tightest").balancer
    assert isinstance(tight, Haproxy)
    backends = tight.file(places).count("\nbackend ")
    assert (
        tight.file(places).count("disable-l7-retry unless { method GET HEAD OPTIONS }") == backends
    )
    assert set(str(envoy.OF_ALL["retry_on"]).split(",")) == {
        "connect-failure",
        "refused-stream",
        "reset-before-request",
    }


def test_envoy_says_whom_it_does_not_ask() -> None:
    def host(name: str, **health: bool) -> dict[str, object]:
        return {"hostname": name, "weight": 1, "health_status": health}

    answer = {
        "cluster_statuses": [
            {
                "name": "shop",
                "host_statuses": [
                    host("node-a"),
                    host("node-b", failed_active_health_check=True),
                    host("node-c", failed_outlier_check=True),
                ],
            }
        ]
    }
    assert envoy.parse(answer) == {"shop": {"node-a": 1, "node-b": None, "node-c": None}}


def test_who_is_not_here_is_named_with_the_way_to_get_it() -> None:
    peer = Peer(name="no-such-program", install="apt-get install it")
    assert peer.missing == "no-such-program is not here (apt-get install it)"
    assert stack("equipoise").missing is None
    assert stack("equipoise").peers == ()


@needs_keepalived
def test_a_version_is_what_the_program_says() -> None:
    assert KEEPALIVED.version[0].isdigit()


def test_the_end_of_a_load_balancer_is_told(tmp_path: Path) -> None:
    number, told = tmp_path / "pid", tmp_path / "down"
    listening = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", listening],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    port = victim.stdout.readline().strip()
    number.write_text(str(victim.pid))
    command = [sys.executable, "-m", "benchmarks.peers.watch", str(number), str(told), port]
    watch = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))
    try:
        asyncio.run(eventually(lambda: told.exists() and told.read_text() == "0\n"))
        victim.kill()
        asyncio.run(eventually(lambda: told.read_text() == "1\n"))
    finally:
        for process in (victim, watch):
            process.kill()
            process.wait()
        victim.communicate()
