"""What the command line refuses, and that it says everything at once."""

from pathlib import Path

import pytest

from services.sandbox.inner import Orders
from services.sandbox.machine import Tools
from services.sandbox.network import addresses, node_names
from services.sandbox.options import Extent, Options, Profile, Weak, parse
from shared.errors import ConfigError


def test_without_options_it_is_two_nodes_with_everything() -> None:
    options = parse([])
    assert (options.nodes, options.extent, options.name) == (2, Extent.EVERYTHING, None)


def test_options_are_read() -> None:
    line = (
        "--nodes 3 --capacities 300,100 --rate 0 --name x-1 --haproxy /usr/sbin/haproxy "
        "--otlp http://127.0.0.1:4318 --only infrastructure --keep-logs logs --profile fast"
    )
    options = parse(line.split())
    assert options == Options(
        name="x-1",
        nodes=3,
        capacities=(300, 100),
        rate=0,
        haproxy=Path("/usr/sbin/haproxy"),
        otlp="http://127.0.0.1:4318",
        keep_logs=Path("logs"),
        extent=Extent.INFRASTRUCTURE,
        profile=Profile.FAST,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nodes", "1"], "--nodes is 1; it must be from 2 to 10"),
        (["--nodes", "many"], "invalid int value"),
        (["--capacities", "1,2,3"], "names 3 nodes; there are 2"),
        (["--capacities", "0"], "from 1 to"),
        (["--capacities", "a,b"], "--capacities"),
        (["--rate", "-1"], "--rate is -1"),
        (["--name", "Über"], "--name is"),
        (["--name", "../etc"], "--name is"),
        (["--name", "x" * 21], "20 characters at most"),
        (["--otlp", "https://collector:4318"], "it must be http://HOST:PORT"),
        (["--otlp", "http://collector"], "it must be http://HOST:PORT"),
        (["--otlp", "http://collector:port"], "it must be http://HOST:PORT"),
        (["--nod", "3"], "unrecognized arguments"),
        (["--only", "everything"], "invalid choice"),
        (["--guests", "guests.json"], "they need --only infrastructure"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match=r"--nodes.*--rate"):
        Options(nodes=1, rate=-1)


def test_orders_cross_to_the_inner_program_unchanged() -> None:
    nodes = node_names(3)
    tools = Tools(
        python="p", unshare="u", nsenter="n", ip="i", setpriv="s", nats_server="b", haproxy="h"
    )
    options = Options(
        nodes=3,
        capacities=(1, 2),
        haproxy=Path("/h"),
        keep_logs=Path("/k"),
        ipv6=True,
        weak=Weak.NO_LEASE_WAIT,
        extent=Extent.INFRASTRUCTURE,
        guests=Path("/g"),
    )
    orders = Orders(options=options, tools=tools, nodes=nodes, addresses=addresses(nodes))
    assert Orders.decode(orders.encode()) == orders
