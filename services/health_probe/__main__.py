"""Builds the observer of one node and runs it."""

from services.health_probe.shell import Shell
from shared.errors import ConfigError
from shared.runtime import Base, run


async def observe(base: Base) -> None:
    """Run until stopped."""
    cluster, member = base.settings.cluster, base.settings.member
    if member not in cluster.nodes:
        raise ConfigError(
            f"health_probe runs on nodes, and '{member}' is none of"
            f" {', '.join(cluster.nodes)}; set EQUIPOISE_NODE to one of them, or do not start it"
        )
    shell = Shell(
        cluster=cluster,
        clock=base.clock,
        bus=base.bus,
        telemetry=base.telemetry,
        log=base.log,
    )
    base.health.check(shell.checks)
    base.health.measure(shell.measures)
    if base.settings.docker_socket is not None:
        shell.ask_engine(base.settings.docker_socket, member)
    base.ready(instances=len(cluster.services) * len(cluster.nodes))
    await shell.run(member, base.boot_id, base.stopping)


if __name__ == "__main__":
    run("health_probe", observe)
