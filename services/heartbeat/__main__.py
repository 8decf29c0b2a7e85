"""Builds the heartbeat of one member and runs it."""

import asyncio
import secrets

from services.heartbeat.adapters.udp import UdpBeats
from services.heartbeat.shell import Shell
from shared.ground import Ground
from shared.runtime import Base, run


class Program:
    """A heartbeat that beats to its peers at once, and on the bus as soon as there is one."""

    def __init__(self) -> None:
        self._built: asyncio.Queue[Shell] = asyncio.Queue(1)
        self._boot_id = secrets.token_hex(8)  # of the beats, which begin before there is a bus

    async def beat(self, ground: Ground) -> None:
        """Beat until stopped: a dead bus is no reason for silence."""
        settings = ground.settings
        udp = UdpBeats(settings.cluster, settings.member, settings.key, ground.clock)
        shell = Shell(cluster=settings.cluster, clock=ground.clock, udp=udp, log=ground.log)
        ground.health.check(shell.checks)
        ground.health.measure(shell.measures)
        self._built.put_nowait(shell)
        await shell.run(settings.member, self._boot_id, ground.stopping)

    async def main(self, base: Base) -> None:
        """Give the beats a bus."""
        shell = await self._built.get()
        shell.say_on(base.bus)
        if base.telemetry.enabled:
            await shell.trace_on(base.bus, base.telemetry, base.settings.member)
        base.ready(members=len(base.settings.cluster.members), beats_as=self._boot_id)
        await base.stopping.wait()


if __name__ == "__main__":
    program = Program()
    run("heartbeat", program.main, meanwhile=program.beat, urgent=True)
