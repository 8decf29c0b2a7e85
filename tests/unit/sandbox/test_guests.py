"""Guests: what a file says of them is what runs, and a file that makes no sense is refused."""

import json
from pathlib import Path

import pytest

from services.sandbox.guests import Guest, Guests
from services.sandbox.inner import Orders, client_vips, write_files
from services.sandbox.machine import find_tools
from services.sandbox.network import addresses, node_names
from services.sandbox.options import Extent, Options
from shared.errors import ConfigError

PROGRAM = {"member": "node-a", "name": "other", "command": ["true", "-x"], "ready": "up.*"}


def written(place: Path, content: object) -> Path:
    path = place / "guests.json"
    path.write_text(json.dumps(content))
    return path


def test_a_file_says_what_runs(tmp_path: Path) -> None:
    path = written(tmp_path, {"balancers": {"node-a": "defaults"}, "programs": [PROGRAM]})
    guest = Guest(member="node-a", name="other", command=("true", "-x"), ready="up.*")
    assert Guests.read(path) == Guests(balancers={"node-a": "defaults"}, programs=(guest,))


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"balancers": {}},
        {"balancers": {}, "programs": [{"member": "node-a"}]},
        {"balancers": {}, "programs": [{**PROGRAM, "ready": "("}]},
        {"balancers": {}, "programs": [{**PROGRAM, "more": 1}]},
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(ConfigError, match=r"--guests .*guests\.json cannot be used"):
        Guests.read(written(tmp_path, content))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        Guests.read(tmp_path / "nowhere")


def test_guests_have_their_own_balancer_and_clients_ask_the_vips(tmp_path: Path) -> None:
    path = written(tmp_path, {"balancers": {"node-a": "# a guest's\n"}, "programs": []})
    nodes = node_names(2)
    options = Options(extent=Extent.INFRASTRUCTURE, guests=path)
    orders = Orders(
        options=options, tools=find_tools(None), nodes=nodes, addresses=addresses(nodes)
    )
    folder = tmp_path / "sandbox"
    folder.mkdir()
    write_files(folder, orders)
    assert (folder / "node-a" / "haproxy.cfg").read_text() == "# a guest's\n"
    assert "backend shop" in (folder / "node-b" / "haproxy.cfg").read_text()
    assert set(client_vips(orders)) == {"web", "api"}


def test_where_a_guest_balances_haproxy_does_not_run(tmp_path: Path) -> None:
    path = written(tmp_path, {"balancers": {"node-a": None}, "programs": [PROGRAM]})
    guests = Guests.read(path)
    assert guests.balance("node-a")
    assert not guests.balance("node-b")
    nodes = node_names(2)
    options = Options(extent=Extent.INFRASTRUCTURE, guests=path)
    tools, places = find_tools(None), addresses(nodes)
    folder = tmp_path / "sandbox"
    folder.mkdir()
    write_files(folder, Orders(options=options, tools=tools, nodes=nodes, addresses=places))
    assert not (folder / "node-a" / "haproxy.cfg").exists()
    assert (folder / "node-b" / "haproxy.cfg").exists()
