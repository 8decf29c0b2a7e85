"""Builds a traffic switcher and runs it."""

import os
from pathlib import Path

from services.traffic_switcher.adapters import haproxy_program
from services.traffic_switcher.adapters.haproxy import HaproxyDriver
from services.traffic_switcher.adapters.local_request import LocalRequests
from services.traffic_switcher.adapters.plan_store import PlanStore
from services.traffic_switcher.core.haproxy_file import token_of
from services.traffic_switcher.shell import Switcher
from shared.errors import ConfigError, MachineError
from shared.runtime import Base, run


async def main(base: Base) -> None:
    """Follow the plan until told to stop."""
    settings = base.settings
    cluster, node = settings.cluster, settings.member
    if node not in cluster.nodes:
        nodes = ", ".join(cluster.nodes)
        raise ConfigError(f"{node} serves no traffic; a traffic switcher runs on {nodes}")
    for directory in (settings.run_directory, settings.state_directory):
        _make(directory)
    program = haproxy_program.find(os.environ)
    driver = HaproxyDriver(settings, program, base.clock)
    store = PlanStore(settings.state_directory, cluster=cluster.name, node=node)
    requests = LocalRequests(cluster.nodes[node].address, token_of(settings.key), base.clock)
    await Switcher(base, driver=driver, store=store, requests=requests).run()


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"{directory} cannot be made: {error.strerror};"
            " make it writable for this user, or set EQUIPOISE_RUN_DIR and EQUIPOISE_STATE_DIR"
        ) from error


if __name__ == "__main__":
    run("traffic_switcher", main)
