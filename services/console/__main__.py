"""Builds a console and runs it."""

import asyncio

from services.console.adapters.http_api import application
from services.console.adapters.http_server import listen_on, serve
from services.console.core.readiness import readiness
from services.console.shell import Console
from shared.ground import Ground
from shared.runtime import Base, run
from shared.unix_socket import listen
from shared.version import version


class Program:
    """A console that answers at once, and hears as soon as there is a bus."""

    def __init__(self) -> None:
        self._built: asyncio.Queue[Console] = asyncio.Queue(1)

    async def answer(self, ground: Ground) -> None:
        """Answer on the socket, with or without a bus."""
        listeners = [listen(ground.settings.run_directory / "api.sock", "console")]
        if (place := ground.settings.api_at) is not None:
            listeners.append(listen_on(*place))
        console = Console(ground, version=version())
        ground.health.check(lambda: readiness(console.state, console.now()))
        self._built.put_nowait(console)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                serve(application(console, ground.health), listeners, ground.stopping)
            )
            tasks.create_task(console.run())

    async def main(self, base: Base) -> None:
        """Hear the bus until told to stop."""
        console = await self._built.get()
        await console.hear(base.bus, base.telemetry)
        base.ready(api=str(base.settings.run_directory / "api.sock"))
        await base.stopping.wait()


if __name__ == "__main__":
    program = Program()
    run("console", program.main, meanwhile=program.answer)
