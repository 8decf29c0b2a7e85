"""Builds a traffic switcher and runs it."""

import asyncio
import os

from services.traffic_switcher.adapters import haproxy_program
from services.traffic_switcher.adapters.haproxy import HaproxyDriver
from services.traffic_switcher.adapters.lease_store import LeaseStore
from services.traffic_switcher.adapters.local_request import LocalRequests
from services.traffic_switcher.adapters.machine import this_machine
from services.traffic_switcher.adapters.plan_store import PlanStore
from services.traffic_switcher.core.haproxy_file import token_of
from services.traffic_switcher.shell import LeaseKeeper, Switcher
from shared.directories import make
from shared.errors import ConfigError
from shared.runtime import Base, run


async def main(base: Base) -> None:
    """Follow the plan, and hold what is granted, until told to stop."""
    settings = base.settings
    cluster, node = settings.cluster, settings.member
    if node not in cluster.nodes:
        nodes = ", ".join(cluster.nodes)
        raise ConfigError(f"{node} serves no traffic; a traffic switcher runs on {nodes}")
    make(settings.state_directory)
    driver = HaproxyDriver(settings, haproxy_program.find(os.environ), base.clock)
    store = PlanStore(settings.state_directory, cluster=cluster.name, node=node)
    requests = LocalRequests(cluster.nodes[node].address, token_of(settings.key), base.clock)
    switcher = Switcher(base, driver=driver, store=store, requests=requests)
    async with asyncio.TaskGroup() as loops:
        if cluster.vips:
            keeper = LeaseKeeper(
                base,
                machine=this_machine(settings, os.environ, base.clock),
                store=LeaseStore(settings.state_directory, cluster=cluster.name, node=node),
                requests=requests,
                persisted=switcher.plan,
            )
            switcher.tell(keeper.plan_in_force)
            loops.create_task(keeper.run())
        loops.create_task(switcher.run())


if __name__ == "__main__":
    run("traffic_switcher", main, urgent=True)
