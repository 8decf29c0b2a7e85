"""The sandbox's own program inside its namespaces: an init, and the cluster's keeper.

Process 1 of a process namespace inherits every orphan, and everything ends with it. So it does
nothing but reap, and ends when its one child ends, which does the work: what that child starts
is nobody else's to reap. The child ends when the launcher closes a pipe, or dies.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.sandbox import configuration
from services.sandbox.control import SOCKET, ControlServer
from services.sandbox.drills.names import Name
from services.sandbox.faults import Faults
from services.sandbox.guests import Guests
from services.sandbox.machine import Tools
from services.sandbox.network import CLIENT, GATE, WITNESS, Network, client_side, hardware, vips
from services.sandbox.options import Extent, Options, Output, Profile, Weak
from services.sandbox.parts import CLIENT_PLAN, OBSERVER_PLAN, Parts
from services.sandbox.relay import carrier
from services.sandbox.supervisor import Supervisor
from shared.clock import SystemClock
from shared.errors import EquipoiseError
from shared.instant import SECOND, Duration

READY_WITHIN_US: Duration = 60 * SECOND  # a dozen Python programs at once on two slow cores
ORDERS = "sandbox.json"  # what the launcher found out and decided
TRACES_SOCKET = "traces.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the launcher tells the inner program."""

    options: Options
    tools: Tools
    nodes: tuple[str, ...]
    addresses: Mapping[str, str]

    def encode(self) -> str:
        """Return them as text."""
        options = {name: getattr(self.options, name) for name in Options.__slots__}
        tools = {name: getattr(self.tools, name) for name in Tools.__slots__}
        content = {
            "options": options,
            "tools": tools,
            "nodes": self.nodes,
            "addresses": self.addresses,
        }
        return json.dumps(content, default=str)

    @classmethod
    def decode(cls, text: str) -> "Orders":
        """Read them."""
        content: dict[str, Any] = json.loads(text)
        options: dict[str, Any] = content["options"]
        options["capacities"] = tuple(options["capacities"])
        options["extent"] = Extent(options["extent"])
        options["profile"] = Profile(options["profile"])
        options["weak"] = Weak(options["weak"]) if options["weak"] else None
        options["output"] = Output(options["output"])
        options["drills"] = tuple(Name(name) for name in options["drills"])
        for name in ("haproxy", "keep_logs", "guests"):
            options[name] = Path(options[name]) if options[name] else None
        return cls(
            options=Options(**options),
            tools=Tools(**content["tools"]),
            nodes=tuple(content["nodes"]),
            addresses=content["addresses"],
        )


def write_files(folder: Path, orders: Orders) -> None:
    """Write every file that a program of the cluster reads."""
    addresses = orders.addresses
    of_nodes = {node: addresses[node] for node in orders.nodes}
    (folder / "logs").mkdir()
    for member in addresses:
        (folder / member / "state").mkdir(parents=True)
    key = folder / configuration.KEY
    key.touch(mode=0o600)
    key.write_text(os.urandom(32).hex() + "\n")
    (folder / configuration.CLUSTER_FILE).write_text(
        configuration.cluster_file(orders.options, folder.name, orders.nodes, addresses)
    )
    store = folder / WITNESS / "jetstream"
    (folder / "nats.conf").write_text(configuration.bus_file(store, addresses[WITNESS]))
    services = {service.name: service.listen for service in configuration.SERVICES}
    near = client_side(orders.nodes)
    near_nodes = {node: near[node] for node in orders.nodes}
    plan = {"nodes": near_nodes, "vips": client_vips(orders), "services": services}
    (folder / CLIENT_PLAN).write_text(json.dumps(plan))
    if orders.options.extent is Extent.INFRASTRUCTURE:
        guests = Guests.of(orders.options)
        for node in orders.nodes:
            if not guests.balance(node):
                ours = configuration.balancer_file(of_nodes, folder / node)
                (folder / node / "haproxy.cfg").write_text(guests.balancers.get(node) or ours)


def client_vips(orders: Orders) -> dict[str, str]:
    """Return the addresses that the client asks: none where nobody moves them."""
    if orders.options.extent is Extent.INFRASTRUCTURE and not orders.options.guests:
        return {}
    found = vips(orders.nodes, ipv6=orders.options.ipv6)
    return {name: vip.address for name, vip in found.items()}


def observer_plan(orders: Orders, network: Network) -> dict[str, object]:
    """Return what the observers are told: where to look, and for what."""
    near = client_side(orders.nodes)
    found = vips(orders.nodes, ipv6=orders.options.ipv6)
    return {
        "nodes": {node: network.holder(node) for node in orders.nodes},
        "wire": {"holder": network.holder(CLIENT)},
        "vips": {name: vip.address for name, vip in found.items()},
        "hardware": {hardware(near[node]): node for node in orders.nodes},
    }


async def keep(folder: Path, orders: Orders, network: Network, stop_pipe: int) -> None:
    """Run the cluster until the launcher closes its pipe."""
    parts = Parts(
        options=orders.options,
        folder=folder,
        nodes=orders.nodes,
        addresses=orders.addresses,
        network=network,
    )
    clock = SystemClock()
    supervisor = Supervisor(parts.programs(), clock)
    faults = Faults(supervisor=supervisor, network=network, clock=clock)
    server = await ControlServer(supervisor, network, faults).listen(folder / SOCKET)
    relay = await _relay_traces(folder) if orders.options.otlp else None
    supervisor.start()
    try:
        await _first(until_closed(stop_pipe), supervisor.until_failed(), _start_up(supervisor))
    finally:
        await supervisor.stop()
        server.close()
        if relay:
            relay.close()


async def _start_up(supervisor: Supervisor) -> None:
    """End the sandbox if it does not get ready; the launcher says so if it does."""
    await supervisor.until_ready(READY_WITHIN_US)
    await asyncio.Event().wait()


async def _first(*works: Coroutine[None, None, None]) -> None:
    """Wait until one of several is done, and drop the others; its error is ours."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


async def until_closed(pipe: int) -> None:
    """Return when nobody holds the other end of a pipe any more."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, closed.set)  # nothing is ever written: readable means closed
    try:
        await closed.wait()
    finally:
        loop.remove_reader(pipe)


async def _relay_traces(folder: Path) -> asyncio.Server:
    outside = folder / TRACES_SOCKET
    serve = carrier(lambda: asyncio.open_unix_connection(outside))
    return await asyncio.start_server(serve, GATE, configuration.TRACES_PORT)


def work(folder: Path, stop_pipe: int) -> int:
    """Make the network and the files, and run the cluster."""
    try:
        orders = Orders.decode((folder / ORDERS).read_text())
        network = Network(tools=orders.tools, nodes=orders.nodes, ipv6=orders.options.ipv6)
        network.build()
        write_files(folder, orders)
        (folder / OBSERVER_PLAN).write_text(json.dumps(observer_plan(orders, network)))
        asyncio.run(keep(folder, orders, network, stop_pipe))
    except EquipoiseError as problem:
        print(f"equipoise sandbox: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


def main(arguments: Sequence[str]) -> int:
    """Be process 1: reap, and end with the child that works."""
    folder, stop_pipe, lock = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    child = os.fork()
    if child == 0:
        os.set_inheritable(stop_pipe, False)  # noqa: FBT003
        os.set_inheritable(lock, False)  # noqa: FBT003
        os._exit(_flushed(work(folder, stop_pipe)))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF


def _flushed(code: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
